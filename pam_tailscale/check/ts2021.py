"""GETs to the control plane over its Noise transport, several at once over one connection that is kept.

A connection belongs to a thread, which dials, and then alone reads and writes; whoever asks hands a request over to it
and waits. So nobody waits longer than they want, whatever a name server or a control plane does.
"""

import contextlib
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pam_tailscale.check.dial import Origin, Patience, Wire, dial
from pam_tailscale.check.noise import Records
from pam_tailscale.check.streams import Answer, Streams
from pam_tailscale.errors import CheckError

DIAL_SECONDS: Final = 10.0
"""For name, TCP, TLS, key and handshake together; what Tailscale takes at least (control/ts2021)."""
PING_AFTER: Final = 3.0
"""Seconds of silence, with a request unanswered, after which we ask for a sign of life."""
PING_PATIENCE: Final = 2.0
"""Seconds after which a connection without a sign of life is dead: a firewall on the way may have forgotten it."""
UNSENT_MAX: Final = 1 << 18
"""Bytes that wait to be sent. A control plane that makes us answer, and does not read, is left."""

# It writes header fields to the debug log, and so what a check is known by.
logging.getLogger("hpack").setLevel(logging.INFO)

_JOIN_SECONDS = 2.0
_CLOSED = "the connection to the control plane was closed from this side: ask again"


class SilentError(CheckError):
    """A connection gave no sign of life. At the other end somebody may still be answering what was asked over it."""


class Client:
    """Asks one control plane as one node. Makes a connection when there is none; keeps it until `close`."""

    def __init__(self, origin: Origin, machine: X25519PrivateKey, monotonic: Callable[[], float]) -> None:
        self._origin = origin
        self._machine = machine
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._current: _Connection | None = None
        self._closed = False

    def get(self, path: str, patience: Patience) -> Answer | None:
        """The answer to a GET; None where the patience came to its end first. Raises as Request.wait.

        It is sent once more where its connection gave no sign of life, or was a kept one, which may have died before.
        """
        request = self.begin(path)
        try:
            answer = request.wait(patience)
        except CheckError as err:
            if not isinstance(err, SilentError) and not request.kept_connection_died:
                raise
            request = self.begin(path)
            answer = request.wait(patience)
        if answer is None:
            request.cancel()
        return answer

    def begin(self, path: str) -> "Request":
        """Begin a GET that may be waited for more than once, and is sent once. Raises CheckError."""
        connection = self._connection()
        kept = connection.established
        call = _Call(path)
        connection.hand_over(call)
        return Request(call, connection, kept=kept)

    def connect(self, patience: Patience) -> None:
        """See that there is a connection, or that one is being made when the patience ends. Raises as Request.wait."""
        self._connection().settle(patience)

    def close(self) -> None:
        """End the connection; requests that wait fail."""
        with self._lock:
            self._closed = True
            connection, self._current = self._current, None
        if connection is not None:
            connection.close()

    def _connection(self) -> "_Connection":
        with self._lock:
            if self._closed:
                raise CheckError(_CLOSED)
            if self._current is None or self._current.over:
                self._current = _Connection(self._origin, self._machine, self._monotonic)
            return self._current


class Request:
    """A GET that has begun. Not for two threads at once."""

    def __init__(self, call: "_Call", connection: "_Connection", *, kept: bool) -> None:
        self._call = call
        self._connection = connection
        self._kept = kept

    def wait(self, patience: Patience) -> Answer | None:
        """The answer; None where the patience came to its end first: it can be waited for again, or cancelled.

        Raises CheckError where there is no answer, HandshakeError where the handshake was not taken, and SilentError,
        after which it must not be asked again where two answers to the same question may differ.
        """
        return self._call.result() if patience.wait_for(self._call.done) else None

    @property
    def kept_connection_died(self) -> bool:
        """Whether its connection was there before it, and has ended."""
        return self._kept and self._connection.over

    @property
    def may_have_arrived(self) -> bool:
        """Whether the other end may have seen it."""
        return self._connection.established

    @property
    def finished(self) -> float:
        """When its answer came, in monotonic seconds."""
        return self._call.finished

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self._connection.give_up(self._call)


class _Call:
    """One request: handed over by whoever asks, finished by the connection's thread."""

    __slots__ = ("done", "finished", "outcome", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.done = threading.Event()
        self.finished = 0.0
        self.outcome: Answer | CheckError = CheckError("not asked yet")

    def finish(self, outcome: Answer | CheckError) -> None:
        self.outcome, self.finished = outcome, time.monotonic()
        self.done.set()

    def result(self) -> Answer:
        if isinstance(self.outcome, CheckError):
            raise type(self.outcome)(str(self.outcome))  # several may raise it, each with a traceback of its own
        return self.outcome


class _Counter:
    """Where requests are handed over: by any thread, to the one that has the connection."""

    def __init__(self) -> None:
        self.closing = threading.Event()
        self.failure: CheckError | None = None
        self.bell, self._ring = socket.socketpair()
        self.bell.settimeout(0)
        self._ring.settimeout(0)
        self._lock = threading.Lock()
        self._unfinished: set[_Call] = set()
        self._new: list[_Call] = []
        self._unwanted: list[_Call] = []

    def hand_over(self, call: _Call) -> None:
        with self._lock:
            if self.failure is not None:
                call.finish(self.failure)
                return
            self._unfinished.add(call)
            self._new.append(call)
        self.wake()

    def give_up(self, call: _Call) -> None:
        with self._lock:
            self._unwanted.append(call)
        self.wake()

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # it has been rung often enough, or the thread has ended
            self._ring.send(b"!")

    def collect(self) -> tuple[list[_Call], list[_Call]]:
        """What is new, and what is no longer wanted."""
        with contextlib.suppress(BlockingIOError):
            while self.bell.recv(64):
                pass
        with self._lock:
            new, self._new = self._new, []
            unwanted, self._unwanted = self._unwanted, []
            self._unfinished.difference_update(unwanted)
        return new, unwanted

    def finish(self, call: _Call, outcome: Answer | CheckError) -> None:
        with self._lock:
            self._unfinished.discard(call)
        call.finish(outcome)

    def end(self, failure: CheckError) -> None:
        """Nothing is taken any more, and what is left has failed."""
        with self._lock:
            self.failure = failure
            left, self._unfinished = self._unfinished, set()
            self.bell.close()
            self._ring.close()
        for call in left:
            call.finish(failure)


class _Connection:
    """One connection and its thread, from before the first packet to after the last."""

    def __init__(self, origin: Origin, machine: X25519PrivateKey, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._counter = _Counter()
        self.established = False
        """The handshake is done."""
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(origin, machine), name="control-plane", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """Nothing will be answered any more."""
        return self._counter.failure is not None

    def settle(self, patience: Patience) -> None:
        """Wait until the connection is established. Raises CheckError where it is over."""
        patience.wait_for(self._settled)
        failure = self._counter.failure
        if failure is not None:
            raise type(failure)(str(failure))

    def hand_over(self, call: _Call) -> None:
        """Ask for this; the call will be finished in any case."""
        self._counter.hand_over(call)

    def give_up(self, call: _Call) -> None:
        """Nobody waits for it any more."""
        self._counter.give_up(call)

    def close(self) -> None:
        """End the connection. Its thread is gone then, unless it waits for a name server: then it ends after that."""
        self._counter.closing.set()
        self._counter.wake()
        self._thread.join(_JOIN_SECONDS)

    def _run(self, origin: Origin, machine: X25519PrivateKey) -> None:
        patience = Patience(self._monotonic() + DIAL_SECONDS, self._counter.closing.is_set, self._monotonic)
        failure = CheckError(_CLOSED)
        try:
            with dial(origin, machine, patience) as (wire, records, said):
                self.established = True
                self._settled.set()
                _Exchange(self._counter, wire, records, Streams(origin.authority), self._monotonic).run(said)
        except CheckError as err:
            failure = err
        except OSError as err:
            failure = CheckError(f"the connection to the control plane {origin} broke ({type(err).__name__}: {err})")
        finally:
            self._counter.end(failure)
            self._settled.set()


class _Exchange:
    """What the thread of a connection does once the handshake is done."""

    def __init__(
        self, counter: _Counter, wire: Wire, records: Records, streams: Streams, monotonic: Callable[[], float]
    ) -> None:
        self._counter = counter
        self._wire = wire
        self._records = records
        self._streams = streams
        self._monotonic = monotonic
        self._waiting: deque[_Call] = deque()
        self._begun: dict[int, _Call] = {}
        self._unsent = bytearray()
        self._heard = monotonic()
        self._pinged: float | None = None

    def run(self, said: bytes) -> None:
        """Serve until we close; `said` has come already. Raises CheckError and OSError when the connection is over."""
        self._take(said)
        more = False
        while True:
            self._begin()
            if self._counter.closing.is_set():  # not before: the bell that told it has been silenced by now
                return
            self._send()
            if not more:  # TLS may hold what poll(2) does not see
                self._wire.ready(self._pause(), sending=bool(self._unsent), woken_by=self._counter.bell)
            more = self._receive()
            self._look_for_life()

    def _begin(self) -> None:
        """Begin what was handed over, as far as the control plane takes more, and drop what nobody wants any more."""
        new, unwanted = self._counter.collect()
        self._waiting.extend(new)
        for call in unwanted:
            with contextlib.suppress(ValueError):
                self._waiting.remove(call)
            for number in [number for number, begun in self._begun.items() if begun is call]:
                self._streams.cancel(number)
                del self._begun[number]
        while self._waiting and (stream := self._streams.get(self._waiting[0].path)) is not None:
            self._begun[stream] = self._waiting.popleft()

    def _send(self) -> None:
        self._unsent += self._records.seal(self._streams.to_send())
        if len(self._unsent) > UNSENT_MAX:
            raise CheckError("the control plane does not read what it asks for: see its log")
        if self._unsent:
            del self._unsent[: self._wire.send(self._unsent)]

    def _receive(self) -> bool:
        """Whether there may be more."""
        part = self._wire.receive()
        if part is None:
            return False
        if not part:
            raise CheckError("the control plane closed the connection: has it been restarted?")
        self._heard, self._pinged = self._monotonic(), None
        self._take(self._records.open(part))
        return True

    def _take(self, text: bytes) -> None:
        for number, outcome in self._streams.receive(text).items():
            call = self._begun.pop(number, None)
            if call is not None:
                self._counter.finish(call, outcome if isinstance(outcome, Answer) else CheckError(outcome))
        if self._streams.over:
            raise CheckError(self._streams.over)

    def _pause(self) -> float | None:
        """Seconds until the silence has lasted too long; None where nobody waits for anything."""
        if not self._begun:
            return None
        end = self._heard + PING_AFTER if self._pinged is None else self._pinged + PING_PATIENCE
        return max(0.0, end - self._monotonic())

    def _look_for_life(self) -> None:
        if not self._begun:
            self._pinged = None
        elif self._pause():
            pass
        elif self._pinged is None:
            self._streams.ping()
            self._pinged = self._monotonic()
        else:
            raise SilentError("the control plane gives no sign of life: is the network between it and this host up?")
