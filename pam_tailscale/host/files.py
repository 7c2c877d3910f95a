"""Reads and writes the host's files, each write whole or not at all. What is in them is decided elsewhere."""

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pam_tailscale.errors import HostError
from pam_tailscale.host.arrangement import File

_SIZE_MAX = 1 << 20
# No service of PAM and no file that sshd's Include takes ends in this.
_SUFFIX = ".pam-tailscale-new"


class Files:
    """The files below a root; `/` on a host."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self, path: str) -> bytes | None:
        """A file's content, or None where there is none.

        Raises HostError for what is no regular file, cannot be read, or is larger than 1 MiB.
        """
        try:
            descriptor = os.open(self._at(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise HostError(f"{path}: cannot be read ({err.strerror}): it must be a file, and no link") from err
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise HostError(f"{path}: is no file: put it right, then run this again")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(_SIZE_MAX + 1)
        finally:
            os.close(descriptor)
        if len(content) > _SIZE_MAX:
            raise HostError(f"{path}: is larger than {_SIZE_MAX} bytes: put it right, then run this again")
        return content

    def present(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The content of those that are there. Raises HostError as `read`."""
        return {path: content for path in paths if (content := self.read(path)) is not None}

    def put(self, file: File) -> bool:
        """Make a file what it shall be; False where it was so already.

        Written beside it, synced, renamed over it, and the directory synced. One that is there keeps its mode and
        owner. Raises HostError; the file is then what it was.
        """
        if self.read(file.path) == file.content:
            return False
        try:
            if file.content is None:
                self._at(file.path).unlink()
            else:
                self._write(self._at(file.path), file.content, file.mode)
            _sync_directory(self._at(file.path).parent)
        except OSError as err:
            raise HostError(f"{file.path}: cannot be written ({err.strerror}): nothing of it was changed") from err
        return True

    def must_be_writable(self, path: str) -> None:
        """Raises HostError where a file could not be written: a filesystem that is read-only is, for root too."""
        directory = self._at(path).parent
        if not os.access(directory, os.W_OK, effective_ids=True):
            raise HostError(f"{directory} is read-only: nothing was changed; mount it read-write first")

    def _at(self, path: str) -> Path:
        return self._root / path.lstrip("/")

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        temporary = path.with_name(path.name + _SUFFIX)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _keep_owner_and_mode(path, descriptor, mode)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            temporary.rename(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise

    def sweep(self, paths: Iterable[str]) -> None:
        """Remove what a run that was killed may have left beside these files."""
        for path in paths:
            with suppress(OSError):
                self._at(path + _SUFFIX).unlink()


def _keep_owner_and_mode(path: Path, descriptor: int, mode: int) -> None:
    try:
        before = path.lstat()
    except FileNotFoundError:
        os.fchmod(descriptor, mode)
        return
    os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
