"""What is made of sshd's answers. Real sshd is in tests/integration/test_switching.py."""

import dataclasses
import ipaddress
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import listeners, sshd, units
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.listeners import Endpoint, Listener
from pam_tailscale.host.programs import Run
from pam_tailscale.host.sshd import Sshd
from pam_tailscale.host.sshdconfig import MAIN
from tests.unit.host.test_listeners import Proc, line


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
        self.signalled: list[int] = []
        self.starting = self.gone = 0
        (directory / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{directory}/bin", prepend=":")
        monkeypatch.setattr(sshd, "PROGRAM", f"{directory}/bin/sshd")
        monkeypatch.setattr(listeners, "find", lambda: tuple(self.running))
        monkeypatch.setattr(units, "main_pid", lambda _: 0)
        monkeypatch.setattr(units, "is_active", lambda _: False)
        monkeypatch.setattr(listeners, "is_starting", lambda: self.starting > 0 and self.starts())
        monkeypatch.setattr(units, "is_changing", lambda _: False)
        monkeypatch.setattr(sshd, "PRIVSEP", directory / "privsep")
        monkeypatch.setattr(os, "pidfd_open", lambda pid: os.dup(0) if pid != self.gone else self.is_gone())
        monkeypatch.setattr(signal, "pidfd_send_signal", self.signal)
        self.program("sshd", "exit 0")

    def is_gone(self) -> int:
        self.running = self.next
        raise ProcessLookupError

    def starts(self) -> bool:
        """One that is being started listens when it was looked at often enough."""
        self.starting -= 1
        if not self.starting:
            self.running = [listener(("0.0.0.0", 22, 1), ("::", 22, 2))]
        return True

    def signal(self, _: int, number: int) -> None:
        self.signalled.append(number)
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
    assert machine.signalled == []


def test_it_is_told_by_signal_where_systemd_did_not_start_it(machine: Machine) -> None:
    """And has read its files when it listens on other sockets."""
    assert Sshd().reload()
    assert machine.signalled == [signal.SIGHUP]


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
    assert (told, machine.signalled) == (["ssh.service", "ssh.service"], [])


def test_it_is_told_by_systemd_where_that_started_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that systemd knows of it."""
    told = []

    def reload(unit: str) -> None:
        told.append(unit)
        machine.running = machine.next

    monkeypatch.setattr(units, "main_pid", lambda _: 700)
    monkeypatch.setattr(units, "reload", reload)
    assert Sshd().reload()
    assert (told, machine.signalled) == (["ssh.service"], [])


def test_one_that_somebody_restarts_meanwhile_has_read_them_too(machine: Machine) -> None:
    """As apt does, in an upgrade of openssh-server: the process that was to be told is gone, and another listens."""
    machine.gone = 700
    machine.next = [listener(("0.0.0.0", 22, 3), ("::", 22, 4), pid=701)]
    assert Sshd().reload()
    assert machine.signalled == []


def test_no_other_process_is_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has its number since."""
    found = iter([tuple(machine.running), tuple(machine.running), (), tuple(machine.next)])
    monkeypatch.setattr(listeners, "find", lambda: next(found))
    assert Sshd().reload()
    assert machine.signalled == []


def test_one_that_is_being_started_is_waited_for(machine: Machine) -> None:
    """It may have read the drop-in already, and has no socket yet: without waiting it would look as if it were down."""
    machine.running = []
    machine.starting = 3
    assert Sshd().reload()
    assert machine.signalled == [signal.SIGHUP]


def test_not_for_ever(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for a unit that systemd is changing."""
    monkeypatch.setattr(sshd, "_SECONDS", 0.1)
    monkeypatch.setattr(units, "is_changing", lambda unit: unit == "ssh.service")
    with pytest.raises(HostError, match="sshd is being started, and does not come"):
        Sshd().reload()
    assert machine.signalled == []


def test_one_that_goes_by_other_files_is_left_alone(machine: Machine) -> None:
    """Its own may have an error, and a signal would end it."""
    command = "sshd: /usr/sbin/sshd -D -f /etc/ssh/second [listener] 0 of 10-100 startups"
    machine.running = [dataclasses.replace(machine.running[0], command=command)]
    assert not Sshd().reload()
    same = command.replace("/etc/ssh/second", "/etc/ssh/../ssh/sshd_config")
    machine.running = [dataclasses.replace(machine.running[0], command=same)]
    assert Sshd().reload()


def test_its_directory_is_made(machine: Machine) -> None:
    """Where it has not been started since boot: without it it does not look at its files."""
    Sshd().test()
    assert (machine.directory / "privsep").is_dir()


def test_where_none_runs_none_is_told(machine: Machine) -> None:
    """False: it counts at the next start."""
    machine.running = []
    assert not Sshd().is_up()
    assert not Sshd().reload()
    assert machine.signalled == []


@pytest.mark.parametrize(
    "after",
    [
        [],
        [listener(("0.0.0.0", 22, 1), ("::", 22, 2))],
        [listener(("0.0.0.0", 22, 3), ("::", 22, 2))],
    ],
    ids=["gone", "the same sockets", "one of the same"],
)
def test_one_that_does_not_listen_anew_is_an_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, after: list[Listener]
) -> None:
    """It has not read its files, or is not there any more."""
    monkeypatch.setattr(sshd, "_SECONDS", 0.1)
    machine.next = after
    with pytest.raises(HostError, match="does not listen as before"):
        Sshd().reload()


def test_what_it_says_of_a_connection(machine: Machine) -> None:
    """As it is, or an error."""
    machine.program("sshd", "echo usepam yes")
    assert Sshd().effective(["UseDNS=no"], "user=root,addr=::1").one("UsePAM") == "yes"
    assert machine.asked("sshd") == ["-T -f /etc/ssh/sshd_config -o UseDNS=no -C user=root,addr=::1"]
    machine.program("sshd", "echo 'no hostkeys' >&2; exit 1")
    with pytest.raises(HostError, match="no hostkeys"):
        Sshd().effective([], "user=root")


def answering(returncode: int, stdout: str, stderr: str) -> tuple[Run, list[Sequence[str]]]:
    """A program that was run, and how."""
    asked: list[Sequence[str]] = []

    def answer(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        asked.append(argv)
        return subprocess.CompletedProcess(argv, returncode, stdout, stderr)

    return answer, asked


def test_the_configuration_as_the_listener_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own -o, which come before the files; and the directory is there without which sshd looks at nothing."""
    monkeypatch.setattr(sshd, "PRIVSEP", tmp_path / "sshd")
    answer, asked = answering(0, "usepam no\n", "")
    assert sshd.settings(("UsePAM=no",), run=answer) == ("", Effective({"usepam": ("no",)}))
    assert asked == [["/usr/sbin/sshd", "-T", "-f", MAIN, "-o", "UsePAM=no"]]
    assert (tmp_path / "sshd").is_dir()


@pytest.mark.parametrize(("stderr", "complaint"), [("a\nline 3: bad\n", "line 3: bad"), ("", "it says nothing")])
def test_a_configuration_that_sshd_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, complaint: str
) -> None:
    """In its own last words; nothing is said of what it would come to."""
    monkeypatch.setattr(sshd, "PRIVSEP", tmp_path / "sshd")
    answer, _ = answering(255, "usepam yes\n", stderr)
    found, values = sshd.settings((), run=answer)
    assert complaint in found
    assert values == Effective()


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
