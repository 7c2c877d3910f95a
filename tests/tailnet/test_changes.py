"""What changes in the tailnet while a host runs counts at the next login: the policy, and the nodes themselves."""

import pytest

from tests.support.members import OPEN, Login, Members, accept, make_policy

NOBODY = {"peer_expired", "peer_unknown", "route_not_tailnet"}
"""Whether tailscaled still knows the node, or has already taken its route away, is a matter of moments."""


def accepted(login: Login) -> bool:
    """The login ran its command."""
    return login.accepted


def refused(login: Login) -> bool:
    """The login was refused in the policy's words."""
    return login.refused


@pytest.fixture(autouse=True)
def open_policy(members: Members) -> None:
    """Every test begins where everybody may be everybody on srv but decoy."""
    members.tailnet.set_policy(OPEN)
    members.until(accepted, "u1a", "alice", "srv")


def test_a_pushed_policy_counts_at_the_next_login(members: Members) -> None:
    """A rule taken away refuses, a rule given accepts, without anything being restarted."""
    members.tailnet.set_policy(make_policy(accept(["user2@"], ["tag:server"], "alice")))
    members.until(refused, "u1a", "alice", "srv")
    members.until(accepted, "u2a", "alice", "srv")
    members.tailnet.set_policy(make_policy(accept(["user1@"], ["tag:server"], "alice")))
    members.until(accepted, "u1a", "alice", "srv")
    members.until(refused, "u2a", "alice", "srv")


def test_a_policy_that_headscale_refuses_changes_nothing(members: Members) -> None:
    """What headscale does not take leaves the policy before it in force."""
    with pytest.raises(Exception, match="tag:nobody-owns"):
        members.tailnet.set_policy(make_policy(accept(["tag:nobody-owns"], ["tag:server"], "bob")))
    assert members.login("u1a", "alice", "srv").accepted


@pytest.mark.parametrize("user", ["decoy", "no-such-account"])
def test_accounts_the_policy_does_not_name(members: Members, user: str) -> None:
    """An account with an empty password, and a name that is nobody's, are refused in the same words."""
    login = members.login("u1a", user, "srv")
    assert login.refused, login


def test_a_check_rule_is_no_accept(members: Members) -> None:
    """Not even where a later rule accepts the same: without a prompt nobody gets in by it."""
    check = {**accept(["user1@"], ["tag:server"], "alice"), "action": "check", "checkPeriod": "1h"}
    members.tailnet.set_policy(make_policy(check, accept(["user1@"], ["tag:server"], "alice", "bob")))
    members.until_reason({"check_needed"}, "srv", "alice", members.nodes["u1a"].ipv4)
    assert not members.login("u1a", "alice", "srv", "-o", "BatchMode=yes").accepted
    members.until(accepted, "u1a", "bob", "srv")
    # The next test logs in without BatchMode, and would wait at a prompt that nobody sees.
    members.tailnet.set_policy(OPEN)
    members.until_reason({"accepted"}, "srv", "alice", members.nodes["u1a"].ipv4)


def test_an_expired_node(members: Members) -> None:
    """A node whose key the administrator ends has no login any more, and the host says why."""
    device = members.device("expiring", "user1")
    address = device.ipv4
    members.until(accepted, "expiring", "alice", "srv")
    members.tailnet.expire(device)
    members.until_reason(NOBODY, "srv", "alice", address)
    assert not members.login("expiring", "alice", "srv", "-o", "ConnectTimeout=2").accepted


def test_a_removed_node(members: Members) -> None:
    """A node that is taken out of the tailnet has no login any more."""
    device = members.device("leaving", "user1")
    address = device.ipv4
    members.until(accepted, "leaving", "alice", "srv")
    members.tailnet.delete(device)
    members.until_reason(NOBODY, "srv", "alice", address)


def test_a_retagged_node(members: Members) -> None:
    """A person's device that becomes a tagged node loses the person's rules and gains the tag's."""
    policy = make_policy(
        accept(["user1@"], ["tag:server"], "alice", "user1"), accept(["tag:ci"], ["tag:server"], "bob", "user1")
    )
    device = members.device("changing", "user1")
    members.put_in_force(policy, {"srv": ("changing", "bob")})
    members.until(accepted, "changing", "alice", "srv")
    members.tailnet.tag(device, "tag:ci")
    members.until(refused, "changing", "alice", "srv")
    members.until(accepted, "changing", "bob", "srv")
    assert members.login("changing", "user1", "srv").accepted


def test_a_tagged_source(members: Members) -> None:
    """A tagged node has the rules of its tag and no person's, and no account of its own name."""
    rules = accept(["tag:ci"], ["tag:server"], "bob"), accept(["autogroup:member"], ["tag:server"], "alice")
    members.put_in_force(make_policy(*rules), {"srv": ("ci", "alice")})
    for by_name in (False, True):
        assert members.login("ci", "bob", "srv", by_name=by_name).accepted
        assert members.login("ci", "alice", "srv", by_name=by_name).refused
    assert members.login("u1a", "alice", "srv").accepted
    assert members.login("u1a", "bob", "srv").refused


def test_over_ipv6(members: Members) -> None:
    """The tailnet's IPv6 addresses are the same to the policy as its IPv4 ones."""
    members.put_in_force(make_policy(accept(["user1@"], ["tag:server"], "alice")), {"srv": ("u2a", "alice")})
    target = members.nodes["srv"].ipv6
    assert members.login_at("u1a", "alice", target).accepted
    assert members.login_at("u2a", "alice", target).refused
