"""What is found out about sshd: what a listener was started with, what systemd says, what confines it.

Real sshd is in tests/integration/test_fault_matrix.py.
"""

import subprocess
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from pam_tailscale.host import listeners
from pam_tailscale.host.effective import Effective, parse
from pam_tailscale.host.facts import Listener, Socket, Unit
from pam_tailscale.host.looking import gather_sshd
from pam_tailscale.host.looking.gather_sshd import Run, confinement, run
from pam_tailscale.host.sshdconfig import MAIN

LISTENING = "sshd: /usr/sbin/sshd {} [listener] 0 of 10-100 startups"


def listener(arguments: str, program: str = "/usr/sbin/sshd (deleted)") -> Listener:
    """What is made of a process with this title."""
    found = listeners.Listener(
        2**22 + 1, program, LISTENING.format(arguments), (listeners.Endpoint(ip_address("::"), 22, 1),)
    )
    return gather_sshd._listener(found)


@pytest.mark.parametrize(
    ("arguments", "config", "options"),
    [
        ("-D", MAIN, ()),
        ("-D -f /etc/ssh/sshd_config", MAIN, ()),
        ("-D -f/etc/ssh/../ssh/sshd_config", MAIN, ()),
        ("-D -f /etc/ssh/other", "/etc/ssh/other", ()),
        ("-D -f /a -f /b", "/b", ()),
        ("-D -o UsePAM=no", MAIN, ("UsePAM=no",)),
        ("-oUsePAM=no -D", MAIN, ("UsePAM=no",)),
        ("-D -o UsePAM no -e", MAIN, ("UsePAM no",)),
        ("-Do UsePAM=no", MAIN, ("UsePAM=no",)),
        ("-D -p 2222 -p22", MAIN, ("Port=2222", "Port=22")),
        ("-4Dp 2222", MAIN, ("Port=2222",)),
        ("-D -E /var/log/sshd -o A=b -h /etc/key", MAIN, ("A=b", "HostKey=/etc/key")),
        ("-D -g 60", MAIN, ("LoginGraceTime=60",)),
        ("-D -E -f", MAIN, ()),
        ("-D -o", MAIN, ("",)),
        ("", MAIN, ()),
    ],
)
def test_what_a_listener_was_started_with(arguments: str, config: str, options: tuple[str, ...]) -> None:
    """As getopt reads it: values behind or beside their letter, letters in one word; the last -f counts."""
    found = listener(arguments)
    assert (found.config, found.options) == (config, options)


def test_a_title_that_is_no_listeners_is_its_command_line() -> None:
    """Between its start and its first title."""
    found = listeners.Listener(2**22 + 1, "/usr/sbin/sshd", "/usr/sbin/sshd -D -f /x", ())
    assert gather_sshd._listener(found).config == "/x"


def test_the_installed_program_is_told_by_the_file() -> None:
    """Not by its name, which may be another root's; one that was replaced by an upgrade was the installed one."""
    assert listener("-D").is_installed
    assert not listener("-D", "/usr/sbin/sshd").is_installed  # a process that is not this one
    assert not listener("-D", "/opt/sshd (deleted)").is_installed


# Where connections are taken


def systemctl(*answers: str) -> Run:
    """A systemctl that answers one question after the other."""
    given = iter(answers)
    return lambda argv: subprocess.CompletedProcess(argv, 0, next(given), "")


LISTENADDRESS = parse(
    "listenaddress 0.0.0.0:22\nlistenaddress [::]:22\nlistenaddress [fe80::1%eth0]:2222\nlistenaddress x\n"
)


def test_where_the_listener_listens() -> None:
    """Its own sockets, whatever its configuration says by now."""
    assert gather_sshd._sockets(listener("-D"), Unit(), LISTENADDRESS, systemctl()) == (Socket(ip_address("::"), 22),)


def test_where_sshd_would_listen() -> None:
    """By its configuration; a scope is no part of an address here."""
    expected = [("0.0.0.0", 22), ("::", 22), ("fe80::1", 2222)]
    found = gather_sshd._sockets(None, Unit(), LISTENADDRESS, systemctl())
    assert [(str(socket.address), socket.port) for socket in found] == expected


def test_where_systemd_listens_for_it() -> None:
    """Whatever sshd_config says: with ssh.socket it does not count."""
    unit = Unit(booted=True, socket_active=True)
    found = gather_sshd._sockets(None, unit, LISTENADDRESS, systemctl("[::]:22 (Stream)\n0.0.0.0:2222 (Stream)\n"))
    assert [(str(socket.address), socket.port) for socket in found] == [("::", 22), ("0.0.0.0", 2222)]


# systemd

PRE = "ExecStartPre={ path=/usr/libexec/pam-tailscale/check-halves ; argv[]=/usr/libexec/pam-tailscale/check-halves }\n"
RELOAD = (
    "ExecReload={ path=/usr/libexec/pam-tailscale/check-halves ; argv[]=check-halves }\n"
    "ExecReload={ path=/usr/sbin/sshd ; argv[]=/usr/sbin/sshd -t }\n"
    "ExecReload={ path=/bin/kill ; argv[]=/bin/kill -HUP $MAINPID }\n"
)
STATE = "LoadState=loaded\nActiveState=active\n"
FILES = (
    "DropInPaths=/usr/lib/systemd/system/ssh.service.d/pam-tailscale.conf /etc/systemd/system/ssh.service.d/x.conf\n"
)


def test_a_unit_as_our_package_makes_it() -> None:
    """Both checks are there; others' files are named."""
    unit = gather_sshd._unit(systemctl(STATE + PRE + RELOAD + FILES, "ActiveState=inactive\n"))
    assert unit == Unit(
        booted=True,
        load_state="loaded",
        active=True,
        guarded=True,
        drop_ins=("/etc/systemd/system/ssh.service.d/x.conf",),
    )


@pytest.mark.parametrize(
    "shown",
    [
        PRE,
        RELOAD,
        PRE + RELOAD.replace("-HUP", "-USR1"),
        PRE + RELOAD.splitlines()[2],
        PRE + RELOAD.splitlines()[0],
        "",
    ],
)
def test_a_unit_that_somebody_has_changed(shown: str) -> None:
    """One of the checks is gone, or sshd is not told any more."""
    assert not gather_sshd._unit(systemctl(STATE + shown + "\n" + FILES, "")).guarded


def test_a_socket_that_systemd_listens_on() -> None:
    """Sshd itself may not run then."""
    unit = gather_sshd._unit(systemctl("LoadState=loaded\nActiveState=inactive\n", "ActiveState=active\n"))
    assert (unit.active, unit.socket_active) == (False, True)


# What confines it


def write(path: Path, text: str) -> None:
    """A file of a made-up /proc or /sys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nothing_confines_it(tmp_path: Path) -> None:
    """No such kernel, or one that does not enforce."""
    assert list(confinement(5, tmp_path)) == []
    write(tmp_path / "sys/fs/selinux/enforce", "0")
    write(
        tmp_path / "sys/kernel/security/apparmor/profiles",
        "/usr/sbin/sshd (complain)\n/usr/bin/man (enforce)\nsshdx (enforce)\n",
    )
    write(tmp_path / "proc/5/attr/apparmor/current", "unconfined\n")
    assert list(confinement(5, tmp_path)) == []


def test_selinux_enforces(tmp_path: Path) -> None:
    """For the whole host."""
    write(tmp_path / "sys/fs/selinux/enforce", "1\n")
    assert list(confinement(0, tmp_path)) == ["SELinux"]


@pytest.mark.parametrize("profile", ["/usr/sbin/sshd (enforce)\n", "sshd (enforce)\n", "openssh-sshd (enforce)\0"])
def test_apparmor_confines_it(tmp_path: Path, profile: str) -> None:
    """By the list of profiles, or by what the listener itself runs under."""
    write(tmp_path / "sys/kernel/security/apparmor/profiles", profile)
    assert list(confinement(0, tmp_path)) == ["AppArmor"]
    write(tmp_path / "sys/kernel/security/apparmor/profiles", "")
    write(tmp_path / "proc/5/attr/apparmor/current", profile)
    assert list(confinement(5, tmp_path)) == ["AppArmor"]


# Running programs


def test_a_program_that_is_not_there() -> None:
    """Its complaint is a sentence."""
    done = run(["/no/such/program"])
    assert (done.returncode, done.stderr) == (127, "/no/such/program does not run (No such file or directory)")


def test_a_program_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for."""
    monkeypatch.setattr(gather_sshd, "_SECONDS", 0.2)
    done = run(["sleep", "60"])
    assert (done.returncode, done.stderr) == (127, "sleep does not end within 0.2 s")


def test_what_a_program_says() -> None:
    """Whatever the bytes."""
    done = run([sys.executable, "-c", "import os; os.write(1, b'\\xff'); os.write(2, b'no'); raise SystemExit(3)"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "\ufffd", "no")


# The configuration


def answering(returncode: int, stdout: str, stderr: str) -> tuple[Run, list[Sequence[str]]]:
    """A program that was run, and how."""
    asked: list[Sequence[str]] = []

    def answer(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        asked.append(argv)
        return subprocess.CompletedProcess(argv, returncode, stdout, stderr)

    return answer, asked


@pytest.fixture(autouse=True)
def _privsep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_sshd, "_PRIVSEP", tmp_path / "sshd")


def test_the_configuration_as_the_listener_has_it(tmp_path: Path) -> None:
    """With its own -o, which come before the files; and the directory is there without which sshd looks at nothing."""
    answer, asked = answering(0, "usepam no\n", "")
    assert gather_sshd._configuration(answer, ("UsePAM=no",)) == ("", Effective({"usepam": ("no",)}))
    assert asked == [["/usr/sbin/sshd", "-T", "-f", MAIN, "-o", "UsePAM=no"]]
    assert (tmp_path / "sshd").is_dir()


@pytest.mark.parametrize(("stderr", "complaint"), [("a\nline 3: bad\n", "line 3: bad"), ("", "it says nothing")])
def test_a_configuration_that_sshd_refuses(stderr: str, complaint: str) -> None:
    """In its own last words; nothing is said of what it would come to."""
    answer, _ = answering(255, "usepam yes\n", stderr)
    found, values = gather_sshd._configuration(answer, ())
    assert complaint in found
    assert values == Effective()


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", ()),
        ("SSHD_OPTS=\n", ()),
        ('# c\nSSHD_OPTS="-o UsePAM=no -p 2222"\n', ("UsePAM=no", "Port=2222")),
        ("SSHD_OPTS=-4\n", ()),
        ('SSHD_OPTS="-o\n', ()),
    ],
)
def test_the_options_that_it_would_be_started_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, options: tuple[str, ...]
) -> None:
    """From /etc/default/ssh, where nothing runs."""
    write(tmp_path / "ssh", text)
    monkeypatch.setattr(gather_sshd, "_DEFAULTS", tmp_path / "ssh")
    assert gather_sshd._default_options() == options
