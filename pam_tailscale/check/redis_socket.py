"""Sockets to the shared store that end in time and bring no more than was asked for. They know nothing of Redis."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pam_tailscale.check.trouble import shown
from pam_tailscale.errors import CheckError

ADDRESSES_MAX: Final = 4
"""Addresses of one name that are tried."""


_Address = tuple[int, Any]
"""Family, and what its sockets connect to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the store is, and who we are there."""

    host: str = ""
    port: int = 6379
    path: Path | None = None
    """A Unix socket, instead of host and port."""
    database: int = 0
    tls: bool = True
    """Not for a Unix socket."""
    ca_file: Path | None = None
    """Authority that has signed its certificate, where it is not one of the system's."""
    username: str = ""
    password_file: Path | None = None
    connect_seconds: float = 0.5
    """For name, connection and TLS together."""
    command_seconds: float = 0.5
    """For a question and its whole answer."""

    def __str__(self) -> str:
        if self.path is not None:
            return f"the shared store at {self.path}"
        return f"the shared store at {f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


class Bounds(threading.local):
    """What a question may still take, for the thread that asks it."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._deadline = 0.0
        self._bytes = 0

    def begin(self, seconds: float, most: int) -> None:
        """From now on: so many seconds, and bytes that come."""
        self._deadline = self._monotonic() + seconds
        self._bytes = most

    def left(self) -> float:
        """Seconds. Raises TimeoutError once they are over."""
        left = self._deadline - self._monotonic()
        if left <= 0:
            raise TimeoutError("too late")
        return left

    def count(self, size: int) -> None:
        """Raises CheckError where more came than was asked for."""
        self._bytes -= size
        if self._bytes < 0:
            raise CheckError("the shared store sends more than it was asked for: see what it is that listens there")


class BoundedSocket:
    """A connected socket, as the Redis library uses it, whose every wait ends with the question's time."""

    def __init__(self, connected: socket.socket, bounds: Bounds) -> None:
        self._socket = connected
        self._bounds = bounds
        self._timeout: float | None = None

    def settimeout(self, seconds: float | None) -> None:
        """At most so long; 0 does not wait, which asks whether something is there."""
        self._timeout = seconds

    def sendall(self, data: bytes) -> None:
        """As of a socket."""
        self._wait()
        self._socket.sendall(data)

    def recv(self, size: int) -> bytes:
        """As of a socket. Raises CheckError where too much comes."""
        self._wait()
        data = self._socket.recv(size)
        self._bounds.count(len(data))
        return data

    def recv_into(self, buffer: bytearray, nbytes: int = 0) -> int:
        """As of a socket; for the package's other parser (hiredis)."""
        self._wait()
        size = self._socket.recv_into(buffer, nbytes)
        self._bounds.count(size)
        return size

    def _wait(self) -> None:
        if self._timeout == 0:
            self._socket.settimeout(0)
        else:
            left = self._bounds.left()
            self._socket.settimeout(left if self._timeout is None else min(self._timeout, left))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Dialer:
    """Connects to a place. May be used from several threads."""

    def __init__(self, place: Place, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._monotonic = monotonic
        self._names = _Names(place.host, place.port)

    def dial(self) -> socket.socket:
        """A connected socket, inside TLS where the place has it. Raises CheckError."""
        place = self._place
        deadline = self._monotonic() + place.connect_seconds
        try:
            if place.path is not None:
                return _connect(socket.AF_UNIX, str(place.path), place.connect_seconds)
            plain = self._connect(deadline)
            return self._secure(plain, deadline) if place.tls else plain
        except TimeoutError as err:
            advice = "is it running, and does it speak TLS at this port (store.tls)?" if place.tls else "is it running?"
            raise CheckError(f"{place} does not answer within {place.connect_seconds:g} s: {advice}") from err
        except ssl.SSLCertVerificationError as err:
            raise CheckError(
                f"{place} shows a certificate that does not count ({shown(err.verify_message)}): "
                "check store.ca_file, and that the certificate has the name in store.address"
            ) from err
        except ssl.SSLError as err:
            raise CheckError(
                f"{place} does not speak TLS ({shown(str(err.reason))}): check its port, and store.tls"
            ) from err
        except OSError as err:
            raise CheckError(f"cannot reach {place} ({err.strerror or shown(str(err))}): is it running?") from err

    def _connect(self, deadline: float) -> socket.socket:
        addresses = self._names.look_up(deadline - self._monotonic())
        for number, (family, address) in enumerate(addresses):
            # The first one must not use up the time of all.
            seconds = (deadline - self._monotonic()) / (len(addresses) - number)
            try:
                return _connect(family, address, seconds)
            except OSError:
                if number == len(addresses) - 1:
                    raise
        raise OSError("the name has no address")

    def _secure(self, plain: socket.socket, deadline: float) -> socket.socket:
        ca_file = self._place.ca_file
        try:
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except OSError as err:
            plain.close()
            raise CheckError(f"{ca_file}: is no certificate that can be read ({err.strerror or err}): "
                "store.ca_file must name one in PEM") from err  # fmt: skip
        plain.settimeout(max(0.001, deadline - self._monotonic()))
        try:
            return context.wrap_socket(plain, server_hostname=self._place.host)
        except BaseException:
            plain.close()
            raise


def _connect(family: int, address: Any, seconds: float) -> socket.socket:
    """Raises OSError."""
    connected = socket.socket(family, socket.SOCK_STREAM)
    try:
        connected.settimeout(max(0.001, seconds))
        connected.connect(address)
        if family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connected.close()
        raise
    return connected


class _Names:
    """The addresses of a name, for somebody who cannot wait: getaddrinfo has no time-out.

    One thread at a time asks; whoever gives up leaves it to the next one.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._lock = threading.Lock()
        self._asking: _Question | None = None

    def look_up(self, seconds: float) -> list[_Address]:
        """At most ADDRESSES_MAX. Raises OSError."""
        with self._lock:
            question = self._asking
            if question is None:
                question = self._asking = _Question(self._host, self._port)
                threading.Thread(target=question.ask, name="store-name", daemon=True).start()
        if not question.answered.wait(max(0.0, seconds)):
            raise TimeoutError("no answer from the name server")
        with self._lock:
            if self._asking is question:
                self._asking = None
        return question.answer()


class _Question:
    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.answered = threading.Event()
        self._found: list[_Address] = []
        self._error: OSError | None = None

    def ask(self) -> None:
        try:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            self._found.extend((family, address) for family, _, _, _, address in found[:ADDRESSES_MAX])
        except OSError as err:
            self._error = err
        except UnicodeError:  # a label that is too long
            self._error = OSError("is no name")
        finally:
            self.answered.set()

    def answer(self) -> list[_Address]:
        if self._error is not None:
            raise self._error
        return self._found
