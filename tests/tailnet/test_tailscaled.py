"""tailscaled itself, real: stopped, hung, restarted, logged out, and led elsewhere by its operator."""

import json
import signal
from collections.abc import Iterator

import pytest

from tests.support.host import PIN, USER_PASSWORD
from tests.support.members import OPEN, Login, Members, accept, make_policy, ssh
from tests.support.tailnet import Node, Tailnet
from tests.support.waiting import wait_until


def accepted(login: Login) -> bool:
    """The login ran its command."""
    return login.accepted


@pytest.fixture(autouse=True)
def open_policy(members: Members) -> None:
    """Every test begins where user1 may be alice on srv."""
    members.tailnet.set_policy(OPEN)
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


def lan_login_works(members: Members) -> bool:
    """The LAN never depends on tailscaled."""
    return members.with_password("u1a", "alice", members.nodes["srv"].lan_address, USER_PASSWORD).accepted


def test_stopped_and_started_again(members: Members) -> None:
    """Without tailscaled the answer is no and the LAN is fine; with it again logins come back by themselves."""
    server = members.nodes["srv"]
    source = members.nodes["u1a"].ipv4
    server.stop_tailscaled()
    members.until_reason({"tailscaled_unreachable", "route_not_tailnet"}, "srv", "alice", source)
    assert lan_login_works(members)
    server.start_tailscaled()
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


def test_hung(members: Members) -> None:
    """A tailscaled that does not answer any more makes no login wait longer than the module's deadline."""
    server = members.nodes["srv"]
    source = members.nodes["u1a"].ipv4
    server.signal_tailscaled(signal.SIGSTOP)
    try:
        assert members.reason("srv", "alice", source) != "accepted"
        assert lan_login_works(members)
    finally:
        server.signal_tailscaled(signal.SIGCONT)
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


def test_taken_down_and_up(members: Members) -> None:
    """`tailscale down` is a no, `tailscale up` a yes again."""
    server = members.nodes["srv"]
    source = members.nodes["u1a"].ipv4
    server.ts("down")
    members.until_reason({"tailscaled_not_running"}, "srv", "alice", source)
    server.ts("up")
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


def test_logged_out_and_in(members: Members) -> None:
    """A host that was logged out refuses; logged in again as the same node, it is the one it was pinned to."""
    server = members.nodes["srv"]
    source = members.nodes["u1a"].ipv4
    server.ts("logout")
    members.until_reason({"tailscaled_not_running"}, "srv", "alice", source)
    members.tailnet.unexpire(server)
    server.join(members.tailnet, members.keys["tag:server"])
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


@pytest.fixture
def elsewhere(members: Members) -> Iterator[tuple[Tailnet, str, Node]]:
    """A control plane that the operator owns, its key for the host, and a device there that may be root everywhere."""
    other = Tailnet(members.lan, "elsewhere")
    other.start()
    other.add_user("mallory")
    other.set_policy(make_policy(accept(["mallory@"], ["autogroup:member"], "root", "alice")))
    key = other.user_key("mallory")
    device = Node(members.lan, "evil", version=members.version)
    device.join(other, key)
    yield other, key, device
    device.stop_tailscaled()
    other.stop()


def test_the_operator_logs_the_node_in_elsewhere(members: Members, elsewhere: tuple[Tailnet, str, Node]) -> None:
    """The operator of tailscale, not root, can choose the control plane, but not who logs in: the pin is root's."""
    other, key, device = elsewhere
    server = members.nodes["srv"]
    server.ts("set", "--operator=bob")
    there = [f"--login-server={other.url}", f"--authkey={key}", "--operator=bob", f"--hostname={server.hostname}"]
    home = [f"--login-server={members.tailnet.url}", f"--authkey={members.keys['tag:server']}", "--reset"]
    try:
        server.ts("up", "--force-reauth", *there, user="bob")
        wait_until(lambda: device.sees([server]), 15, "the operator's device sees the host in the other tailnet")
        for user in ("root", "alice"):
            wait_until(lambda u=user: reached(device, u, server), 15, "sshd answers in the other tailnet")  # type: ignore[misc]
        assert members.reason("srv", "root", device.ipv4) == "pin_mismatch"
        assert lan_login_works(members)
    finally:
        server.ts("up", "--force-reauth", *home, f"--hostname={server.hostname}")
    # An operator who is none any more may still have led it elsewhere, for all that can be seen from here.
    members.until_reason({"operator"}, "srv", "alice", members.nodes["u1a"].ipv4)
    server.stop_tailscaled()
    server.start_tailscaled()
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


_EDIT_PREFS = """
import http.client, socket, sys
connection = http.client.HTTPConnection("local-tailscaled.sock")
connection.sock = socket.socket(socket.AF_UNIX)
connection.sock.connect("/run/tailscale/tailscaled.sock")
connection.request("PATCH", "/localapi/v0/prefs", sys.argv[1])
sys.exit(connection.getresponse().status != 200)
"""


def test_the_operator_covers_the_tracks(members: Members, elsewhere: tuple[Tailnet, str, Node]) -> None:
    """Led elsewhere and its settings put back, tailscaled shows all that the pin demands: nobody is let in even so."""
    other, key, device = elsewhere
    server = members.nodes["srv"]
    pinned = server.box.read(PIN)
    tracks = {"ControlURL": members.tailnet.url, "ControlURLSet": True, "OperatorUser": "", "OperatorUserSet": True}
    server.ts("set", "--operator=bob")
    there = [f"--login-server={other.url}", f"--authkey={key}", "--operator=bob", f"--hostname={server.hostname}"]
    home = [f"--login-server={members.tailnet.url}", f"--authkey={members.keys['tag:server']}", "--reset"]
    try:
        server.ts("up", "--force-reauth", *there, user="bob")
        wait_until(lambda: device.sees([server]), 15, "the operator's device sees the host in the other tailnet")
        # A control plane gives any id; headscale only the next one, so here the pin follows.
        server.box.write(PIN, json.dumps(json.loads(pinned) | {"node_id": other.node_id(server)}))
        server.box.run(["/usr/bin/python3", "-c", _EDIT_PREFS, json.dumps(tracks)], user="bob")
        wait_until(lambda: reached(device, "root", server), 15, "sshd answers in the other tailnet")
        assert members.reason("srv", "root", device.ipv4) == "operator"
    finally:
        server.box.write(PIN, pinned)
        server.ts("up", "--force-reauth", *home, f"--hostname={server.hostname}")
        server.stop_tailscaled()
        server.start_tailscaled()
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


def reached(device: Node, user: str, server: Node) -> bool:
    """Whether sshd answered; a login is an AssertionError that no waiting mends."""
    login = ssh(device, user, server.ipv4)
    if login.accepted:
        pytest.fail(f"{user} was let in by another control plane's policy")
    return "Permission denied" in login.stderr
