"""What is looked at on the host: nothing is taken for something else, and nothing is waited for."""

import fcntl
import os
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.host import effective
from pam_tailscale.host.accounts import Entry
from pam_tailscale.host.doctor import look
from pam_tailscale.host.doctor.halves import Switched
from tests.support.host_facts import TRIXIE, config


def test_text_of_a_file(tmp_path: Path) -> None:
    """And of nothing else: a FIFO would be waited for, and what has no end read for ever."""
    (tmp_path / "file").write_bytes(b"text\xff")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"x" * ((1 << 20) + 1))
    (tmp_path / "largest").write_bytes(b"x" * (1 << 20))
    assert look.text_of(tmp_path / "file") == "text\N{REPLACEMENT CHARACTER}"
    assert look.text_of(tmp_path / "largest") == "x" * (1 << 20)
    assert [look.text_of(tmp_path / name) for name in ("none", "fifo", "large", "")] == [None] * 4
    assert look.text_of(Path("/dev/zero")) is None


def test_place(tmp_path: Path) -> None:
    """A link is a link, and what is not there has no mode."""
    (tmp_path / "link").symlink_to("/")
    assert look.place(tmp_path / "link").mode & 0o170000 == 0o120000
    assert not look.place(tmp_path / "none").exists


def test_halves(tmp_path: Path) -> None:
    """Contents of what is a file, and why something is none."""
    drop_in = tmp_path / str(paths.DROP_IN).lstrip("/")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_bytes(b"UsePAM yes\n")
    service = tmp_path / str(paths.PAM_SERVICE).lstrip("/")
    service.mkdir(parents=True)
    found = look.halves(TRIXIE, tmp_path)
    assert found.switched is Switched.ON
    assert found.contents == {str(paths.DROP_IN): b"UsePAM yes\n"}
    assert set(found.unreadable) == {str(paths.PAM_SERVICE)}
    assert found.places[str(paths.DROP_IN)].exists
    assert not found.places[str(paths.ENABLED)].exists
    assert look.halves(TRIXIE, tmp_path / "empty").switched is Switched.OFF


def test_whether_a_change_is_under_way(tmp_path: Path) -> None:
    """By the kernel's list of locks; looking takes none."""
    lock = tmp_path / "lock"
    assert not look.locked(lock)
    with lock.open("w") as file:
        assert not look.locked(lock)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert look.locked(lock)
    assert not look.locked(lock)


def test_services_in_both_directories(tmp_path: Path) -> None:
    """The administrator's goes before the distribution's."""
    first, second = tmp_path / "etc", tmp_path / "usr"
    for directory in (first, second):
        directory.mkdir()
        (directory / "both").write_text(f"auth required {directory.name}.so\n")
    (second / "one").write_text("auth include both\n")
    assert [line.asks for line in look.service("one", [first, second]).lines] == ["etc.so"]
    assert not look.service("none", [first, second]).exists


def test_when_files_were_put_in_place(tmp_path: Path) -> None:
    """A rename counts, though the content's time stays what it was."""
    old = tmp_path / "old"
    old.write_text("Banner none\n")
    os.utime(old, (1, 1))
    seen = config(f"Include {tmp_path}/*\n", {str(tmp_path / "old"): ""})
    assert str(tmp_path / "old") not in dict(look.changed(seen))  # nothing is set there
    settings = config()
    assert {path for path, _ in look.changed(settings)} <= {"/etc/ssh/sshd_config", str(paths.DROP_IN)}


def test_when_sshd_read_its_files(tmp_path: Path) -> None:
    """Its PidFile says, if it is that listener's."""
    pid_file = tmp_path / "sshd.pid"
    values = effective.parse(f"pidfile {pid_file}\n")
    assert look.read_at(values, 400) is None
    pid_file.write_text("400\n")
    os.utime(pid_file, (100, 200))
    assert look.read_at(values, 400) == 200
    assert look.read_at(values, 401) is None


def test_what_keys_restrict(tmp_path: Path) -> None:
    """In each file that sshd looks in, with its tokens put in."""
    home = tmp_path / "alice"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/authorized_keys").write_text('command="x" ssh-ed25519 AAAA\n')
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/1002").write_text("restrict ssh-ed25519 AAAA\n")
    os.mkfifo(tmp_path / "keys/1003")
    values = effective.parse(f"authorizedkeysfile .ssh/authorized_keys %h/.ssh/%% {tmp_path}/keys/%U none\n")
    entries = [
        Entry(name, "x", uid, uid, str(tmp_path / name), "")
        for name, uid in (("alice", 1001), ("bob", 1002), ("eve", 1003))
    ]
    found = look.restricted(entries, values)
    assert found.options == {"alice": frozenset({"command"}), "bob": frozenset({"restrict"})}
    assert found.unread == (str(tmp_path / "keys/1003"),)


def test_accounts_as_a_decision_takes_them(tmp_path: Path) -> None:
    """An empty shell is /bin/sh; one that cannot be run is unusable."""
    shell = tmp_path / "shell"
    shell.write_text("")
    entries = [Entry("a", "x", 1, 1, "/", ""), Entry("b", "x", 2, 2, "/", str(shell)), Entry("c", "x", 3, 3, "/", "\0")]
    found = look.local_accounts(entries)
    assert [(one.name, one.shell_usable) for one in found] == [("a", True), ("b", False), ("c", False)]
    assert found[0].shell == "/bin/sh"


def test_members_of_a_group() -> None:
    """Also those whose own group it is; a group that is not there has none."""
    assert "root" in (look.members("root") or ())
    assert look.members("no-such-group-here") is None
