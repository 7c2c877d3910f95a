"""Files are written whole or not at all, keep what was theirs, and links are not followed."""

import os
import stat
from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host.arrangement import File, Part
from pam_tailscale.host.files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The files of a host that has an /etc."""
    (tmp_path / "etc").mkdir()
    return Files(tmp_path)


def a_file(content: bytes | None, path: str = "/etc/a", mode: int = 0o644) -> File:
    """A file as it shall be."""
    return File(path, content, Part.PAM, mode)


def test_a_new_file_gets_its_mode_whatever_the_umask(files: Files, tmp_path: Path) -> None:
    """The agent reads the pin, sshd its drop-in."""
    before = os.umask(0o077)
    try:
        assert files.put(a_file(b"x", "/etc/deep/er/a"))
    finally:
        os.umask(before)
    status = (tmp_path / "etc/deep/er/a").stat()
    assert (stat.S_IMODE(status.st_mode), files.read("/etc/deep/er/a")) == (0o644, b"x")


def test_a_file_that_is_there_keeps_its_mode_and_owner(files: Files, tmp_path: Path) -> None:
    """An administrator's 0600 stays that."""
    path = tmp_path / "etc/a"
    path.write_bytes(b"before")
    path.chmod(0o600)
    os.chown(path, 12, 34)
    assert files.put(a_file(b"after"))
    status = path.stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (12, 34, 0o600)


def test_what_is_so_already_is_not_written(files: Files, tmp_path: Path) -> None:
    """Not even its times change."""
    path = tmp_path / "etc/a"
    path.write_bytes(b"x")
    inode = path.stat().st_ino
    assert not files.put(a_file(b"x"))
    assert not files.put(a_file(None, "/etc/none"))
    assert path.stat().st_ino == inode


def test_none_removes(files: Files, tmp_path: Path) -> None:
    """And only that file."""
    (tmp_path / "etc/a").write_bytes(b"x")
    assert files.put(a_file(None))
    assert files.read("/etc/a") is None
    assert (tmp_path / "etc").is_dir()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, for one."""
    (tmp_path / "etc/a").write_bytes(b"before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HostError, match=r"/etc/a: cannot be written \(No space left on device\)"):
        files.put(a_file(b"after"))
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["a"]
    assert (tmp_path / "etc/a").read_bytes() == b"before"


def test_what_a_killed_run_left_beside_a_file_is_no_hindrance_and_is_swept(files: Files, tmp_path: Path) -> None:
    """It was never renamed, so it never counted."""
    (tmp_path / "etc/a.pam-tailscale-new").write_bytes(b"half")
    assert files.put(a_file(b"x"))
    (tmp_path / "etc/a.pam-tailscale-new").write_bytes(b"half")
    files.sweep(["/etc/a", "/etc/b"])
    assert [path.name for path in (tmp_path / "etc").iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
def test_only_files_are_read(files: Files, tmp_path: Path, kind: str) -> None:
    """A link could name any file of root's; a pipe would never end."""
    path = tmp_path / "etc/a"
    if kind == "link":
        path.symlink_to("/etc/shadow")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(HostError, match="/etc/a: "):
        files.read("/etc/a")
    with pytest.raises(HostError):
        files.put(a_file(b"x"))


def test_a_huge_file_is_refused(files: Files, tmp_path: Path) -> None:
    """None of ours is."""
    (tmp_path / "etc/a").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(HostError, match="larger than"):
        files.read("/etc/a")


def test_where_nothing_can_be_written(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen beforehand, so that nothing is begun."""
    files.must_be_writable("/etc/a")
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(HostError, match="etc is read-only: nothing was changed"):
        files.must_be_writable("/etc/a")


def test_present_leaves_out_what_is_not_there(files: Files, tmp_path: Path) -> None:
    """Not there is not empty."""
    (tmp_path / "etc/a").write_bytes(b"")
    assert files.present(["/etc/a", "/etc/b"]) == {"/etc/a": b""}
