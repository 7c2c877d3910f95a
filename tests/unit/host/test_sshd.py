"""What is made of sshd's answers. Real sshd is in tests/integration/test_switching.py."""

import ipaddress
import os
import signal
from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import listeners, sshd, units
from pam_tailscale.host.listeners import Endpoint, Listener
from pam_tailscale.host.sshd import Asked, Sshd
from tests.unit.host.test_listeners import Proc, line

OWN = ipaddress.ip_address("100.64.0.1")
OWN6 = ipaddress.ip_address("fd7a:115c:a1e0::1")
REFUSED = "nobody@100.64.0.1: Permission denied (publickey,password)."


def listener(*ends: tuple[str, int, int], pid: int = 700) -> Listener:
    """An sshd that listens there: address, port, inode."""
    endpoints = tuple(Endpoint(ipaddress.ip_address(address), port, inode) for address, port, inode in ends)
    return Listener(pid, "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener]", endpoints)


class Machine:
    """Programs that a test lays down, and listeners that change when sshd is told to read its files again."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.running = [listener(("0.0.0.0", 22, 1), ("::", 22, 2))]
        self.next = [listener(("0.0.0.0", 22, 3), ("::", 22, 4))]
        self.killed: list[tuple[int, int]] = []
        (directory / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{directory}/bin", prepend=":")
        monkeypatch.setattr(sshd, "PROGRAM", f"{directory}/bin/sshd")
        monkeypatch.setattr(listeners, "find", lambda: tuple(self.running))
        monkeypatch.setattr(units, "main_pid", lambda _: 0)
        monkeypatch.setattr(units, "is_active", lambda _: False)
        monkeypatch.setattr(os, "kill", self.kill)
        self.program("sshd", "exit 0")

    def kill(self, pid: int, number: int) -> None:
        self.killed.append((pid, number))
        self.running = self.next

    def program(self, name: str, body: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f'#!/bin/sh\necho "$*" >> {self.directory}/{name}.log\n{body}\n')
        path.chmod(0o755)

    def asked(self, name: str) -> list[str]:
        log = self.directory / f"{name}.log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which sshd runs."""
    return Machine(tmp_path, monkeypatch)


def test_it_is_tested_before_it_is_told(machine: Machine) -> None:
    """A configuration that it refuses would end it."""
    machine.program("sshd", "echo 'line 3: Bad configuration option: Foo' >&2; echo 'terminating' >&2; exit 255")
    with pytest.raises(HostError, match="line 3: Bad configuration option: Foo; terminating: see"):
        Sshd().reload()
    assert machine.killed == []


def test_it_is_told_by_signal_where_systemd_did_not_start_it(machine: Machine) -> None:
    """And has read its files when it listens on other sockets."""
    assert Sshd().reload()
    assert machine.killed == [(700, signal.SIGHUP)]


def test_one_that_has_its_socket_from_systemd(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to read its files it would end (ssh.socket): it is restarted, also where it is not there yet."""
    told = []

    def restart(unit: str) -> None:
        told.append(unit)
        machine.running = [listener(("::", 22, 2), pid=701)]

    monkeypatch.setattr(units, "is_active", lambda unit: unit == "ssh.socket")
    monkeypatch.setattr(units, "main_pid", lambda _: 700)
    monkeypatch.setattr(units, "restart", restart)
    assert Sshd().reload()
    machine.running = []
    assert Sshd().is_up()
    assert Sshd().reload()
    assert (told, machine.killed) == (["ssh.service", "ssh.service"], [])


def test_it_is_told_by_systemd_where_that_started_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that systemd knows of it."""
    told = []

    def reload(unit: str) -> None:
        told.append(unit)
        machine.running = machine.next

    monkeypatch.setattr(units, "main_pid", lambda _: 700)
    monkeypatch.setattr(units, "reload", reload)
    assert Sshd().reload()
    assert (told, machine.killed) == (["ssh.service"], [])


def test_where_none_runs_none_is_told(machine: Machine) -> None:
    """False: it counts at the next start."""
    machine.running = []
    assert not Sshd().is_up()
    assert not Sshd().reload()
    assert machine.killed == []


@pytest.mark.parametrize(
    "after",
    [
        [],
        [listener(("0.0.0.0", 22, 1), ("::", 22, 2))],
        [listener(("0.0.0.0", 22, 3), ("::", 22, 2))],
        [listener(("0.0.0.0", 22, 3), pid=701)],
    ],
    ids=["gone", "the same sockets", "one of the same", "another process"],
)
def test_one_that_does_not_listen_anew_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, after: list[Listener]
) -> None:
    """It has not read its files, or is not there any more."""
    monkeypatch.setattr(sshd, "_SECONDS", 0.1)
    machine.next = after
    with pytest.raises(HostError, match="does not listen as before"):
        Sshd().reload()


def test_where_the_listener_is_asked(machine: Machine) -> None:
    """At the node's own addresses for whom a door would open, and once elsewhere for a name that nobody has."""
    machine.program("ssh", f"echo '{REFUSED}' >&2; exit 255")
    Sshd().refuses_none(Asked((OWN, OWN6), ("root", "guest")))
    asked = [call.split("-p ")[1] for call in machine.asked("ssh")]
    assert sorted(asked) == [
        "22 -l guest -- 100.64.0.1 true",
        "22 -l guest -- fd7a:115c:a1e0::1 true",
        "22 -l pam-tailscale-nobody -- 127.0.0.1 true",
        "22 -l root -- 100.64.0.1 true",
        "22 -l root -- fd7a:115c:a1e0::1 true",
    ]
    assert all("PreferredAuthentications=none" in call for call in machine.asked("ssh"))


def test_it_is_not_asked_where_it_does_not_listen(machine: Machine) -> None:
    """An sshd of the LAN's alone, with a second port."""
    machine.running = [listener(("192.0.2.1", 22, 1), ("100.64.0.1", 2222, 2), ("::1", 2200, 3))]
    machine.program("ssh", f"echo '{REFUSED}' >&2; exit 255")
    Sshd().refuses_none(Asked((OWN,), ("root",)))
    assert sorted(call.split("-p ")[1] for call in machine.asked("ssh")) == [
        "22 -l pam-tailscale-nobody -- 192.0.2.1 true",
        "2200 -l pam-tailscale-nobody -- ::1 true",
        "2222 -l pam-tailscale-nobody -- 100.64.0.1 true",
        "2222 -l root -- 100.64.0.1 true",
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 0", "sshd lets root in at 100.64.0.1 port 22"),
        ("echo 'Connection refused' >&2; exit 255", "sshd does not answer at 100.64.0.1 port 22: Connection refused"),
        ("exit 255", "does not answer at .*: it says nothing"),
    ],
)
def test_an_open_door_and_a_dead_sshd_are_errors(machine: Machine, body: str, message: str) -> None:
    """Only a refusal in sshd's own words is one."""
    machine.program("ssh", body)
    with pytest.raises(HostError, match=message):
        Sshd().refuses_none(Asked((OWN,), ("root",)))


def test_what_it_says_of_a_connection(machine: Machine) -> None:
    """As it is, or an error."""
    machine.program("sshd", "echo usepam yes")
    assert Sshd().effective("user=root,addr=::1") == "usepam yes\n"
    assert machine.asked("sshd") == ["-T -f /etc/ssh/sshd_config -C user=root,addr=::1"]
    machine.program("sshd", "echo 'no hostkeys' >&2; exit 1")
    with pytest.raises(HostError, match="no hostkeys"):
        Sshd().effective("user=root")


SSHD_UID = 105


def test_only_what_waits_to_log_in_over_the_tailnet_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No session, no listener, nobody from elsewhere, no other program."""
    proc = Proc(tmp_path)
    tailnet, lan = line("01004064:0016", "01", 40), line("010200C0:0016", "01", 50)
    proc.tables(tailnet + lan + line("01004064:0016", "01", 41), "")
    waiting = {
        "800": ("sshd: alice [net]", SSHD_UID, 40),
        "801": ("sshd: [accepted]", 0, 41),
        "802": ("sshd: bob [net]", SSHD_UID, 50),
        "803": ("sshd: alice [priv]", 0, 40),
        "804": ("sshd: alice@pts/0", 1000, 40),
        "805": ("nc -l", SSHD_UID, 40),
        "806": ("sshd: /usr/sbin/sshd -D [listener]", 0, 99),
    }
    for pid, (title, uid, inode) in waiting.items():
        process = proc.process(pid, "/usr/sbin/sshd", title, (inode,))
        (process / "status").write_text(f"Name:\tsshd\nUid:\t0\t{uid}\t0\t0\n")
    killed = []

    def kill(pid: int, number: int) -> None:
        killed.append((pid, number))
        (tmp_path / str(pid) / "status").unlink()

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(sshd, "_uid_before_login", lambda: SSHD_UID)
    monkeypatch.setattr(sshd, "_QUIET", 0.1)
    assert sshd.end_waiting(tmp_path) == 2
    assert killed == [(800, signal.SIGKILL), (801, signal.SIGKILL)]


def test_ending_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one cannot be ended."""
    proc = Proc(tmp_path)
    proc.tables(line("01004064:0016", "01", 40), "")
    (proc.process("800", "/usr/sbin/sshd", "sshd: [accepted]", (40,)) / "status").write_text("Uid:\t0\t0\t0\t0\n")
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr(sshd, "_SECONDS", 0.1)
    assert sshd.end_waiting(tmp_path) > 0
