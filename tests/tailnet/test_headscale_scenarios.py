"""The accept-mode scenarios of headscale's own SSH tests (integration/ssh_test.go), with sshd in Tailscale SSH's place.

Each runs between the devices of two users, in every direction, by address and by MagicDNS name.
"""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.members import Members, Policy, accept, make_policy, ssh

USER1, USER2 = ("u1a", "u1b"), ("u2a", "u2b")
DEVICES = (*USER1, *USER2)
ACCOUNT = "ssh-it-user"

# A device of somebody else for each device: what most of these policies refuse.
STRANGERS = {"u1a": "u2a", "u1b": "u2b", "u2a": "u1a", "u2b": "u1b"}

SELF = ["autogroup:self"]
MEMBER = ["autogroup:member"]
ALL = ["autogroup:member", "autogroup:tagged"]
LOCALPART = "localpart:*@headscale.net"


def own(devices: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each device with each other one of the same person."""
    return itertools.permutations(devices, 2)


def across() -> Iterator[tuple[str, str]]:
    """Each device with each one of the other person, in both directions."""
    yield from itertools.product(USER1, USER2)
    yield from itertools.product(USER2, USER1)


def group(*names: str) -> dict[str, list[str]]:
    """A groups section with one group."""
    return {"group:integration-test": [f"{name}@" for name in names]}


def assert_accepted(members: Members, source: str, server: str, user: str = ACCOUNT) -> None:
    """The login runs the command on the right host, by address and by name."""
    for by_name in (False, True):
        login = members.login(source, user, server, by_name=by_name)
        assert (login.status, login.stdout.strip()) == (0, server), (login, members.report(server))


def assert_refused(members: Members, source: str, server: str, user: str = ACCOUNT) -> None:
    """The login fails, prints nothing, and says that it was the tailnet's policy, by address and by name."""
    for by_name in (False, True):
        login = members.login(source, user, server, by_name=by_name)
        assert login.refused, (login, members.report(server))


def put_in_force(members: Members, policy: Policy, user: str = ACCOUNT, servers: Iterable[str] = DEVICES) -> None:
    """Sets a policy that refuses strangers `user` and waits until it counts everywhere."""
    members.put_in_force(policy, {server: (STRANGERS[server], user) for server in servers})


def test_one_user_to_all(members: Members) -> None:
    """TestSSHOneUserToAll: user1's devices reach every node as ssh-it-user; user2's none."""
    policy = make_policy(accept(["group:integration-test"], ALL, ACCOUNT), groups=group("user1"))
    witnesses = {"u1a": ("u2a", ACCOUNT), "u1b": ("u2a", ACCOUNT), "u2a": ("u2b", ACCOUNT), "u2b": ("u2a", ACCOUNT)}
    members.put_in_force(policy, {**witnesses, "srv": ("u2a", ACCOUNT)})
    for source, server in itertools.product(USER1, (*DEVICES, "srv")):
        if source != server:
            assert_accepted(members, source, server)
    for source, server in itertools.product(USER2, (*DEVICES, "srv")):
        if source != server:
            assert_refused(members, source, server)


def test_multiple_users_all_to_all(members: Members) -> None:
    """TestSSHMultipleUsersAllToAll: a group of both users to autogroup:self lets each reach their own devices alone."""
    put_in_force(
        members, make_policy(accept(["group:integration-test"], SELF, ACCOUNT), groups=group("user1", "user2"))
    )
    for source, server in (*own(USER1), *own(USER2)):
        assert_accepted(members, source, server)
    for source, server in across():
        assert_refused(members, source, server)


def test_no_ssh_configured(members: Members) -> None:
    """TestSSHNoSSHConfigured: without an ssh rule nobody reaches anybody, their own devices included."""
    members.tailnet.set_policy(make_policy(groups=group("user1")))
    # When the section becomes empty headscale tells nodes that run nothing (policy/v2/filter.go, compileSSHPolicy), and
    # they keep the rules they have. This scenario is about nodes that start without any.
    for device in DEVICES:
        members.nodes[device].stop_tailscaled()
        members.nodes[device].start_tailscaled()
    for server in DEVICES:
        members.until(lambda login: login.refused, STRANGERS[server], ACCOUNT, server, deadline=30)
    for source, server in itertools.permutations(DEVICES, 2):
        assert_refused(members, source, server)


def test_ssh_is_blocked_in_acl(members: Members) -> None:
    """TestSSHIsBlockedInACL: where the network rules allow port 80 alone, ssh times out before it says anything."""
    web_only = [{"action": "accept", "proto": "tcp", "src": ["*"], "dst": ["*:80"]}]
    rule = accept(["group:integration-test"], SELF, ACCOUNT)
    put_in_force(members, make_policy(rule, acls=web_only, groups=group("user1")))
    pairs = itertools.permutations([members.nodes[name] for name in DEVICES], 2)
    attempts = [(source, target) for source, server in pairs for target in (server.ipv4, server.name)]
    with ThreadPoolExecutor(len(attempts)) as pool:
        logins = pool.map(lambda attempt: ssh(attempt[0], ACCOUNT, attempt[1], connect_timeout=1), attempts)
        for login in logins:
            assert login.unreachable, login


def test_user_only_isolation(members: Members) -> None:
    """TestSSHUserOnlyIsolation: two groups of one person each reach only their own devices."""
    rules = [accept([f"group:ssh{number}"], SELF, ACCOUNT) for number in (1, 2)]
    groups = {"group:ssh1": ["user1@"], "group:ssh2": ["user2@"]}
    put_in_force(members, make_policy(*rules, groups=groups))
    for source, server in across():
        assert_refused(members, source, server)
    for source, server in (*own(USER1), *own(USER2)):
        assert_accepted(members, source, server)


def test_autogroup_self(members: Members) -> None:
    """TestSSHAutogroupSelf: autogroup:member to autogroup:self is one's own devices and nobody else's."""
    put_in_force(members, make_policy(accept(MEMBER, SELF, ACCOUNT)))
    for source, server in (*own(USER1), *own(USER2)):
        assert_accepted(members, source, server)
    for source, server in across():
        assert_refused(members, source, server)


def person(device: str) -> str:
    """The local part of the address of the person whose device it is."""
    return "user1" if device in USER1 else "user2"


def other(device: str) -> str:
    """The other person's."""
    return "user2" if device in USER1 else "user1"


@pytest.mark.parametrize("with_root", [False, True], ids=["MemberAndTagged", "LocalpartPlusRoot"])
def test_localpart(members: Members, *, with_root: bool) -> None:
    """TestSSHLocalpart: everybody may be the account of their own name everywhere, and root only where it is listed."""
    users = [LOCALPART, "root"] if with_root else [LOCALPART]
    policy = make_policy(accept(MEMBER, ALL, *users))
    members.put_in_force(policy, {server: (STRANGERS[server], person(server)) for server in DEVICES})
    for source, server in across():
        assert_accepted(members, source, server, person(source))
        assert_refused(members, source, server, other(source))
        if with_root:
            assert_accepted(members, source, server, "root")
        else:
            assert_refused(members, source, server, "root")


def test_localpart_autogroup_self(members: Members) -> None:
    """TestSSHLocalpart/AutogroupSelf: a person's own name is no way to somebody else's devices."""
    policy = make_policy(accept(MEMBER, SELF, LOCALPART))
    members.put_in_force(policy, {server: (STRANGERS[server], other(server)) for server in DEVICES})
    for source, server in across():
        assert_refused(members, source, server, "user1")
        assert_refused(members, source, server, "user2")
