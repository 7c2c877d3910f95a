"""One SQLite file of named values that is read whole when it is opened: its mode, its checks, and what if it is bad.

What the values mean is the business of local.py.

The journal is a WAL. An ordinary write is not synced: after a power cut it may be missing, and the file is whole. A
durable write is synced, and moved into the file itself at once, so that it is also there for a reader who cannot use
the journal. One process holds the file (`locking_mode=EXCLUSIVE`): so there is no memory that is shared through a file,
which could be truncated under us.
"""

import contextlib
import logging
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from pam_tailscale.errors import CheckError

SCHEMA_VERSION = 1
_APPLICATION = 0x70746373
"""Marks the file as ours (PRAGMA application_id)."""
_TABLE = "CREATE TABLE rows (kind TEXT, name TEXT, value TEXT, sum INTEGER, PRIMARY KEY (kind, name)) WITHOUT ROWID"
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A value under a name, or the wish that there be none."""

    kind: str
    name: str
    value: str | None = field(repr=False)


class SqliteFile:
    """The file at `path`. Not locked: its user lets one thread in at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    @property
    def usable(self) -> bool:
        """Whether it is open for writing."""
        return self._connection is not None

    def close(self) -> None:
        """Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def open(self) -> tuple[list[Row], str]:
        """Open it, or begin it where there is none. The rows that it has, and why it cannot be written, or empty.

        A file that is damaged, or that is not ours alone, is put aside, and a new one begun. What is whole of a damaged
        one goes into the new one.
        """
        rows: list[Row] = []
        try:
            if foreign := self._foreign():
                self._put_aside(foreign)
            if damage := self._connect(rows):
                self._put_aside(damage)
                if self._connect([]):
                    raise OSError("a new file is damaged at once")  # noqa: TRY301
                self.write(rows, durable=True, anew=True)
        except (OSError, sqlite3.Error, CheckError) as err:
            self.close()
            return rows or self._unwritable(), self._text(err)
        return rows, ""

    def write(self, rows: Iterable[Row], *, durable: bool, anew: bool = False) -> None:
        """Write rows, all or none; `anew`: in place of all that is there.

        Raises CheckError. Where the file turns out to be damaged it is closed, to be opened again.
        """
        connection = self._connection
        if connection is None:
            raise CheckError(f"{self.path}: is not open")
        try:
            with _transaction(connection):
                if anew:
                    connection.execute("DELETE FROM rows")
                for row in rows:
                    _put(connection, row)
            if durable:  # a checkpoint syncs the journal, and then the file
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as err:
            if _damaged(err):
                self.close()
            raise CheckError(self._text(err)) from err

    def _foreign(self) -> str:
        """What forbids to trust the file, empty where nothing does. Raises OSError."""
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return ""
        if not stat.S_ISREG(status.st_mode):
            return "is not a regular file"
        if status.st_uid != os.geteuid():
            return f"belongs to uid {status.st_uid}"
        if stat.S_IMODE(status.st_mode) & 0o077:
            self.path.chmod(0o600)  # its copy that is put aside has tokens in it
            return f"others may use it (mode {stat.S_IMODE(status.st_mode):04o})"
        return ""

    def _create(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)

    def _connect(self, rows: list[Row]) -> str:
        """Open the file and add its rows. Answers what is damaged; raises OSError and sqlite3.Error for all else."""
        self._create()
        try:
            self._connection = connection = _opened(self.path, "mode=rw")
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            if self.path.stat().st_size == 0:
                _begin(connection)
            elif problem := _strange(connection):
                return problem
            if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
                raise sqlite3.OperationalError("no write-ahead log")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA secure_delete=ON")  # what is forgotten is overwritten
            return _read(connection, rows)
        except sqlite3.Error as err:
            if _damaged(err):
                return f"is damaged ({err})"
            raise

    def _put_aside(self, why: str) -> None:
        """Rename it, in place of one put aside before. Raises CheckError."""
        self.close()
        aside = self.path.with_name(self.path.name + ".damaged")
        try:
            self.path.replace(aside)  # its journal stays: SQLite removes one that it finds beside an empty file
        except OSError as err:
            raise CheckError(
                f"{self.path}: {why}, and cannot be renamed to {aside.name} ({err.strerror}): delete it"
            ) from err
        log.warning("%s: %s: it is now %s, and a new one is begun", self.path, why, aside.name)

    def _unwritable(self) -> list[Row]:
        """What can be read where nothing can be written, not even a journal beside the file."""
        rows: list[Row] = []
        with contextlib.suppress(OSError, sqlite3.Error):
            if self._foreign():
                return []
            with contextlib.closing(_opened(self.path, "mode=ro&immutable=1")) as connection:
                if not _strange(connection):
                    _read(connection, rows)
        return rows

    def _text(self, err: Exception) -> str:
        if isinstance(err, CheckError):
            return str(err)
        return (
            f"{self.path}: checks that were passed are kept in memory only ({type(err).__name__}: {err}): "
            "is the disk full or read-only, or another agent running?"
        )


def _opened(path: Path, how: str) -> sqlite3.Connection:
    address = f"file:{quote(str(path))}?{how}"
    return sqlite3.connect(address, uri=True, timeout=0, isolation_level=None, check_same_thread=False)


def _begin(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        connection.execute(_TABLE)
        connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _strange(connection: sqlite3.Connection) -> str:
    """Why the file cannot be one of ours, empty where it is."""
    found = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    schema = connection.execute("SELECT sql FROM sqlite_master LIMIT 2").fetchall()
    if found != [_APPLICATION, SCHEMA_VERSION] or schema != [(_TABLE,)]:
        return "is of another program or version"
    return ""


def _read(connection: sqlite3.Connection, rows: list[Row]) -> str:
    """Add all rows that are whole. Answers what is damaged."""
    damage = ""
    # Text that is not UTF-8 must be a damaged row, not an error that hides those behind it.
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    try:
        for kind, name, value, number in connection.execute("SELECT kind, name, value, sum FROM rows"):
            row = Row(kind, name, value)
            if number == _sum(row):
                rows.append(row)
            else:
                damage = "is damaged (the sum of a row is wrong)"
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            damage = "is damaged (quick_check)"
    except sqlite3.Error as err:
        if not _damaged(err):
            raise
        damage = f"is damaged ({err})"
    return damage


def _put(connection: sqlite3.Connection, row: Row) -> None:
    if row.value is None:
        connection.execute("DELETE FROM rows WHERE kind = ? AND name = ?", (row.kind, row.name))
    else:
        values = (row.kind, row.name, row.value, _sum(row))
        connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", values)


def _sum(row: Row) -> int:
    """SQLite checks the form of its pages, not what stands in them."""
    return zlib.crc32(f"{row.kind}\0{row.name}\0{row.value}".encode("utf-8", "replace"))


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _damaged(err: sqlite3.Error) -> bool:
    code = getattr(err, "sqlite_errorcode", None)  # errors of the module itself have none
    return code is not None and code & 0xFF in _DAMAGE
