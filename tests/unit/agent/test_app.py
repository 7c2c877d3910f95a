"""The agent's program as it runs: started by root, with an embedded tailscaled, in a network of its own."""

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pam_tailscale
from contrib.demo import faults
from contrib.demo.localapi import LocalAPI as Server
from contrib.demo.tailnet import Tailnet, nodes_rule
from pam_tailscale import wire
from pam_tailscale.agent.app import limits_of, load_config
from pam_tailscale.client import ask, ask_document
from pam_tailscale.config import Config
from pam_tailscale.errors import AgentUnavailableError, ConfigError
from pam_tailscale.model import Mode, Pin
from tests.support.localapi import ALICE_V4, SERVER_V4, serving, small_tailnet
from tests.support.pins import write_pin
from tests.support.waiting import wait_until

ROOT = Path(pam_tailscale.__file__).parents[1]
# An interface that carries the host's address and leads to all others, as tailscaled's does.
_NETWORK = f"""
set -e
ip link set lo up
ip link add tailscale0 type veth peer name other
ip addr add {SERVER_V4}/10 dev tailscale0
ip link set other up
ip link set tailscale0 up
exec "$@"
"""
DECIDE = {
    "request": "decide",
    "user": "root",
    "client": ALICE_V4,
    "server": SERVER_V4,
    "server_port": "22",
    "method": "none",
    "phase": "auth",
    "mode": "enforce",
}


def tailnet() -> Tailnet:
    """Alice's laptop may log in as root; a tailscaled whose netmap the agent itself can read."""
    made = small_tailnet()
    made.version = "1.102.5"
    made.rules = [nodes_rule([made.peers[0]], {"root": "root"})]
    made.changed()
    return made


class Running:
    """An agent, its folder, its tailscaled, and what systemd hears of it."""

    def __init__(self, folder: Path) -> None:
        self._ports = itertools.count(40000)
        self.folder = folder
        self.socket = folder / "agent.sock"
        self.tailscaled = folder / "tailscaled.sock"
        self.config = folder / "agent.toml"
        self.pin = folder / "pin.json"
        self.narrow = folder / "narrow.hujson"
        self.log = folder / "log"
        self.systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.systemd.bind(str(folder / "notify"))
        (folder / "notify").chmod(0o666)
        self.systemd.settimeout(20)
        self.process: subprocess.Popen[bytes] | None = None
        self.configure()

    def configure(self, text: str = "") -> None:
        """Write the configuration, which says where everything is, with this in front."""
        self.config.write_text(
            f'{text}\n[agent]\nuser = "nobody"\nkeys_user = "daemon"\nadmin_group = "daemon"\n'
            f'socket = "{self.socket}"\npin = "{self.pin}"\nthreads = 2\n'
            f'[tailscaled]\nsocket = "{self.tailscaled}"\n[check]\nstore = "{self.folder}/state/checks.db"\n'
        )

    def start(self, **environment: str) -> None:
        """Start it and wait until it says that it is ready."""
        command = ["unshare", "--net", "sh", "-c", _NETWORK, "sh", sys.executable, "-m", "pam_tailscale.agent.app"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--config", str(self.config)],
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "NOTIFY_SOCKET": str(self.folder / "notify"),
                    **environment,
                },
                stderr=log,
                cwd="/",
            )
        self.heard("READY=1")

    def heard(self, what: str) -> None:
        """Wait until systemd hears this."""
        while what not in self.systemd.recv(4096).decode().splitlines():
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def reload(self) -> None:
        """Have it read its files again, and wait until it has."""
        self.systemd.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self.systemd.recv(4096):  # what it said before is not the answer
                pass
        self.systemd.settimeout(20)
        self.signal(signal.SIGHUP)
        self.heard("READY=1")

    def stop(self) -> int:
        """End it with SIGTERM; its exit status."""
        assert self.process is not None
        self.signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self) -> None:
        """Nothing is left of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(20)
        self.systemd.close()

    def decide(self, **changes: str) -> wire.Message:
        """Ask as the PAM module does, about another connection each time."""
        return ask(self.socket, DECIDE | {"client_port": str(next(self._ports))} | changes)

    def status(self) -> dict[str, Any]:
        """Ask as the command line does."""
        return ask_document(self.socket, {"request": "status"})

    def until(self, verdict: str, **changes: str) -> None:
        """Wait until a login is decided so."""
        wait_until(lambda: self.decide(**changes)["verdict"] == verdict, 20, f"{verdict}; {self.log.read_text()}")

    def lines(self, text: str) -> list[str]:
        """The log's lines with this in them."""
        return [line for line in self.log.read_text().splitlines() if text in line]


@pytest.fixture
def agent() -> Iterator[Running]:
    """An agent that is not started yet, in a folder that its account can enter."""
    with tempfile.TemporaryDirectory(prefix="pam-tailscale-app-") as folder:
        Path(folder).chmod(0o755)
        running = Running(Path(folder))
        try:
            yield running
        finally:
            running.close()


@pytest.fixture
def server(agent: Running) -> Iterator[Server]:
    """The tailscaled, to which the host is pinned."""
    with serving(agent.tailscaled, tailnet()) as server:
        own = server.tailnet.own
        write_pin(Pin(server.tailnet.prefs["ControlURL"], own.stable_id, server.tailnet.stable_id), agent.pin)
        yield server


@pytest.mark.usefixtures("server")
def test_it_decides(agent: Running) -> None:
    """A login from its configuration and its pin to the journal's line; it runs as its own account."""
    agent.start()
    agent.until("allow")
    assert agent.decide(user="nobody")["verdict"] == "deny"
    assert agent.decide(client="100.64.0.3")["verdict"] == "deny"
    assert 'user="root" login="alice@example.com" node="laptop.tailnet.example"' in agent.lines("decision=allow")[0]
    assert agent.status()["ready"]
    assert agent.process is not None
    assert Path(f"/proc/{agent.process.pid}").stat().st_uid == 65534
    assert agent.stop() == 0


def test_it_says_no_until_tailscaled_comes(agent: Running) -> None:
    """The order at boot does not matter."""
    agent.start()
    assert "try again later" in agent.decide()["text"]
    assert not agent.status()["ready"]
    with serving(agent.tailscaled, tailnet()) as server:
        own = server.tailnet.own
        write_pin(Pin(server.tailnet.prefs["ControlURL"], own.stable_id, server.tailnet.stable_id), agent.pin)
        agent.until("allow")
    agent.until("deny")
    assert agent.stop() == 0


def test_a_changed_policy_is_in_force_at_once(agent: Running, server: Server) -> None:
    """Announced by the bus."""
    agent.start()
    agent.until("allow")
    server.tailnet.rules = []
    server.tailnet.changed()
    agent.until("deny")


def test_a_node_that_is_logged_in_elsewhere_lets_nobody_in(agent: Running, server: Server) -> None:
    """By tailscale's operator, who is not root. Its own policy there says yes."""
    agent.start()
    agent.until("allow")
    server.tailnet.prefs["ControlURL"] = "https://evil.example"
    server.tailnet.changed()
    agent.until("deny")
    assert "run 'pam-tailscale enable --repin'" in str(agent.status()["problems"])


def test_a_tailscaled_that_answers_errors_is_a_no(agent: Running, server: Server) -> None:
    """And a yes again when it does not."""
    agent.start()
    agent.until("allow")
    server.faults["whois"] = faults.status(500)
    assert agent.decide()["verdict"] == "deny"
    server.faults.clear()
    assert agent.decide()["verdict"] == "allow"


@pytest.mark.usefixtures("server")
def test_sighup_reads_the_configuration_again(agent: Running) -> None:
    """Mode and root's permission are those of the file from then on."""
    agent.start()
    agent.until("allow")
    agent.configure("allow_root = false")
    agent.signal(signal.SIGHUP)
    agent.until("deny")
    assert agent.lines("reason=root_not_allowed")
    agent.configure("allow_root = true")
    agent.signal(signal.SIGHUP)
    agent.until("allow")


DAMAGED = {
    "no TOML": "mode = ",
    "unknown key": "allow_rot = false",
    "wrong type": "allow_root = 'no'",
    "not UTF-8": "mode = '\udcff'",
    "nested without end": "mode = " + "[" * 5000,
}


@pytest.mark.usefixtures("server")
def test_a_damaged_configuration_leaves_the_one_before_in_force(agent: Running) -> None:
    """However it is damaged, and status says so until it is mended."""
    agent.configure("allow_root = false")
    agent.start()
    wait_until(lambda: agent.status()["ready"], 20, "the agent is ready")
    for text in DAMAGED.values():
        agent.config.write_bytes(f"allow_root = true\n{text}".encode("utf-8", "surrogateescape"))
        agent.signal(signal.SIGHUP)
        agent.heard("READY=1")
        (problem,) = agent.status()["warnings"]
        assert "the one before is in force" in problem
        assert str(agent.config) in problem
        assert agent.decide()["verdict"] == "deny"
    assert len(agent.lines("the configuration before stays in force")) == len(DAMAGED)
    agent.configure("allow_root = true")
    agent.signal(signal.SIGHUP)
    agent.until("allow")
    assert agent.status()["warnings"] == []


NARROW_ROOT = '{"ssh": [{"action": "accept", "src": ["autogroup:member"], "users": ["root"]}]}'
NARROW_NOBODY = '{"ssh": []}'


@pytest.mark.usefixtures("server")
def test_a_narrowing_policy_is_read_at_a_reload(agent: Running) -> None:
    """Damage leaves the one before in force, and status and journal say so; without the file nothing is narrowed."""
    agent.narrow.write_text(NARROW_NOBODY)
    agent.start()
    wait_until(lambda: agent.status()["ready"], 20, "the agent is ready")
    assert agent.decide()["verdict"] == "deny"
    assert agent.lines("reason=narrowed")
    agent.narrow.write_text("{")
    agent.reload()
    assert agent.decide()["verdict"] == "deny"
    (warning,) = agent.status()["warnings"]
    assert "the one before is in force" in warning
    assert str(agent.narrow) in warning
    assert agent.lines("the content before stays in force")
    agent.narrow.write_text(NARROW_ROOT)
    assert agent.decide()["verdict"] == "deny"
    agent.reload()
    assert agent.decide()["verdict"] == "allow"
    assert agent.status()["narrow"] == {"path": str(agent.narrow), "in_force": True, "problem": ""}
    agent.narrow.write_text(NARROW_NOBODY)
    agent.reload()
    assert agent.decide()["verdict"] == "deny"
    agent.narrow.unlink()
    agent.reload()
    assert agent.decide()["verdict"] == "allow"
    assert not agent.status()["narrow"]["in_force"]


@pytest.mark.parametrize("damage", ["{", "not UTF-8 \udcff", "unreadable", "writable"])
@pytest.mark.usefixtures("server")
def test_a_narrowing_policy_that_is_damaged_at_the_start_lets_nobody_in(agent: Running, damage: str) -> None:
    """Until it is mended; the agent runs, and says why."""
    agent.narrow.write_bytes((damage if len(damage) < 3 else NARROW_ROOT).encode())
    if damage.startswith("not"):
        agent.narrow.write_bytes(damage.encode("utf-8", "surrogateescape"))
    agent.narrow.chmod({"unreadable": 0o600, "writable": 0o646}.get(damage, 0o644))
    agent.start()
    wait_until(lambda: agent.status()["tailscaled"]["node_id"], 20, "tailscaled was asked")
    assert "try again later" in agent.decide()["text"]
    assert agent.lines("reason=narrow_damaged")
    document = agent.status()
    assert not document["ready"]
    assert any(str(agent.narrow) in problem for problem in document["problems"])
    agent.narrow.chmod(0o644)
    agent.narrow.write_text(NARROW_ROOT)
    agent.reload()
    agent.until("allow")


def test_grants_and_a_file_are_sources(agent: Running, server: Server) -> None:
    """Once a reload has said so; each is named in the journal and in status, and sockets stay as they are."""
    agent.start()
    agent.until("allow")
    server.tailnet.rules = []
    server.tailnet.peers[0].cap_map = {"acme.example/cap/ssh": [{"users": ["root"], "action": "accept"}]}
    server.tailnet.changed()
    agent.until("deny")
    agent.configure('sources = ["netmap", "grants"]\ncapability = "acme.example/cap/ssh"')
    agent.reload()
    agent.until("allow")
    assert agent.lines("rule=1 source=grants")
    agent.configure('sources = ["netmap", "file"]')
    agent.reload()
    agent.until("deny")
    assert "does not exist" in str(agent.status()["problems"])
    entry = {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:server"], "users": ["root"]}
    policy = {"tagOwners": {"tag:server": []}, "ssh": [entry]}
    agent.narrow.with_name("tailnet-policy.hujson").write_text(json.dumps(policy))
    agent.until("allow")
    assert agent.lines("rule=1 source=file")
    assert [one["name"] for one in agent.status()["sources"]] == ["netmap", "file"]


@pytest.mark.usefixtures("server")
def test_sockets_change_with_a_restart_alone(agent: Running) -> None:
    """A reload that moves them says so, and goes on with those it has."""
    agent.start()
    agent.until("allow")
    text = agent.config.read_text()
    agent.config.write_text(text.replace("agent.sock", "moved.sock").replace("tailscaled.sock", "other.sock"))
    agent.signal(signal.SIGHUP)
    agent.heard("READY=1")
    assert agent.lines("take effect when the agent is restarted")
    assert agent.decide()["verdict"] == "allow"
    wait_until(lambda: agent.status()["ready"], 20, "the policy was read from the same tailscaled")


def test_sigterm_answers_who_has_asked(agent: Running, server: Server) -> None:
    """A login that waits for tailscaled gets its verdict; then nobody listens any more."""
    agent.start()
    agent.until("allow")
    asked = server.asked.get("whois", 0)
    server.faults["whois"] = faults.delay(1.0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as login:
        login.settimeout(20)
        login.connect(str(agent.socket))
        login.send(wire.encode(DECIDE | {"client_port": "39999"}))
        wait_until(lambda: server.asked.get("whois", 0) > asked, 10, "tailscaled is asked")
        assert agent.stop() == 0
        assert wire.decode(login.recv(wire.MESSAGE_MAX))["verdict"] == "allow"
    with pytest.raises(AgentUnavailableError):
        agent.decide()


def test_the_watchdog_hears_it(agent: Running, server: Server) -> None:
    """Also while a stranger keeps the queue for strangers full."""
    agent.start(WATCHDOG_USEC="400000")
    agent.heard("WATCHDOG=1")
    stranger = "import socket, sys\nkept = []\nwhile True:\n one = socket.socket(socket.AF_UNIX, 5)\n"
    stranger += " one.connect(sys.argv[1])\n kept = [*kept[-200:], one]\n print(flush=True)\n"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", stranger, str(agent.socket)], user=99, stdout=subprocess.PIPE, cwd="/"
    ) as process:
        assert process.stdout is not None
        try:
            for _ in range(300):
                assert process.stdout.readline()
            for _ in range(3):
                agent.heard("WATCHDOG=1")
        finally:
            process.kill()
            process.stdout.close()
    assert not agent.lines("no sign of life")
    assert server.asked


WRONG = {
    "damaged": ("mode = ", "Invalid value"),
    "user": ('[agent]\nuser = "nobody-here"\nkeys_user = "daemon"', "there is no account 'nobody-here'"),
    "root": ('[agent]\nuser = "root"\nkeys_user = "daemon"', "'root' is root"),
    "keys user": ('[agent]\nkeys_user = "nobody-here"', "there is no account 'nobody-here'"),
    "folder": ('[agent]\nkeys_user = "daemon"\nuser = "nobody"\nsocket = "/tmp/agent.sock"', "nobody else may write"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_it_does_not_start_with_a_wrong_configuration(agent: Running, text: str, message: str) -> None:
    """One line that says what to do, status 1."""
    if "socket =" not in text and "[agent]" in text:
        text += f'\nsocket = "{agent.socket}"'
    agent.config.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pam_tailscale.agent.app", "--config", str(agent.config)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        cwd="/",
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_configuration_files(tmp_path: Path) -> None:
    """None is the defaults; one that cannot be read is an error."""
    assert load_config(tmp_path / "agent.toml") == Config()
    (tmp_path / "agent.toml").write_bytes(b"mode = '\xff'")
    with pytest.raises(ConfigError, match=r"agent\.toml: cannot be read"):
        load_config(tmp_path / "agent.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)


def test_limits_come_from_the_configuration() -> None:
    """And UID_MIN from the host."""
    limits = limits_of(Config(mode=Mode.OBSERVE, allow_root=False))
    assert (limits.mode, limits.allow_root, limits.max_age) == (Mode.OBSERVE, False, 60.0)
    assert limits.uid_min > 0
