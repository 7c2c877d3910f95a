"""What becomes of SIGTERM, SIGHUP and SIGINT while the host is being changed: first an exception, then nothing.

A terminal that closes must not leave half a change: the exception has it taken back, and taking back is not disturbed.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pam_tailscale.errors import HostError

_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@contextmanager
def raising() -> Iterator[None]:
    """Each of the signals raises HostError in here. Only in the main thread."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise HostError(f"interrupted by {signal.Signals(number).name}")

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def held() -> Iterator[None]:
    """None of them does anything in here; what came meanwhile is forgotten."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
