"""A host's own addresses: nobody becomes another by connecting from the host to itself, and the LAN stays as it was."""

import itertools

import pytest

from tests.support.host import USER_PASSWORD
from tests.support.members import OPEN, Members, ssh

ACCOUNTS = ("alice", "root", "decoy")


@pytest.fixture(autouse=True)
def open_policy(members: Members) -> None:
    """The policy lets tagged servers log in to tagged servers as anybody: also srv to itself, if it were asked."""
    members.tailnet.set_policy(OPEN)
    members.until(lambda login: login.accepted, "ci", "alice", "srv")


@pytest.mark.parametrize("user", ACCOUNTS)
def test_from_the_host_to_its_own_tailnet_addresses(members: Members, user: str) -> None:
    """To whois the host's own addresses are its owner; that is no login, whichever address it comes from."""
    server = members.nodes["srv"]
    for target in server.addresses:
        sources = [address for address in own_addresses(members) if (":" in address) == (":" in target)]
        for source in sources:
            login = ssh(server, user, target, "-b", source)
            assert not login.accepted, (user, source, target, login)
            assert not login.stdout
    own = members.reason("srv", "alice", server.ipv4)
    assert own == "client_is_local"


@pytest.mark.parametrize("user", ACCOUNTS)
def test_from_a_local_user_of_the_host(members: Members, user: str) -> None:
    """A local account that is not root gets nowhere by it either."""
    server = members.nodes["srv"]
    argv = ["/usr/bin/ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    for target in server.addresses:
        done = server.box.run([*argv, f"{user}@{target}", "id"], user="bob", check=False)
        assert done.returncode != 0
        assert not done.stdout


@pytest.mark.parametrize("user", ACCOUNTS)
def test_other_addresses_of_the_host_are_not_the_tailnets(members: Members, user: str) -> None:
    """Loopback and LAN addresses of the host go on as without us: no password, no login, whatever the policy says."""
    server = members.nodes["srv"]
    for target in ("127.0.0.1", "::1", server.lan_address):
        login = ssh(server, user, target)
        assert not login.accepted, (user, target, login)
        assert "tailscale" not in login.stderr


def test_the_lan_is_untouched(members: Members) -> None:
    """From a device's LAN address to the server's, the password decides; the tailnet's policy is not asked."""
    server = members.nodes["srv"]
    device = members.nodes["u1a"]
    before = len(members.hosts["srv"].decisions())
    assert not ssh(device, "alice", server.lan_address).accepted
    assert members.with_password("u1a", "alice", server.lan_address, USER_PASSWORD).accepted
    assert not members.with_password("u1a", "alice", server.lan_address, "wrong").accepted
    assert len(members.hosts["srv"].decisions()) == before


def test_a_neighbour_with_a_route_to_the_tailnet_address(members: Members) -> None:
    """Someone on the LAN who sends to the server's tailnet address is not from the tailnet: the password decides."""
    server = members.nodes["srv"]
    neighbour, _ = members.lan.sandbox("neighbour")
    target = server.ipv4
    neighbour.host_tool(["ip", "route", "add", target, "via", server.lan_address])
    for user, options in itertools.product(ACCOUNTS, ([], ["-o", "BatchMode=yes"])):
        argv = ["/usr/bin/ssh", "-o", "StrictHostKeyChecking=no", "-o", "ConnectTimeout=3", *options]
        done = neighbour.run([*argv, f"{user}@{target}", "id"], check=False)
        assert done.returncode != 0
        assert not done.stdout


def own_addresses(members: Members) -> list[str]:
    """Every address of srv that a connection can be bound to."""
    server = members.nodes["srv"]
    shown = server.box.run(["ip", "-o", "address", "show", "scope", "global"]).stdout
    found = [line.split()[3].partition("/")[0] for line in shown.splitlines()]
    return [*found, "127.0.0.1", "::1"]
