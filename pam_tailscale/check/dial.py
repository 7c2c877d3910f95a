"""From the control plane's URL to a Noise connection with it: name, TCP, TLS, its key, the upgrade.

Source: Tailscale control/controlhttp. But for the name server nothing here blocks for longer than a moment: who waits
says until when, and is asked whether they still want to.
"""

import base64
import binascii
import contextlib
import errno
import json
import os
import re
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from pam_tailscale.check.noise import VERSION, Handshake, Records
from pam_tailscale.check.trouble import shown
from pam_tailscale.errors import CheckError

MOMENT: Final = 0.25
"""Seconds after which whoever waits looks whether it is still wanted."""
HEAD_MAX: Final = 16384
"""Bytes of the head of an HTTP answer."""
KEY_ANSWER_MAX: Final = 65536
"""Bytes of the answer that has the control plane's key in it."""

_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"[A-Za-z0-9._:\[\]-]{1,300}")
_PATH = re.compile(r"(/[A-Za-z0-9._~%/-]*)?")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")
_KEY = re.compile(r"mkey:[0-9a-f]{64}")
_PROTOCOL = "tailscale-control-protocol"
_CHUNK = 65536
_OK, _SWITCHING = 200, 101
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(frozen=True, slots=True)
class Patience:
    """Until when somebody waits, and whether they still do."""

    deadline: float
    cancelled: Callable[[], bool]
    monotonic: Callable[[], float]

    def left(self) -> float:
        """Seconds; 0 once the time is over or nobody waits any more."""
        return 0.0 if self.cancelled() else max(0.0, self.deadline - self.monotonic())

    def until(self, seconds: float) -> "Patience":
        """The same for one part of the way, which may take at most so long from now."""
        return Patience(min(self.deadline, self.monotonic() + seconds), self.cancelled, self.monotonic)

    def wait_for(self, event: threading.Event) -> bool:
        """Wait for an event. False: the patience came to its end first."""
        while not event.wait(min(MOMENT, left := self.left())):
            if not left:
                return False
        return True


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the control plane is."""

    url: str
    """As configured, without a slash at its end."""
    secure: bool
    host: str
    port: int
    authority: str
    """Host and, where the URL has one, port; for the Host header."""

    def __str__(self) -> str:
        return shown(self.url)


def parse_origin(url: str) -> Origin:
    """Read a control URL as tailscaled has it. Raises CheckError."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), 0
    usable = _AUTHORITY.fullmatch(parts.netloc) and _PATH.fullmatch(parts.path) and not parts.query + parts.fragment
    if parts.scheme not in _PORTS or not parts.hostname or not usable:
        raise CheckError(
            f"the control URL {shown(url)} is not understood: log the node in with --login-server=https://NAME"
        )
    return Origin(url.rstrip("/"), parts.scheme == "https", parts.hostname, port, parts.netloc)


class Wire:
    """A socket, TLS or not, that never blocks by itself. Closed at the end of the `with`."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(0)
        self._socket = connected
        self._must_send = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close at once; what was not sent is lost."""
        self._socket.close()

    def connect(self, address: Any, patience: Patience) -> None:
        """Connect to an address as getaddrinfo gives it. Raises OSError and CheckError."""
        code = self._socket.connect_ex(address)
        if code == errno.EINPROGRESS:
            self.wait(patience, sending=True)
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def secure(self, host: str, patience: Patience) -> None:
        """Begin TLS, and go on only if it is this host. Raises OSError (so are TLS's) and CheckError."""
        context = ssl.create_default_context()
        wrapped = context.wrap_socket(self._socket, server_hostname=host, do_handshake_on_connect=False)
        self._socket = wrapped
        while True:
            try:
                return wrapped.do_handshake()
            except _NOT_NOW as err:
                self._later(err)
                self.wait(patience)

    def receive(self) -> bytes | None:
        """What has come; None: nothing yet; empty: the other side has closed. Raises OSError."""
        try:
            return self._socket.recv(_CHUNK)
        except _NOT_NOW as err:
            self._later(err)
            return None

    def send(self, data: bytes | bytearray) -> int:
        """How many bytes of the data are on their way. Raises OSError."""
        try:
            return self._socket.send(data)
        except _NOT_NOW as err:
            self._later(err)
            return 0

    def ready(self, seconds: float | None, *, sending: bool = False, woken_by: socket.socket | None = None) -> bool:
        """Wait until something may be received or sent, or the other socket wakes us. False: the time is over."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if sending or self._must_send else 0))
        if woken_by is not None:
            poll.register(woken_by, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def wait(self, patience: Patience, *, sending: bool = False) -> None:
        """Wait until something may be received or sent. Raises CheckError when the patience is at its end."""
        while left := patience.left():
            if self.ready(min(left, MOMENT), sending=sending):
                return
        raise CheckError("the control plane did not answer in time: is it, or the way to it, overloaded?")

    def send_all(self, data: bytes, patience: Patience) -> None:
        """Send all of it. Raises OSError and CheckError."""
        while data:
            sent = self.send(data)
            data = data[sent:]
            if not sent:
                self.wait(patience, sending=True)

    def await_more(self, patience: Patience) -> bytes:
        """Wait for something; empty when the other side has closed. Raises OSError and CheckError."""
        while (part := self.receive()) is None:
            self.wait(patience)
        return part

    def _later(self, why: OSError) -> None:
        self._must_send = isinstance(why, ssl.SSLWantWriteError)


@contextlib.contextmanager
def dial(origin: Origin, machine: X25519PrivateKey, patience: Patience) -> Iterator[tuple[Wire, Records, bytes]]:
    """A Noise connection with the control plane, and what it has said on it already.

    Raises CheckError, and HandshakeError where the control plane does not take the handshake.
    """
    key = fetch_key(origin, patience)
    handshake = Handshake(machine, key, X25519PrivateKey.generate())
    with contextlib.ExitStack() as stack:
        with _explained(origin):  # what the caller does later is not ours to explain
            wire = stack.enter_context(_connect(origin, patience))
            records, early = _upgrade(origin, wire, handshake, patience)
        yield wire, records, early


def fetch_key(origin: Origin, patience: Patience) -> X25519PublicKey:
    """The control plane's public key, from itself; what vouches for it is TLS. Raises CheckError."""
    path = urlsplit(origin.url).path
    with _explained(origin), _connect(origin, patience) as wire:
        head = f"GET {path}/key?v={VERSION} HTTP/1.0\r\nHost: {origin.authority}\r\nConnection: close\r\n\r\n"
        wire.send_all(head.encode("ascii"), patience)
        status, fields, content = _read_head(wire, patience)
        stated = fields.get(b"content-length", b"")
        length = int(stated) if stated.isdigit() else KEY_ANSWER_MAX + 1
        while len(content) < length and (part := wire.await_more(patience)):
            content += part
            if len(content) > KEY_ANSWER_MAX:
                raise CheckError(f"{origin} answers with more than a key: is it a control plane?")
    if status != _OK:
        raise CheckError(f"{origin} answered with {status} when asked for its key: is it the control plane's own URL?")
    return _parse_key(origin, bytes(content))


def _parse_key(origin: Origin, content: bytes) -> X25519PublicKey:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    key = document.get("publicKey") if isinstance(document, dict) else None
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise CheckError(f"{origin} does not name a key: is it the URL of a Tailscale or headscale control plane?")
    return X25519PublicKey.from_public_bytes(binascii.unhexlify(key.partition(":")[2]))


def _upgrade(origin: Origin, wire: Wire, handshake: Handshake, patience: Patience) -> tuple[Records, bytes]:
    """The first message goes in a header, the answer comes when the connection has become ours."""
    offer = base64.b64encode(handshake.initiation).decode("ascii")
    head = (
        f"POST /ts2021 HTTP/1.1\r\nHost: {origin.authority}\r\nUpgrade: {_PROTOCOL}\r\nConnection: upgrade\r\n"
        f"X-Tailscale-Handshake: {offer}\r\nContent-Length: 0\r\n\r\n"
    )
    wire.send_all(head.encode("ascii"), patience)
    status, fields, received = _read_head(wire, patience)
    if status != _SWITCHING or fields.get(b"upgrade", b"").decode("ascii", "replace").lower() != _PROTOCOL:
        raise CheckError(
            f"{origin} does not upgrade the connection (it answered with {status}): "
            "a proxy before a control plane must pass the header Upgrade on, as for WebSockets"
        )
    while (records := handshake.finish(received)) is None:
        part = wire.await_more(patience)
        if not part:
            raise CheckError(f"{origin} ended the connection during the handshake: see the control plane's log")
        received += part
    return records, records.open(bytes(received))


def _read_head(wire: Wire, patience: Patience) -> tuple[int, dict[bytes, bytes], bytearray]:
    """The status, the header fields by lower-case name, and what came after them."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        part = wire.await_more(patience)
        received += part
        if not part or len(received) > HEAD_MAX + _CHUNK:
            break
    head, end, rest = received.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if not end or len(head) > HEAD_MAX or status is None:
        raise CheckError("what answers at the control URL does not speak HTTP: is the control URL right?")
    lines = (line.partition(b":") for line in bytes(head).split(b"\r\n")[1:])
    return int(status[1]), {name.strip().lower(): value.strip() for name, _, value in lines}, rest


def _connect(origin: Origin, patience: Patience) -> Wire:
    """The first address that takes a connection; each has its share of the time. Raises OSError and CheckError."""
    found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)  # bounded by resolv.conf alone
    failure: Exception = OSError("the name has no address")
    for number, (family, kind, protocol, _, address) in enumerate(found):
        share = patience.until(patience.left() / (len(found) - number))
        with contextlib.ExitStack() as stack:
            wire = stack.enter_context(Wire(socket.socket(family, kind, protocol)))
            try:
                wire.connect(address, share)
                if origin.secure:
                    wire.secure(origin.host, share)
            except (OSError, CheckError) as err:
                failure = err
            else:
                stack.pop_all()
                return wire
    raise failure


@contextlib.contextmanager
def _explained(origin: Origin) -> Iterator[None]:
    """What the system says of a connection, as a CheckError."""
    try:
        yield
    except ssl.SSLCertVerificationError as err:
        raise CheckError(
            f"the certificate of {origin} is not accepted ({err.verify_message}): "
            "has its issuer been added to this host's (update-ca-certificates)?"
        ) from err
    except (OSError, UnicodeError) as err:
        raise CheckError(
            f"cannot reach the control plane {origin} ({type(err).__name__}: {err}): "
            "is it running, and does this host's network, resolver and firewall let it through?"
        ) from err
