"""What a rule withholds, sshd withholds from a login by key; the methods that cannot limit refuse and say which can."""

import secrets
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from contrib.demo.tailnet import accept, nodes_rule
from tests.integration.expect import lan_as_ever, let_in, not_let_in, refused
from tests.integration.paramiko import paramiko
from tests.integration.test_defences import agent_without
from tests.support.scene import LAN, Scene, tailnet_address
from tests.support.waiting import wait_until

BY_KEY = "tailscale: your rule lets you in by key alone"
TARGET = f"alice@{tailnet_address(1, 4)}"
HOST_SOCKET = "/run/reached.sock"
_SERVE = f"""
import os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("{HOST_SOCKET}")
os.chmod("{HOST_SOCKET}", 0o666)
listener.listen()
while True:
    connection, _ = listener.accept()
    connection.send(b"reached")
    connection.close()
"""
_READ = """
import socket, sys
unix = sys.argv[1].startswith("/")
with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as connection:
    connection.settimeout(10)
    connection.connect(sys.argv[1] if unix else ("127.0.0.1", int(sys.argv[1])))
    sys.stdout.write(connection.recv(16).decode())
"""
FORWARDS = {"-L port", "-L socket", "-R port", "-R socket"}
LOCAL, REMOTE, AGENT = "allowLocalPortForwarding", "allowRemotePortForwarding", "allowAgentForwarding"
ALL = {"shell", "terminal", "agent", *FORWARDS}

LIMITS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": (accept(), ALL),
    "local": (accept(**{LOCAL: False}), ALL - {"-L port", "-L socket"}),
    "remote": (accept(**{REMOTE: False}), ALL - FORWARDS),
    "agent": (accept(**{AGENT: False}), ALL - {"agent"}),
    "all": ({"accept": True}, {"shell", "terminal"}),
}
WITHOUT_AGENT = LIMITS["agent"][0]


@pytest.fixture(scope="module", autouse=True)
def _served(scene: Scene) -> Iterator[None]:
    """A Unix socket of the host that `ssh -L` could reach."""
    serving = scene.host.box.popen(["/usr/bin/python3", "-c", _SERVE], Path("/dev/null"))
    try:
        wait_until(lambda: scene.host.box.exists(HOST_SOCKET), 10, "the host's socket is there")
        yield
    finally:
        serving.kill()
        serving.wait()


@contextmanager
def alices_rule(scene: Scene, action: dict[str, Any]) -> Iterator[None]:
    """Alice is let in as herself, and by no other rule."""
    with scene.rules(nodes_rule([scene.nodes.alice], {"alice": "="}, action)):
        yield


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of alice's by key, and what is asked of sshd over it."""

    scene: Scene
    control: str

    @classmethod
    @contextmanager
    def by_key(cls, scene: Scene) -> Iterator["Connection"]:
        """Opens it. AssertionError where alice is not let in."""
        control = f"/run/control-{secrets.token_hex(4)}"
        box = scene.client.box
        argv = ["ssh", *by_key(scene), "-N", "-M", "-S", control, TARGET]
        held = box.popen(argv, Path("/dev/null"))
        try:
            wait_until(lambda: box.exists(control) or held.poll() is not None, 20, "alice is in, or was refused")
            assert held.poll() is None, "alice was not let in by key"
            yield cls(scene, control)
        finally:
            held.kill()
            held.wait()

    def asks(self, *args: str) -> tuple[bool, str]:
        """Whether ssh succeeded over this connection, and what it printed."""
        argv = ["ssh", "-S", self.control, "-o", "ProxyCommand=false", *args]
        done = self.scene.client.box.run(argv, check=False)
        return done.returncode == 0, done.stdout.strip()

    def may(self) -> set[str]:
        """What sshd lets it do, but for the agent."""
        number, socket = str(7001 + secrets.randbelow(1000)), f"/tmp/{secrets.token_hex(4)}.sock"  # noqa: S108 (the host's)
        device, host = self.scene.client.box, self.scene.host.box
        found = {
            "shell": self.asks(TARGET, "echo in")[1] == "in",
            "terminal": self.asks("-tt", TARGET, "tty")[1].startswith("/dev/pts/"),
        }
        for name, forward, box, at, reached in (
            ("-L port", ("-L", f"127.0.0.1:{number}:127.0.0.1:22"), device, number, "SSH-2.0"),
            ("-L socket", ("-L", f"{socket}:{HOST_SOCKET}"), device, socket, "reached"),
            ("-R port", ("-R", f"127.0.0.1:{number}:{LAN[4]}:22"), host, number, "SSH-2.0"),
            ("-R socket", ("-R", f"{socket}:{LAN[4]}:22"), host, socket, "SSH-2.0"),
        ):
            set_up, _ = self.asks("-O", "forward", *forward, TARGET)
            found[name] = set_up and box.run(["/usr/bin/python3", "-c", _READ, at], check=False).stdout[:7] == reached
        return {name for name, allowed in found.items() if allowed}


def by_key(scene: Scene) -> list[str]:
    """Options of a client that has a key, and nobody at its keyboard."""
    return scene.client.options(source=scene.nodes.alice.addresses[0], key=scene.client.make_key("laptop"))


def forwards_agent(scene: Scene) -> bool:
    """Whether `ssh -A` brings the device's agent to the host."""
    argv = ["ssh", "-A", *by_key(scene), TARGET, "ssh-add -l"]
    script = f"ssh-add -q {scene.client.make_key('laptop')} && exec {shlex.join(argv)}"
    return "ED25519" in scene.client.box.run(["ssh-agent", "sh", "-c", script], check=False).stdout


@pytest.mark.parametrize(("action", "expected"), LIMITS.values(), ids=LIMITS.keys())
def test_a_login_by_key_may_do_what_its_rule_allows(scene: Scene, action: dict[str, Any], expected: set[str]) -> None:
    """And nothing that it withholds: sshd itself refuses that, while the rest works."""
    with alices_rule(scene, action), Connection.by_key(scene) as connection:
        assert connection.may() | ({"agent"} if forwards_agent(scene) else set()) == expected


def test_a_key_of_any_kind_goes_on_where_none_was_refused(scene: Scene) -> None:
    """The client asks with `none` first, is refused, and is let in by the key it was going to offer next."""
    with alices_rule(scene, WITHOUT_AGENT):
        done = scene.login("alice", None, "-v", key=scene.client.make_key("laptop"), command="id -un")
        let_in(done)
        assert done.stdout == "alice\n"
        assert 'using "publickey"' in done.stderr
        assert paramiko(scene, "alice", "publickey")["id"] == "alice"
        lines = [line for line in scene.host.decisions() if "method=publickey" in line]
        assert "decision=allow" in lines[-1]
        assert "allowAgentForwarding withheld" in lines[-1]


def test_none_is_refused_and_keyboard_interactive_says_why(scene: Scene) -> None:
    """A person without a key reads that any will do; a script without one reads nothing, and does not get in."""
    with alices_rule(scene, WITHOUT_AGENT):
        assert scene.reason(lambda: refused(scene.login("alice"))) == "method_cannot_limit"
        done = scene.login("alice", password="anything")
        refused(done)
        assert done.stderr.count(BY_KEY) == 1
        assert not scene.client.was_asked()
        lines = [line for line in scene.host.decisions() if "method=keyboard-interactive" in line]
        assert "reason=method_cannot_limit" in lines[-1]
        for method in ("none", "password", "keyboard-interactive"):
            assert not paramiko(scene, "alice", method)["in"]
        lan_as_ever(scene)


def test_nobody_else_reads_that_a_key_would_do(scene: Scene) -> None:
    """It is said only to whom the rule accepts."""
    with alices_rule(scene, WITHOUT_AGENT):
        for user, node in (("alice", scene.nodes.bob), ("nosuch", None), ("decoy", None)):
            done = scene.login(user, node, password="anything")
            refused(done)
            assert BY_KEY not in done.stderr
            not_let_in(scene.login(user, node, key=scene.client.make_key("laptop")))


@contextmanager
def own_keys_count(scene: Scene, *settings: str) -> Iterator[str]:
    """An earlier drop-in of the administrator lets alice's own key in, the device's file with which is answered."""
    host, path = scene.host, "/etc/ssh/sshd_config.d/05-keys.conf"
    lines = ("Match LocalAddress 100.64.0.0/10", "AuthorizedKeysFile .ssh/authorized_keys", *settings)
    host.box.write(path, "\n    ".join(lines) + "\n")
    host.restart_sshd()
    try:
        yield scene.client.make_key("alice")
    finally:
        host.box.run(["rm", path])
        host.restart_sshd()


ONLY_KEYS = ("-o", "PreferredAuthentications=publickey")


def test_a_key_that_sshd_takes_by_itself_is_not_limited_and_so_refused(scene: Scene) -> None:
    """Nobody has put options in front of it: our helper was not asked."""
    with own_keys_count(scene, "AuthorizedKeysCommand none") as key:
        let_in(scene.login("alice", None, *ONLY_KEYS, key=key))
        with alices_rule(scene, WITHOUT_AGENT):
            not_let_in(scene.login("alice", None, *ONLY_KEYS, key=key))
            assert "reason=method_cannot_limit" in scene.host.decisions()[-1]


NO_SESSION = 254
"""With this a connection ends to which PAM gives no session (session.c, do_child)."""


def after_another(scene: Scene, key: str, *args: str) -> CompletedProcess[str]:
    """A login with a key of sshd's own, by a client that has asked about another one before, as agents of many do."""
    asked = scene.client.make_key("asked")
    scene.client.box.run(["sh", "-c", f"rm -f {asked}-alone* && cp {asked}.pub {asked}-alone.pub"])
    return scene.login("alice", None, *ONLY_KEYS, "-i", key, *args, key=f"{asked}-alone.pub", command="id -un")


def test_a_key_that_sshd_takes_by_itself_after_another_was_granted_is_refused(scene: Scene) -> None:
    """Our helper was asked, about another key, and the options are that one's. It gets no session and no forwarding."""
    with own_keys_count(scene) as key, alices_rule(scene, WITHOUT_AGENT):
        done = after_another(scene, key)
        assert done.returncode == NO_SESSION
        assert "alice" not in done.stdout.splitlines()
        last = scene.host.decisions()[-1]
        assert "phase=session" in last
        assert "reason=method_cannot_limit" in last
        forwarded = after_another(scene, key, "-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:7999:127.0.0.1:22")
        assert "remote port forwarding failed" in forwarded.stderr
        with agent_without(scene, "from pam_tailscale.agent import methods", "methods._digest = lambda _: b''"):
            let_in(after_another(scene, key))


OWN_ATTRIBUTES = """
import dataclasses
from pam_tailscale.policy import rules
parse_action = rules.parse_action
rules.parse_action = lambda raw: dataclasses.replace(parse_action(raw), **{})
"""
"""Tailscale's rules have no field for them; the policies of our own sources do."""
COMMAND = r'printf "%s|" "a b" \\ "$SSH_ORIGINAL_COMMAND"; id -un'


def test_a_command_of_the_rule_runs_in_place_of_any(scene: Scene) -> None:
    """With its quotes and backslashes, on a terminal as without, also where sftp or a shell was asked for."""
    with agent_without(scene, OWN_ATTRIBUTES.format(repr({"command": COMMAND}))):
        key = scene.client.make_key("laptop")
        refused(scene.login("alice"))
        for args, asked in (((), "echo mine"), (("-tt",), None), (("-s",), "sftp")):
            done = scene.login("alice", None, *args, key=key, command=asked)
            let_in(done)
            assert done.stdout.replace("\r", "") == f"a b|\\|{asked or ''}|alice\n".replace("sftp", sftp_server(scene))


def sftp_server(scene: Scene) -> str:
    """What sshd runs for sftp."""
    lines = scene.host.box.read("/etc/ssh/sshd_config").splitlines()
    return next(line.split()[2] for line in lines if line.startswith("Subsystem"))


def test_a_rule_without_terminals_gives_none(scene: Scene) -> None:
    """The rest of the login is as without it."""
    with agent_without(scene, OWN_ATTRIBUTES.format(repr({"pty": False}))):
        refused(scene.login("alice"))
        with Connection.by_key(scene) as connection:
            assert connection.may() == ALL - {"agent", "terminal"}


def test_without_the_options_the_key_would_be_let_in_without_limits(scene: Scene) -> None:
    """They are what makes sshd withhold it; the helper of an earlier version would print the key alone."""
    with alices_rule(scene, WITHOUT_AGENT):
        with agent_without(scene, "logins._options = lambda *_: {}"):
            assert forwards_agent(scene)
        assert not forwards_agent(scene)


def test_without_the_gate_none_would_be_let_in_without_limits(scene: Scene) -> None:
    """Both of its halves gone: what is asked before a method, and what is remembered after it."""
    with alices_rule(scene, WITHOUT_AGENT):
        with agent_without(
            scene,
            "from pam_tailscale.agent import methods",
            "logins.by_method = lambda decision, _: decision",
            "methods.MethodTable.limits = lambda *_: True",
        ):
            let_in(scene.login("alice"))
        for patch in (
            "logins.by_method = lambda decision, _: decision",
            "from pam_tailscale.agent import methods; methods.MethodTable.limits = lambda *_: True",
        ):
            with agent_without(scene, patch):
                refused(scene.login("alice"))
