"""An embedded tailscaled: the LocalAPI over a Unix socket, serving a tailnet that is held in memory.

It answers as tailscaled 1.104 does (or 1.102, by its version) for everything pam_tailscale asks. The tailnet is in
tailnet.py; what tests want to go wrong is in faults.py. A whois costs about 30 us of one core: answers are encoded
once, and the HTTP is written by hand.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs

from contrib.demo.tailnet import Tailnet

HOST: Final = "local-tailscaled.sock"
JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"

_CREDENTIALS = struct.Struct("3i")
_HEAD_MAX = 65536
_CHUNKED_FROM = 2048  # net/http holds back this much to learn the length; what is longer goes out in chunks
_CHUNK = 1 << 16
_OK = 200
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
_REASONS |= {500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer before it is put on the wire."""

    status: int
    body: bytes
    content_type: str = JSON
    cut: bool = False
    """Announce the whole body, send half of it and close."""


Fault = Callable[[Answer], Answer | None]
"""Makes another answer of the right one, possibly after a wait; None closes the connection without a word."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request as far as the LocalAPI looks at it."""

    method: str
    endpoint: str
    """Path below /localapi/v0/; empty for a path outside of it."""
    query: str
    headers: Mapping[str, str]
    keep: bool
    """The connection is to stay open."""
    modern: bool
    """HTTP/1.1, so chunks are understood."""


class LocalAPI:
    """Serves a tailnet at a socket, in threads of this process; a context manager.

    `faults` maps an endpoint (`whois`, `debug`, ...) to what goes wrong there; it may be changed while running. `asked`
    counts requests by endpoint, `accepted` connections; `last` is the last request. `pause` is waited before each chunk
    of an answer, in seconds.
    """

    def __init__(self, path: Path, tailnet: Tailnet, faults: dict[str, Fault] | None = None) -> None:
        self.path = path
        self.tailnet = tailnet
        self.faults: dict[str, Fault] = {} if faults is None else faults
        self.asked: dict[str, int] = {}
        self.accepted = 0
        self.last: Request | None = None
        self.pause = 0.0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="localapi", daemon=True)
        self.stopping = threading.Event()
        """Set by stop(); a fault that hangs waits for it."""

    def start(self) -> Self:
        """Listen and serve. The socket is open to every local user, as tailscaled's is. Raises OSError."""
        self.path.unlink(missing_ok=True)
        self._listener.bind(str(self.path))
        self.path.chmod(0o666)
        self._listener.listen(128)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the socket and every connection, as when tailscaled ends."""
        self.stopping.set()
        self.tailnet.wake()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            threads = [self._thread, *self._connections.values()]
        self.drop()
        for thread in threads:
            thread.join(2)
        self.path.unlink(missing_ok=True)

    def drop(self) -> None:
        """Close every connection that is open, and go on listening."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._connections[connection] = thread
                self.accepted += 1
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(packed)
        try:
            with connection, contextlib.suppress(OSError):
                buffer = b""
                while not self.stopping.is_set():
                    head, buffer = _read_head(connection, buffer)
                    if head is None or not self._answer(connection, _parse_request(head), uid):
                        return
        finally:
            with self._lock:
                del self._connections[connection]

    def _answer(self, connection: socket.socket, request: Request, uid: int) -> bool:
        """Answer one request; False when the connection is to be closed."""
        endpoint = request.endpoint
        self.last = request
        self.asked[endpoint] = self.asked.get(endpoint, 0) + 1
        answer: Answer | None = self._reply(request, uid)
        fault = self.faults.get(endpoint)
        if fault is not None and answer is not None:
            answer = fault(answer)
        if answer is None:
            return False
        if answer.status == _OK and endpoint == "watch-ipn-bus" and fault is None:
            self._stream(connection, request, answer)
            return False
        _send(connection, self._head(request, answer), request, answer, lambda: self.stopping.wait(self.pause))
        return request.keep and not answer.cut

    def _head(self, request: Request, answer: Answer) -> bytes:
        reason = _REASONS.get(answer.status, "Unknown")
        return (
            f"HTTP/1.{int(request.modern)} {answer.status} {reason}\r\nContent-Type: {answer.content_type}\r\n"
            f"Tailscale-Cap: {self.tailnet.capability}\r\nTailscale-Version: {self.tailnet.version}\r\n"
            "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        ).encode("ascii")

    def _reply(self, request: Request, uid: int) -> Answer:
        if request.headers.get("host", "") not in ("", HOST) or {"origin", "referer"} & set(request.headers):
            return _error(403, "invalid localapi request")
        tailnet = self.tailnet
        match request.endpoint:
            case "whois":
                return self._whois(request.query)
            case "status":
                return Answer(200, tailnet.encoded("status" if "peers=false" in request.query else "peers"))
            case "prefs":
                return Answer(200, tailnet.encoded("prefs"))
            case "watch-ipn-bus":
                return self._watch(request.query)
            case "debug":
                return self._debug(request, uid)
            case _:
                return _error(404, "404 page not found")

    def _whois(self, query: str) -> Answer:
        # Not parse_qs, which costs as much as everything else here: the address is the text up to the next `&`.
        address = query.partition("addr=")[2].partition("&")[0].replace("%5B", "[").replace("%5D", "]")
        if not address:
            return _error(400, "missing 'addr' parameter")
        if address.startswith("["):
            address = address[1:].partition("]")[0]
        elif address.count(":") == 1:
            address = address.partition(":")[0]
        body = self.tailnet.whois(address)
        return _error(404, "no match for IP:port") if body is None else Answer(200, body)

    def _debug(self, request: Request, uid: int) -> Answer:
        if not self.tailnet.debug:
            return _error(501, "debug not supported in this build")
        if uid not in (0, self.tailnet.operator_uid):
            return _error(403, "debug access denied")
        if request.method != "POST":
            return _error(405, "POST required")
        action = parse_qs(request.query).get("action", [""])[0]
        if action != "current-netmap":
            return _error(400, f'unknown action "{action}"')
        if self.tailnet.state in ("NoState", "NeedsLogin"):
            return _error(400, "no netmap")
        return Answer(200, self.tailnet.encoded("netmap"))

    def _watch(self, query: str) -> Answer:
        mask = int(parse_qs(query).get("mask", ["0"])[0])
        if self.tailnet.modern and mask & 8:
            return _error(
                400,
                "the NotifyInitialNetMap IPN bus subscription bit is no longer supported; "
                "seed from NotifyInitialStatus instead",
            )
        return Answer(200, self.tailnet.initial_notify(mask))

    def _stream(self, connection: socket.socket, request: Request, first: Answer) -> None:
        """The bus: the initial message, then one for each change, until either side goes."""
        seen = self.tailnet.generation
        chunked = b"Transfer-Encoding: chunked\r\n" if request.modern else b""
        connection.sendall(self._head(request, first) + chunked + b"\r\n")
        _send_line(connection, request, first.body)
        while not self.stopping.is_set():
            seen, notify = self.tailnet.wait_for_change(seen)
            if notify and not self.stopping.is_set():
                _send_line(connection, request, notify)


def _error(status: int, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode(), TEXT)


def _read_head(connection: socket.socket, buffer: bytes) -> tuple[str | None, bytes]:
    """The next request's head and what was received after it; None at the end of the connection."""
    while b"\r\n\r\n" not in buffer:
        part = connection.recv(_HEAD_MAX)
        if not part or len(buffer) > _HEAD_MAX:
            return None, b""
        buffer += part
    head, _, rest = buffer.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def _parse_request(head: str) -> Request:
    first, *lines = head.split("\r\n")
    method, target, version = first.split(" ", 2)
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    path, _, query = target.partition("?")
    modern = version == "HTTP/1.1"
    return Request(
        method=method,
        endpoint=path.removeprefix("/localapi/v0/") if path.startswith("/localapi/v0/") else "",
        query=query,
        headers=headers,
        keep=modern and headers.get("connection", "").lower() != "close",
        modern=modern,
    )


def _send(
    connection: socket.socket, head: bytes, request: Request, answer: Answer, pause: Callable[[], object]
) -> None:
    body = answer.body
    if not request.modern:
        connection.sendall(head + b"\r\n")
        connection.sendall(body[: len(body) // 2] if answer.cut else body)
    elif answer.cut or len(body) <= _CHUNKED_FROM:
        sent = body[: len(body) // 2] if answer.cut else body
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + sent)
    else:
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        view = memoryview(body)
        for start in range(0, len(body), _CHUNK):
            pause()
            part = view[start : start + _CHUNK]
            connection.sendall(b"%x\r\n%b\r\n" % (len(part), bytes(part)))
        connection.sendall(b"0\r\n\r\n")


def _send_line(connection: socket.socket, request: Request, line: bytes) -> None:
    line += b"\n"
    connection.sendall(b"%x\r\n%b\r\n" % (len(line), line) if request.modern else line)
