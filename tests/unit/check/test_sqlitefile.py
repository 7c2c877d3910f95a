"""The file of evidence: who may have it, what is done with a bad one, and that what is whole in it is never lost."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pam_tailscale.check.sqlitefile import Row, SqliteFile
from pam_tailscale.errors import CheckError
from tests.support import namespaces

ROWS = [Row("kind", f"name-{number}", f"value-{number}" + "x" * 3000) for number in range(50)]


def contents(path: Path) -> tuple[list[Row], str]:
    """What a new process would find."""
    file = SqliteFile(path)
    rows, problem = file.open()
    file.close()
    return sorted(rows, key=lambda row: row.name), problem


def written(path: Path, rows: list[Row]) -> None:
    """Make the file."""
    file = SqliteFile(path)
    assert file.open() == ([], "")
    file.write(rows, durable=True)
    file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is, in a directory that is made with it."""
    return tmp_path / "state" / "a name with ? and %.db"


def aside(path: Path) -> Path:
    """Where a bad one goes."""
    return path.with_name(path.name + ".damaged")


def test_what_is_written_is_there_afterwards(path: Path) -> None:
    """A later value instead of the former, none where it was taken away, all anew where that is said."""
    file = SqliteFile(path)
    assert file.open() == ([], "")
    file.write([Row("a", "1", "x"), Row("b", "1", "y"), Row("a", "2", "z")], durable=False)
    file.write([Row("a", "1", "\u00e9\0x"), Row("a", "2", None), Row("a", "3", None)], durable=True)
    file.close()
    assert contents(path) == ([Row("a", "1", "\u00e9\0x"), Row("b", "1", "y")], "")
    file = SqliteFile(path)
    file.open()
    file.write([Row("c", "1", "z")], durable=True, anew=True)
    file.close()
    assert contents(path) == ([Row("c", "1", "z")], "")


def test_only_the_agent_reads_it(path: Path) -> None:
    """The file and what SQLite puts beside it, whatever the umask; and the directory."""
    before = os.umask(0)
    try:
        file = SqliteFile(path)
        file.open()
        file.write(ROWS, durable=False)
        modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
        assert modes == {path.name: 0o600, f"{path.name}-wal": 0o600}
        assert path.parent.stat().st_mode & 0o777 == 0o700
        file.close()
    finally:
        os.umask(before)


def test_a_row_shows_nothing_of_its_value() -> None:
    """It may be a token."""
    assert "value-1" not in repr(ROWS[1])


def test_what_is_durable_needs_no_journal(path: Path) -> None:
    """It is in the file itself: also for a reader that cannot use the journal, and whoever else is killed."""
    file = SqliteFile(path)
    file.open()
    file.write(ROWS[:1], durable=True)
    file.write(ROWS[1:2], durable=False)
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    file.close()
    assert contents(copy) == (ROWS[:1], "")


def test_what_was_taken_away_is_overwritten(path: Path) -> None:
    """A token that was forgotten is not found in the file by whoever gets hold of it."""
    file = SqliteFile(path)
    file.open()
    file.write(ROWS, durable=True)
    assert b"value-17x" in path.read_bytes()
    file.write([Row("kind", "name-17", None)], durable=True)
    assert all(b"value-17x" not in entry.read_bytes() for entry in path.parent.iterdir())
    file.close()


_KILLED = """
import os, signal, sys
from pathlib import Path
from pam_tailscale.check.sqlitefile import Row, SqliteFile
file = SqliteFile(Path(sys.argv[1]))
file.open()
file.write([Row("kind", "name", "value")], durable=False)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_loses_nothing(path: Path) -> None:
    """Only a power cut does, and then only what was not durable."""
    subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert contents(path) == ([Row("kind", "name", "value")], "")


def not_sqlite(path: Path) -> None:
    """Something else altogether."""
    path.write_bytes(b"not a database at all\n" * 400)


def other_version(path: Path) -> None:
    """Of an agent to come."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")


def other_program(path: Path) -> None:
    """Somebody else's database."""
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    path.chmod(0o600)


def other_table(path: Path) -> None:
    """A table more, or a trigger."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE more (x)")


def readable(path: Path) -> None:
    """Its tokens may be known to others."""
    path.chmod(0o640)


def writable(path: Path) -> None:
    """What is in it may be another's."""
    path.chmod(0o602)


def owned(path: Path) -> None:
    """By somebody else."""
    os.chown(path, 65534, -1)


def link(path: Path) -> None:
    """To a file of ours that is none of this."""
    target = path.with_name("target")
    path.rename(target)
    path.symlink_to(target)


def directory(path: Path) -> None:
    """In its place."""
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    """Opening it would wait for ever."""
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "spoil",
    [not_sqlite, other_version, other_program, other_table, readable, writable, owned, link, directory, fifo],
)
def test_a_foreign_file_is_put_aside(
    path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is believed, a new one is begun, one of the old is kept, and the journal says why."""
    written(path, ROWS)
    aside(path).write_text("of an earlier time")
    if spoil is directory:
        aside(path).unlink()
    spoil(path)
    assert contents(path) == ([], "")
    assert str(path) in caplog.text
    assert aside(path).name in caplog.text
    assert not aside(path).is_file() or aside(path).read_bytes() != b"of an earlier time"
    assert {entry.name for entry in path.parent.iterdir()} - {"target"} == {path.name, aside(path).name}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_is_not_played_back_into_another_file(path: Path) -> None:
    """That of a file which was put aside."""
    subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert path.with_name(path.name + "-wal").stat().st_size
    path.chmod(0o644)
    assert contents(path) == ([], "")
    assert contents(path) == ([], "")
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, aside(path).name}


def test_the_copy_that_is_put_aside_is_read_by_nobody(path: Path) -> None:
    """There are tokens in it."""
    written(path, ROWS)
    path.chmod(0o644)
    contents(path)
    assert aside(path).stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    """A host that lost its power between making and filling it: no reason to say anything."""
    path.parent.mkdir()
    path.touch(0o600)
    assert contents(path) == ([], "")
    assert not aside(path).exists()


def test_a_flipped_bit_is_noticed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite itself does not look at what stands in its rows. All other rows are kept."""
    written(path, ROWS)
    data = bytearray(path.read_bytes())
    place = data.index(b"value-17x")
    data[place + 6] ^= 1
    path.write_bytes(data)
    rows, problem = contents(path)
    assert problem == ""
    assert {row.name for row in rows} == {row.name for row in ROWS} - {"name-17"}
    assert rows == contents(path)[0]
    assert "sum of a row" in caplog.text


@pytest.mark.parametrize("keep", [1, 100, 4096, 5000, 20000, 100_000])
def test_a_truncated_file_is_noticed(path: Path, keep: int, caplog: pytest.LogCaptureFixture) -> None:
    """What is whole of it is kept, and nothing is read that was not written."""
    written(path, ROWS)
    os.truncate(path, keep)
    rows, problem = contents(path)
    assert problem == ""
    assert all(row in ROWS for row in rows)
    assert "put" not in problem
    assert "damaged" in caplog.text
    assert contents(path)[0] == rows


def test_damage_beside_the_rows_is_noticed(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All rows can be read, and the next write would fail: the list of free pages leads nowhere."""
    file = SqliteFile(path)
    file.open()
    file.write(ROWS, durable=True)
    file.write([Row(row.kind, row.name, None) for row in ROWS[1:]], durable=True)
    file.close()
    data = bytearray(path.read_bytes())
    data[32:36] = b"\x7f\xff\xff\xff"  # first page of that list (SQLite's file format, section 1.3)
    path.write_bytes(data)
    assert contents(path) == (ROWS[:1], "")
    assert "quick_check" in caplog.text


def test_any_flipped_byte_is_survived(path: Path) -> None:
    """No place of the file makes it unusable, or a row another one."""
    written(path, ROWS[:8])
    whole = path.read_bytes()
    for place in range(0, len(whole), 499):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        path.chmod(0o600)
        rows, problem = contents(path)
        assert problem == "", place
        assert all(row in ROWS for row in rows), place


def test_damage_while_it_is_open(path: Path) -> None:
    """The write fails; opened again, it is put aside and works."""
    many = [Row("kind", f"{number:04}", "x" * 3000) for number in range(2000)]  # more than SQLite holds in memory
    file = SqliteFile(path)
    file.open()
    file.write(many, durable=True)
    with path.open("r+b") as raw:
        raw.seek(4096)
        raw.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(CheckError, match="malformed"):
        file.write([Row(row.kind, row.name, "y") for row in many], durable=True)
    assert not file.usable
    assert file.open()[1] == ""
    file.write(ROWS[:1], durable=True)
    file.close()
    assert ROWS[0] in contents(path)[0]
    assert aside(path).exists()


def test_another_agent_has_it(path: Path) -> None:
    """It is neither put aside nor written into; what is in it can be read."""
    written(path, ROWS)
    first, second = SqliteFile(path), SqliteFile(path)
    first.open()
    first.write(ROWS[:1], durable=True)
    rows, problem = second.open()
    assert sorted(rows, key=lambda row: row.name) == sorted(ROWS, key=lambda row: row.name)
    assert "another agent" in problem
    with pytest.raises(CheckError, match="not open"):
        second.write(ROWS, durable=True)
    assert not aside(path).exists()
    first.close()


def test_it_is_closed_once(path: Path) -> None:
    """A second time does nothing."""
    file = SqliteFile(path)
    file.open()
    file.close()
    file.close()
    assert not file.usable


def in_tmpfs(size: str, function: Callable[[Path], None]) -> None:
    """Call `function` with a directory of so many bytes that nobody else sees."""

    def enter() -> None:
        namespaces._checked(namespaces._libc.unshare(namespaces.CLONE_FS | namespaces.CLONE_NEWNS), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "store", "/mnt"], check=True)

    namespaces._in_thread(enter, lambda: function(Path("/mnt")))


def remount(how: str) -> None:
    """Read-only, or not."""
    subprocess.run(["mount", "-o", f"remount,{how}", "/mnt"], check=True)


def test_a_read_only_disk() -> None:
    """All that was durable can be read, although the journal cannot be used; nothing is put aside."""

    def body(directory: Path) -> None:
        path = directory / "checks.db"
        written(path, ROWS)
        subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)  # leaves a journal behind
        assert path.with_name(path.name + "-wal").exists()
        remount("ro")
        rows, problem = contents(path)
        assert rows == sorted(ROWS, key=lambda row: row.name)
        assert "read-only" in problem
        remount("rw")
        assert len(contents(path)[0]) == len(ROWS) + 1
        assert not aside(path).exists()

    in_tmpfs("4m", body)


def test_a_foreign_file_on_a_read_only_disk() -> None:
    """It cannot be put aside, and is not believed."""

    def body(directory: Path) -> None:
        path = directory / "checks.db"
        written(path, ROWS)
        path.chmod(0o644)
        remount("ro")
        rows, problem = contents(path)
        assert rows == []
        assert "read-only" in problem.lower()

    in_tmpfs("4m", body)


def test_no_directory_can_be_made() -> None:
    """The problem is said; nothing is raised."""

    def body(directory: Path) -> None:
        remount("ro")
        rows, problem = contents(directory / "state" / "checks.db")
        assert rows == []
        assert "checks.db" in problem

    in_tmpfs("1m", body)


def test_a_full_disk() -> None:
    """The write fails and changes nothing; when there is room again it works."""

    def body(directory: Path) -> None:
        path, filler = directory / "checks.db", directory / "filler"
        file = SqliteFile(path)
        file.open()
        file.write(ROWS[:1], durable=True)
        with pytest.raises(OSError, match="space"), filler.open("wb") as fill:
            fill.write(b"x" * (8 << 20))
        with pytest.raises(CheckError, match="disk full"):
            file.write(ROWS[1:], durable=True)
        filler.unlink()
        file.write(ROWS[2:3], durable=True)
        file.close()
        assert contents(path) == ([ROWS[0], ROWS[2]], "")

    in_tmpfs("2m", body)


def test_threads_may_take_turns(path: Path) -> None:
    """The connection belongs to no thread."""
    file = SqliteFile(path)
    file.open()
    thread = threading.Thread(target=lambda: file.write(ROWS[:1], durable=True))
    thread.start()
    thread.join()
    file.close()
    assert contents(path) == (ROWS[:1], "")
