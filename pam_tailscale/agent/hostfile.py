"""A file of root's on this host, read again when it changes: its last good content stays in force when it is damaged.

Raw bytes become a value by a function that the file's owner gives; what the value means is not known here.
"""

import errno
import hashlib
import logging
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from pam_tailscale.errors import ConfigError, PolicyFileError
from pam_tailscale.policy.hujson import BYTES_MAX
from pam_tailscale.rootfile import only_root_writes

T = TypeVar("T")

SETTLED: Final = 1.0
"""Seconds after which a file that was written once more would have another time stamp."""
_CHUNK: Final = 1 << 20

log = logging.getLogger(__name__)

_MEND: Final = "chown root, chmod 0644"
_Seen = tuple[int, ...]


class HostFile(Generic[T]):
    """One file, asked from many threads.

    Args:
        path: where it is. The file must be root's, writable by nobody else, and readable by the agent.
        parse: makes the value of its content and its name; raises PolicyFileError.
        wall: Unix time.
    """

    def __init__(self, path: Path, parse: Callable[[bytes, str], T], wall: Callable[[], float] = time.time) -> None:
        self.path = path
        self._parse = parse
        self._wall = wall
        self._lock = threading.Lock()
        self._seen: _Seen | None = None
        self._digest = b""
        self._bad: tuple[bytes, str] = (b"", "")
        """Digest of the last content that could not be used, and why: it is not parsed again at each look."""
        self.value: T | None = None
        """Of the last content that could be used; None where there is no file, or never was one that could be."""
        self.problem = ""
        """What is wrong with the file as it is now, with what to do; empty where nothing is, or where there is none."""
        self.absent = False
        """There was no file at the last look."""
        self.read_at = 0.0
        """Unix time of the reading that gave the value."""

    def look(self) -> T | None:
        """The value, read again if the file has changed since the last look."""
        with self._lock:
            now = self._status()
            if now is None or now != self._seen:
                self._read()
            return self.value

    def reread(self) -> None:
        """Read it now."""
        with self._lock:
            self._read()

    def _status(self) -> _Seen | None:
        """What tells one content from another; None where that cannot be told."""
        try:
            found = self.path.stat(follow_symlinks=False)
        except OSError:
            return None
        return _seen(found)

    def _read(self) -> None:
        before, there = self.problem, self.value is not None
        self.absent = False
        self._try()
        if self.problem and self.problem != before:
            kept = "the content before stays in force" if self.value is not None else "nobody is let in"
            log.warning("%s: %s", kept, self.problem)
        if self.absent and there:
            log.warning("%s is gone: what it said holds no more", self.path)

    def _try(self) -> None:
        try:
            content, self._seen = self._content()
            self._take(content)
            self.problem = ""
        except FileNotFoundError:
            self.value, self.problem, self._seen, self.absent = None, "", None, True
        except OSError as err:
            self.problem, self._seen = f"{self.path}: {_why_not_read(err)}", None
        except (ConfigError, PolicyFileError) as err:
            self.problem = str(err)
        except Exception as err:  # no file at all would take nothing away: a fault of ours must not look like that
            log.debug("%s was not parsed", self.path, exc_info=True)
            self.problem = f"{self.path}: cannot be used because of a fault in pam-tailscale ({err!r}): report this"

    def _take(self, content: bytes) -> None:
        """Parse what is new. Raises PolicyFileError, also for what was damaged before in the same way."""
        digest = hashlib.sha256(content).digest()
        if digest == self._bad[0]:
            raise ConfigError(self._bad[1])
        if self.value is None or digest != self._digest:
            try:
                self.value, self.read_at = self._parse(content, str(self.path)), self._wall()
            except PolicyFileError as err:
                self._bad = (digest, str(err))
                raise
            self._digest = digest

    def _content(self) -> tuple[bytes, _Seen | None]:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self._seen = None
                raise ConfigError(f"{self.path}: is no file: put one there")
            if not only_root_writes(status):
                self._seen = None
                raise ConfigError(f"{self.path}: must be a file of root that nobody else may write: {_MEND}")
            content = bytearray()
            while len(content) <= BYTES_MAX and (part := os.read(descriptor, _CHUNK)):
                content += part
        finally:
            os.close(descriptor)
        # One that was written a moment ago may be written again without a trace in its times.
        changed = max(status.st_mtime, status.st_ctime)
        return bytes(content), _seen(status) if self._wall() - changed > SETTLED else None


def _why_not_read(err: OSError) -> str:
    if err.errno == errno.ELOOP:
        return "is a symbolic link: put the file itself there"
    return f"cannot be read ({err.strerror}): {_MEND}"


def _seen(status: os.stat_result) -> _Seen:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
