"""Accounts as sshd sees them."""

import pwd
from pathlib import Path

import pytest

from pam_tailscale import localaccounts, paths


def test_root() -> None:
    """The account that every host has."""
    root = localaccounts.look_up("root")
    assert root is not None
    assert (root.name, root.uid, root.shell_usable) == ("root", 0, True)


@pytest.mark.parametrize(
    "name", ["", " ", "nobody-here", "root ", "root\n", "roo\0t", "\ud800", "root\udcff", "0", "a" * 5000, "../root"]
)
def test_no_account(name: str) -> None:
    """A name that stands for nothing is no account, whatever bytes are in it."""
    assert localaccounts.look_up(name) is None


def entry(shell: str) -> pwd.struct_passwd:
    """An account with this shell."""
    return pwd.struct_passwd(("alice", "x", 1001, 1001, "", "/home/alice", shell))


@pytest.mark.parametrize(("mode", "usable"), [(0o755, True), (0o100, True), (0o001, True), (0o644, False), (0, False)])
def test_a_shell_needs_an_execute_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    usable: bool,  # noqa: FBT001 (a column of the table)
) -> None:
    """Any one of the three, as sshd asks."""
    shell = tmp_path / "shell"
    shell.write_text("")
    shell.chmod(mode)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry(str(shell)))
    account = localaccounts.look_up("alice")
    assert account is not None
    assert account.shell_usable is usable


@pytest.mark.parametrize("shell", ["/nonexistent", "/tmp", "relative", "/dev/null", "/bin/sh\0", "/bin/\udcff"])  # noqa: S108
def test_a_shell_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    """Missing, a folder, a device, no path at all."""
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry(shell))
    account = localaccounts.look_up("alice")
    assert account is not None
    assert not account.shell_usable


def test_a_link_to_a_shell_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    (tmp_path / "link").symlink_to("/bin/sh")
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry(str(tmp_path / "link")))
    account = localaccounts.look_up("alice")
    assert account is not None
    assert account.shell_usable


def test_no_shell_is_the_default_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """passwd(5)."""
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry(""))
    account = localaccounts.look_up("alice")
    assert account is not None
    assert (account.shell, account.shell_usable) == ("/bin/sh", True)


def test_the_account_keeps_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """An alias is seen by it: the name asked for is not put in its place."""
    monkeypatch.setattr(pwd, "getpwnam", lambda _: entry("/bin/sh"))
    account = localaccounts.look_up("ALICE")
    assert account is not None
    assert account.name == "alice"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UID_MIN 500\n", 500),
        ("#UID_MIN 500\n  UID_MIN\t\t 1500  \nSYS_UID_MIN 101\n", 1500),
        ("SYS_UID_MIN 101\n", 1000),
        ("UID_MIN many\n", 1000),
        ("", 1000),
    ],
)
def test_uid_min(tmp_path: Path, text: str, expected: int) -> None:
    """login.defs(5), or Debian's default."""
    (tmp_path / "login.defs").write_text(text)
    assert localaccounts.uid_min(tmp_path / "login.defs") == expected


def test_uid_min_without_the_file(tmp_path: Path) -> None:
    """The default."""
    assert localaccounts.uid_min(tmp_path / "login.defs") == 1000


def test_uid_min_of_this_host() -> None:
    """Debian's."""
    assert localaccounts.uid_min(paths.LOGIN_DEFS) == localaccounts.UID_MIN_DEFAULT
