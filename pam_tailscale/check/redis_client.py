"""Questions to a Redis or Valkey that may be dead, slow, full or hostile, put with the `redis` package.

What is asked for is the business of shared.py. The package is used for the protocol, for logging in and for keeping
connections; the sockets are our own (redis_socket.py), because none of its versions bounds an answer's time or size.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from pam_tailscale.check.redis_socket import BoundedSocket, Bounds, Dialer, Place
from pam_tailscale.check.secretfile import read_secret
from pam_tailscale.check.trouble import shown
from pam_tailscale.errors import CheckError

REST_MIN, REST_MAX = 0.5, 30.0
"""Seconds for which a store that failed is left alone: doubled with each failure."""
_OVERHEAD: Final = 4096
"""Bytes of an answer beside its values, and of the greeting."""

Command = tuple[str | bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The store's answer to one command where it is an error."""

    code: str
    """The first word of the error, as `WRONGTYPE`."""
    advice: str


Answer = bytes | int | bool | None | Refusal

_ADVICE = {
    "NOAUTH": "wants another name or password: check store.username and store.password_file",
    "NOPERM": "does not permit this to us: give the user in store.username the documented rights (ACL SETUSER)",
    "READONLY": "is a replica, which takes nothing: let store.address name the primary",
    "OOM": "is full: give it more memory (maxmemory), or let it drop old keys (maxmemory-policy volatile-ttl)",
    "MISCONF": "cannot write to its own disk and takes nothing more: see its log",
    "LOADING": "is still reading its data: wait a moment",
    "MASTERDOWN": "is a replica that has lost its primary: let store.address name one that runs",
    "MOVED": "is part of a cluster, which is not supported: let store.address name a single server",
    "CLUSTERDOWN": "is part of a cluster, which is not supported: let store.address name a single server",
    "WRONGTYPE": "has something else under one of our keys: delete the keys that begin with store.prefix",
    "NODB": "has no such database: check store.database",
    "MAXCLIENTS": "has too many connections: raise its maxclients",
}
_WORDS = {"WRONGPASS": "NOAUTH", "AUTH": "NOAUTH", "ASK": "MOVED", "DB": "NODB"}
# The package takes the first word off some errors; which ones depends on its version.
_CLASSES = {
    "AuthenticationError": "NOAUTH",
    "AuthenticationWrongNumberOfArgsError": "NOAUTH",
    "AuthorizationError": "NOPERM",
    "NoPermissionError": "NOPERM",
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "BusyLoadingError": "LOADING",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "AskError": "MOVED",
    "ClusterDownError": "CLUSTERDOWN",
    "MaxConnectionsError": "MAXCLIENTS",
}


class Rest:
    """When a store that failed may be asked again. Not locked; times are monotonic seconds."""

    def __init__(self) -> None:
        self._failures = 0
        self._failed_at = 0.0
        self._until = 0.0

    def left(self, now: float) -> float:
        """Seconds for which it is left alone; 0: ask it."""
        return max(0.0, self._until - now) if self._failures else 0.0

    def begin(self, now: float, seconds: float) -> None:
        """Somebody asks, and for so long nobody else asks a store that has failed before."""
        if self._failures:
            self._until = now + seconds

    def failed(self, began: float, now: float) -> None:
        """Questions that were on their way at the same time count as one failure."""
        if self._failures and began <= self._failed_at:
            return
        seconds = min(REST_MAX, REST_MIN * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._failed_at, self._until = now, now + seconds

    def worked(self) -> None:
        """All is well."""
        self._failures = 0


class Client:
    """One store. May be used from several threads; the time of a question and the bytes of its answer are bounded."""

    def __init__(self, place: Place, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._monotonic = monotonic
        self._bounds = Bounds(monotonic)
        dialer = Dialer(place, monotonic)
        self._pool = _pool(place, lambda: BoundedSocket(dialer.dial(), self._bounds))
        self._redis = redis.Redis(connection_pool=self._pool)
        self._lock = threading.Lock()
        self._rest = Rest()
        self._problem = ""

    def close(self) -> None:
        """Close all connections."""
        self._pool.disconnect()

    def problem(self) -> str:
        """Why it cannot be asked and what to do; empty where nothing is known to be wrong."""
        return self._problem

    def ask(self, commands: Sequence[Command], most: int) -> list[Answer]:
        """Put some questions at once; `most` is how many bytes their answers may have together. Raises CheckError."""
        began = self._begin()
        try:
            answers = self._answers(commands, most)
        except CheckError as err:
            raise self._failed(began, str(err)) from err
        except Exception as err:  # noqa: BLE001 - what an answer that is none makes the package raise is listed nowhere
            # Not chained: a server may repeat in its error what it was sent.
            raise self._failed(began, self._explained(err)) from None
        with self._lock:
            self._rest.worked()
            self._problem = ""
        return answers

    def _begin(self) -> float:
        with self._lock:
            now = self._monotonic()
            left = self._rest.left(now)
            if left > 0:
                raise CheckError(f"{self._problem} (it is left alone for {left:.1f} s more)", retry_after=left)
            self._rest.begin(now, self._seconds())
            return now

    def _seconds(self) -> float:
        return self._place.connect_seconds + self._place.command_seconds

    def _failed(self, began: float, text: str) -> CheckError:
        self._pool.disconnect(inuse_connections=False)  # an answer that is late must meet no question
        with self._lock:
            now = self._monotonic()
            self._rest.failed(began, now)
            self._problem = text
            return CheckError(text, retry_after=self._rest.left(now))

    def _answers(self, commands: Sequence[Command], most: int) -> list[Answer]:
        self._bounds.begin(self._seconds(), most + _OVERHEAD)
        pipeline: Any = self._redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        return [self._answer(answer) for answer in pipeline.execute(raise_on_error=False)]

    def _answer(self, answer: object) -> Answer:
        if isinstance(answer, Exception):
            code = _code(answer)
            return Refusal(code, f"{self._place} {_ADVICE.get(code, f'answers {shown(code)}: see its log')}")
        if answer is None or isinstance(answer, bytes | int):
            return answer
        raise CheckError(f"{self._place} answers in a way that Redis does not: see what it is that listens there")

    def _explained(self, err: Exception) -> str:
        if isinstance(err, redis.TimeoutError | TimeoutError):
            return (
                f"{self._place} does not answer within {self._place.command_seconds:g} s: is it or its host overloaded?"
            )
        code = _code(err)
        if code in _ADVICE:
            return f"{self._place} {_ADVICE[code]}"
        if isinstance(err, redis.ConnectionError):
            return f"{self._place} has closed the connection: is it running, and does it speak TLS (store.tls)?"
        return f"{self._place} answers in a way that is not understood ({type(err).__name__}): is it a Redis or Valkey?"


def _code(err: Exception) -> str:
    """The first word of a server's error, or what takes its place in this version of the package."""
    named = _CLASSES.get(type(err).__name__)
    if named is not None:
        return named
    text = str(err).removeprefix("ERR ")
    if text.startswith("max number of clients"):
        return "MAXCLIENTS"
    word = text.partition(" ")[0]
    return _WORDS.get(word, word if word.isascii() and word.isupper() and word.isalpha() else "ERR")


def _pool(place: Place, dial: Callable[[], BoundedSocket]) -> Any:
    # From version 5 on the package can speak a third version of the protocol, which nothing here needs.
    newer: dict[str, Any] = {} if int(redis.__version__.partition(".")[0]) < 5 else {"protocol": 2}  # noqa: PLR2004
    kind: Any = redis.ConnectionPool
    return kind(
        connection_class=_Connection,
        dial=dial,
        place=place,
        host=place.host,
        port=place.port,
        db=place.database,
        username=place.username or None,
        **newer,
    )


class _Connection(redis.Connection):
    """The package's connection over a socket of ours."""

    def __init__(self, *, dial: Callable[[], BoundedSocket], place: Place, **options: Any) -> None:
        connection: Any = super()
        connection.__init__(**options)
        self._dial = dial
        self._password_file = place.password_file

    def _connect(self) -> Any:
        # The password's file is read each time, so that a new password needs no restart.
        if self._password_file is not None:
            self.password = read_secret(self._password_file, "the store's password").reveal()
        return self._dial()
