"""What is found out about sshd: what a listener was started with, what systemd says, what confines it.

Real sshd is in tests/integration/test_fault_matrix.py.
"""

import itertools
import os
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.host import listeners, units
from pam_tailscale.host.effective import parse
from pam_tailscale.host.facts import Listener, Socket, Unit
from pam_tailscale.host.looking import gather_sshd
from pam_tailscale.host.looking.gather_sshd import confinement
from pam_tailscale.host.programs import Run
from pam_tailscale.host.sshdconfig import MAIN

LISTENING = "sshd: /usr/sbin/sshd {} [listener] 0 of 10-100 startups"


def process(arguments: str, program: str = "/usr/sbin/sshd (deleted)", pid: int = 2**22 + 1) -> listeners.Listener:
    """A process with this title."""
    return listeners.Listener(pid, program, LISTENING.format(arguments), (listeners.Endpoint(ip_address("::"), 22, 1),))


def listener(arguments: str, program: str = "/usr/sbin/sshd (deleted)") -> Listener:
    """What is made of it."""
    return gather_sshd._listener(process(arguments, program))


def test_what_a_listener_was_started_with() -> None:
    """Its file, by the one name that it has, and its options."""
    found = listener("-D -f /etc/ssh/../ssh/other -o UsePAM=no -p 2222")
    assert (found.config, found.options) == ("/etc/ssh/other", ("UsePAM=no", "Port=2222"))
    assert listener("-D").config == MAIN


def test_the_installed_program_is_told_by_the_file() -> None:
    """Not by its name, which may be another root's; one that was replaced by an upgrade was the installed one."""
    assert listener("-D").is_installed
    assert not listener("-D", "/usr/sbin/sshd").is_installed  # a process that is not this one
    assert not listener("-D", "/opt/sshd (deleted)").is_installed


# Whose title is believed

FORGED = "-D -o AuthorizedKeysCommand=/tmp/mine -o AuthorizedKeysCommandUser=root -o UsePAM=no -o Include=/tmp/mine"


class Asked:
    """Programs that were run, on a host with these listeners."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *found: listeners.Listener) -> None:
        self.argv: list[Sequence[str]] = []
        self.shown = ""
        monkeypatch.setattr(listeners, "find", lambda: found)
        monkeypatch.setattr(units, "booted", lambda: bool(self.shown))

    def run(self, argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Systemctl says what it shows of ssh.service, and nothing of others."""
        self.argv.append(argv)
        shown = self.shown if argv[0] == "systemctl" and argv[-1] == "ssh.service" else ""
        return subprocess.CompletedProcess(argv, 0, shown, "")

    @property
    def given(self) -> list[str]:
        """What `sshd -T` was given."""
        (argv,) = (argv for argv in self.argv if "-T" in argv)
        return [argument for before, argument in itertools.pairwise(argv) if before == "-o"]


def test_a_title_is_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it names to be run or read is not handed to a sshd that root runs, whoever's it is; it is refused."""
    asked = Asked(monkeypatch, process(FORGED))
    sshd = gather_sshd.look(asked.run)
    assert asked.given == ["UsePAM=no"]
    assert sshd.listener is not None
    assert sshd.options == ("UsePAM=no",)
    assert sshd.unproved == (
        "AuthorizedKeysCommand=/tmp/mine",
        "AuthorizedKeysCommandUser=root",
        "Include=/tmp/mine",
    )


def test_with_systemd_only_the_title_of_its_own_process_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """That one is the host's listener, in whatever order they are found."""
    asked = Asked(monkeypatch, process("-o UsePAM=no", pid=2**22 + 1), process("-o UseDNS=yes", pid=2**22 + 2))
    asked.shown = f"LoadState=loaded\nMainPID={2**22 + 2}\n"
    sshd = gather_sshd.look(asked.run)
    assert asked.given == ["UseDNS=yes"]
    assert sshd.unit.main_pid == 2**22 + 2
    assert sshd.listener is not None
    assert (sshd.listener.pid, sshd.unproved) == (2**22 + 2, ())
    assert [(one.pid, one.options) for one in sshd.others] == [(2**22 + 1, ())]


@pytest.mark.parametrize("pids", ["MainPID=0", "MainPID=77", "MainPID="])
def test_a_listener_that_systemd_does_not_run_is_not_believed(monkeypatch: pytest.MonkeyPatch, pids: str) -> None:
    """Not even what would be harmless."""
    asked = Asked(monkeypatch, process("-o UsePAM=no"))
    asked.shown = f"LoadState=loaded\n{pids}\n"
    sshd = gather_sshd.look(asked.run)
    assert asked.given == []
    assert sshd.listener is not None
    assert (sshd.options, sshd.unproved) == ((), ("UsePAM=no",))


def test_without_systemd_the_title_of_one_of_two_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of them is the host's own cannot be told."""
    asked = Asked(monkeypatch, process("-o UsePAM=no"), process("-p 2222", pid=2**22 + 2))
    sshd = gather_sshd.look(asked.run)
    assert asked.given == []
    assert sshd.unproved == ("UsePAM=no",)
    another = Asked(monkeypatch, process("-o UsePAM=no"), process("-p 2222", "/opt/sshd", 2**22 + 2))
    gather_sshd.look(another.run)
    assert another.given == ["UsePAM=no"]


def test_with_ssh_socket_another_sshd_is_not_the_hosts() -> None:
    """Systemd has the socket of that one."""
    found = [listener("-D")]
    assert gather_sshd._chosen(found, Unit(booted=True, socket_active=True)) is None
    assert gather_sshd._chosen(found, Unit(booted=True, socket_active=True, main_pid=2**22 + 1)) is found[0]


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("Include /etc/ssh/sshd_config.d/*.conf\n", True),
        ("Match User alice\nInclude sshd_config.d/1*.conf\n", True),
        ("Include /etc/ssh/other.d/*.conf\nUsePAM yes\n", False),
        ("", False),
    ],
)
def test_whether_another_sshd_reads_our_drop_in(tmp_path: Path, text: str, reads: bool) -> None:  # noqa: FBT001
    """Wherever its configuration includes it, also before it is there."""
    (tmp_path / "other").write_text(text)
    assert gather_sshd._other(listener(f"-f {tmp_path}/other")).reads_drop_in is reads


def test_another_sshd_may_have_our_drop_in_as_its_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever name."""
    (tmp_path / "drop-in").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "drop-in")
    monkeypatch.setattr(paths, "DROP_IN", tmp_path / "drop-in")
    assert gather_sshd._other(listener(f"-f {tmp_path}/link")).reads_drop_in


def test_a_configuration_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A title may name a pipe."""
    os.mkfifo(tmp_path / "pipe")
    assert not gather_sshd._other(listener(f"-f {tmp_path}/pipe")).reads_drop_in


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
STATE = "LoadState=loaded\nActiveState=active\nMainPID=400\n"
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
        main_pid=400,
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


# The configuration


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
