"""One change of the host at a time: a second run waits for the first. check-halves takes the same lock."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.errors import HostError

_WAIT = 120.0
_PAUSE = 0.1


@contextmanager
def locked(say: Callable[[str], None], path: Path = paths.LOCK, wait: float = _WAIT) -> Iterator[None]:
    """Holds the lock; says so where it has to wait for another run. Raises HostError after `wait` seconds."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as err:
        raise HostError(f"{path}: cannot be opened ({err.strerror}): nothing was changed") from err
    try:
        _take(descriptor, say, wait)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, say: Callable[[str], None], wait: float) -> None:
    deadline, said = time.monotonic() + wait, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise HostError("another run holds the lock: nothing was changed; try again later") from None
        else:
            return
        if not said:
            say("another run is under way: waiting for it")
            said = True
        time.sleep(_PAUSE)
