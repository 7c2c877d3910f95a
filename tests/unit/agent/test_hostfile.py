"""A file of root's: read when it changes, and its last good content stays in force when it is damaged."""

import logging
import os
from pathlib import Path

import pytest

from pam_tailscale.agent import hostfile
from pam_tailscale.agent.hostfile import HostFile
from pam_tailscale.errors import PolicyFileError

OLD = 1_700_000_000


class Parser:
    """Takes digits for a number, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, content: bytes, name: str) -> int:
        self.calls += 1
        try:
            return int(content)
        except ValueError:
            raise PolicyFileError("no number", name, 1, 1) from None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is, or not."""
    return tmp_path / "file.hujson"


@pytest.fixture
def parse() -> Parser:
    """Counts how often the file was parsed."""
    return Parser()


@pytest.fixture
def file(path: Path, parse: Parser) -> HostFile[int]:
    """Not yet read."""
    return HostFile(path, parse)


def write(path: Path, text: str, *, age: int = 0) -> None:
    """Put a file there, written long ago, the later the lower the age."""
    path.write_text(text)
    path.chmod(0o644)
    os.utime(path, (OLD - age, OLD - age))


def test_no_file_is_nothing_and_no_problem(file: HostFile[int]) -> None:
    """Whether that is one, its owner knows."""
    assert file.look() is None
    file.reread()
    assert (file.value, file.problem, file.absent) == (None, "", True)


def test_it_is_read_when_it_changes_and_else_not(file: HostFile[int], path: Path, parse: Parser) -> None:
    """Each look costs a stat."""
    write(path, "1")
    assert [file.look(), file.look(), file.look()] == [1, 1, 1]
    assert parse.calls == 1
    write(path, "2", age=10)
    assert [file.look(), file.look()] == [2, 2]
    assert parse.calls == 2
    assert file.read_at > OLD
    path.unlink()
    assert file.look() is None
    assert file.absent


@pytest.mark.parametrize(("later", "noticed"), [(0.5, True), (1.5, False)])
def test_a_content_that_changes_within_one_time_stamp(
    path: Path, parse: Parser, monkeypatch: pytest.MonkeyPatch, *, later: float, noticed: bool
) -> None:
    """One that was written just now may be written again with the same times and size; long after, it may not."""
    monkeypatch.setattr(hostfile, "_seen", lambda _: (OLD,))
    # Its time of modification anybody may set who may write it: what counts is when that was done.
    file = HostFile(path, parse, lambda: path.stat().st_ctime + later)
    write(path, "1")
    assert file.look() == 1
    write(path, "2")
    assert file.look() == (2 if noticed else 1)


def test_one_that_was_just_written_and_goes_away(path: Path, parse: Parser) -> None:
    """Is gone, although nothing was remembered of how it looked."""
    file = HostFile(path, parse, lambda: OLD + 0.5)
    write(path, "1")
    assert file.look() == 1
    path.unlink()
    assert file.look() is None


def test_the_same_content_is_not_parsed_again(path: Path, parse: Parser) -> None:
    """Even where the times cannot be relied on."""
    file = HostFile(path, parse, lambda: OLD + 0.5)
    write(path, "1")
    assert [file.look(), file.look(), file.look()] == [1, 1, 1]
    assert parse.calls == 1


def damage_of(path: Path, kind: str) -> None:
    """Make the file what must not be believed, or cannot be."""
    write(path, "no", age=5)
    if kind == "writable by others":
        write(path, "9", age=5)
        path.chmod(0o646)
    elif kind == "writable by the group":
        write(path, "9", age=5)
        path.chmod(0o664)
    elif kind == "somebody else's":
        write(path, "9", age=5)
        os.chown(path, 65534, 65534)
    elif kind == "a link":
        write(path.with_name("other"), "9")
        path.unlink()
        path.symlink_to(path.with_name("other"))
    elif kind == "a folder":
        path.unlink()
        path.mkdir()
    elif kind == "a pipe":
        path.unlink()
        os.mkfifo(path, 0o644)


_ROOTS = "must be a file of root"
WHAT = {
    "damaged": "no number",
    "writable by others": _ROOTS,
    "writable by the group": _ROOTS,
    "somebody else's": _ROOTS,
    "a link": "is a symbolic link",
    "a folder": "is no file",
    "a pipe": "is no file",
}
KINDS = list(WHAT)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_leaves_the_one_before_in_force(
    file: HostFile[int], path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With a problem until it is mended, which is logged once."""
    write(path, "1")
    assert file.look() == 1
    damage_of(path, kind)
    with caplog.at_level(logging.WARNING):
        assert [file.look(), file.look()] == [1, 1]
        file.reread()
    assert str(path) in file.problem
    assert WHAT[kind] in file.problem
    assert not file.absent
    assert [record.getMessage() for record in caplog.records] == [f"the content before stays in force: {file.problem}"]
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    write(path, "3")
    assert (file.look(), file.problem) == (3, "")


@pytest.mark.parametrize("kind", KINDS)
def test_damage_with_none_before_is_no_value(
    file: HostFile[int], path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is not the same as no file."""
    damage_of(path, kind)
    with caplog.at_level(logging.WARNING):
        file.reread()
    assert file.value is None
    assert file.problem
    assert not file.absent
    assert caplog.messages == [f"nobody is let in: {file.problem}"]


@pytest.mark.parametrize("ahead", [0, 10**9], ids=["usual times", "a time that is still to come"])
def test_a_damaged_file_is_parsed_once(file: HostFile[int], path: Path, parse: Parser, ahead: int) -> None:
    """Each login looks at it; none waits for the same complaint."""
    write(path, "no", age=-ahead)
    for _ in range(3):
        assert file.look() is None
    assert parse.calls == 1
    assert file.problem.endswith("1:1: no number")
    write(path, "7", age=-ahead)
    assert (file.look(), file.problem) == (7, "")


def test_a_fault_of_ours_is_not_taken_for_no_file(path: Path) -> None:
    """At no look: what nobody can read may take something away."""

    def parse(content: bytes, name: str) -> int:
        raise RecursionError(name, len(content))

    file = HostFile(path, parse)
    write(path, "1")
    for _ in range(2):
        assert file.look() is None
        assert "report this" in file.problem
        assert not file.absent


def test_before_it_was_read_it_is_not_absent(file: HostFile[int]) -> None:
    """Whoever did not look does not know."""
    assert not file.absent


def test_a_file_that_is_gone_is_logged(file: HostFile[int], path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once: what it said holds no more."""
    write(path, "1")
    file.look()
    path.unlink()
    with caplog.at_level(logging.WARNING):
        assert [file.look(), file.look()] == [None, None]
    assert caplog.messages == [f"{path} is gone: what it said holds no more"]


def test_good_damaged_and_good_again(file: HostFile[int], path: Path) -> None:
    """The same content as before the damage is no problem any more."""
    write(path, "1")
    file.look()
    write(path, "no", age=1)
    file.look()
    write(path, "1", age=2)
    assert (file.look(), file.problem) == (1, "")
