"""The watch on tailscaled's notification bus: what changes, as it changes, across restarts of tailscaled.

Only that something changed is taken from here; what it is now is asked for anew. Events may be lost while the bus is
down, and that it was is an event of its own.
"""

import random
import socket as sockets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pam_tailscale.errors import TailscaledError
from pam_tailscale.tailnet import parse, stream
from pam_tailscale.tailnet.records import BusDown, BusEvent
from pam_tailscale.tailnet.trouble import refused, unreachable

MASK: Final = 2 | 4 | 16
"""State and prefs at the start (ipn/backend.go, NotifyWatchOpt); 16 because up to 1.90 who is not root must set it.
Never 8 or 256: from 1.103 on they are refused."""
LINE_MAX: Final = 1 << 20
"""Bytes of one message; a node of its own with many capabilities has tens of KiB."""
BACKOFF_MIN: Final = 0.1
BACKOFF_MAX: Final = 5.0

_STEADY = 5.0
_POLL = 0.5
_ANSWER = 5.0
_DOUBLINGS = 10
_OK = 200
_CHUNK = 1 << 16


def backoff(attempt: int, random01: float) -> float:
    """Seconds to wait before the next connection, after `attempt` ones that failed before this one.

    `random01` from 0 to 1 spreads it over the upper half of what would be due.
    """
    due = min(BACKOFF_MAX, BACKOFF_MIN * (1 << min(attempt, _DOUBLINGS)))
    return max(BACKOFF_MIN, due * (0.5 + random01 / 2))


def watch(
    socket: Path, stop: threading.Event, *, random01: Callable[[], float] = random.random
) -> Iterator[BusEvent | BusDown]:
    """What the bus says, until `stop` is set, which is noticed within half a second.

    Every connection that could not be made or ended gives a BusDown; the first event of one has state and prefs.
    """
    attempt = 0
    while not stop.is_set():
        began = time.monotonic()
        try:
            yield from _connection(str(socket), stop)
        except TailscaledError as err:
            yield BusDown(str(err))
        if time.monotonic() - began > _STEADY:
            attempt = 0
        stop.wait(backoff(attempt, random01()))
        attempt += 1


def _connection(path: str, stop: threading.Event) -> Iterator[BusEvent]:
    """The events of one connection. Raises TailscaledError at its end, whatever it is, but when stopped."""
    try:
        identity = stream.identity(path)
        with stream.connect(path, _ANSWER) as connection:
            stream.send_request(connection, "GET", f"watch-ipn-bus?mask={MASK}")
            code, rest = stream.read_head(connection.recv)
            if code != _OK:
                raise refused("watch-ipn-bus", code, rest)
            connection.settimeout(_POLL)
            lines = bytearray(rest)
            while not stop.is_set():
                *whole, last = lines.split(b"\n")
                for line in whole:
                    yield parse.event(parse.document(bytes(line), "watch-ipn-bus"))
                lines = last
                if len(lines) > LINE_MAX:
                    raise TailscaledError(
                        f"a message of tailscaled's bus has more than {LINE_MAX} bytes: upgrade Tailscale"
                    )
                lines += _receive(connection, path, identity)
    except OSError as err:
        raise unreachable(path, err) from err


def _receive(connection: sockets.socket, path: str, identity: tuple[int, int]) -> bytes:
    """What came, or nothing after a while. Raises OSError and TailscaledError."""
    try:
        part = connection.recv(_CHUNK)
    except TimeoutError:
        # A tailscaled that was replaced, and did not end, would leave us listening to the wrong one.
        if stream.identity(path) != identity:
            raise TailscaledError(f"another program listens at {path} now: asking that one") from None
        return b""
    if not part:
        raise TailscaledError("tailscaled closed its bus: it was stopped or restarted, or found us too slow")
    return part
