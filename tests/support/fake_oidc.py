"""An identity provider of our own on loopback: discovery, device authorization, tokens, keys, over TLS of a test CA.

It does what RFC 8628 says until a test scripts a fault for one of its paths. The real thing is tested elsewhere.
"""

import json
import socket
import ssl
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tests.support.certificates import Authority, Certificate
from tests.support.tokens import CLIENT, SigningKey, public, rsa_key, sign

DISCOVERY, DEVICE, TOKEN, KEYS = "/.well-known/openid-configuration", "/device/auth", "/token", "/jwks"

Handler = BaseHTTPRequestHandler
Fault = Callable[[Handler], None]
"""Answers in place of the provider."""
Issue = Callable[[Authority], Certificate]
"""Makes the provider's certificate."""


@dataclass
class Check:
    """What a person is asked to approve."""

    form: Mapping[str, str]
    answer: Mapping[str, Any] = field(default_factory=lambda: {"error": "authorization_pending"})


class FakeOidc:
    """The provider; `faults` are by path, `document` changes its discovery, `device` its answer to a new check."""

    def __init__(self, port: int, ca_file: Path) -> None:
        self.port = port
        self.ca_file = ca_file
        self.issuer = f"https://127.0.0.1:{port}"
        self.signer = SigningKey("key-1", "RS256", rsa_key(1))
        self.keys: list[dict[str, Any]] = [public(self.signer)]
        self.document: dict[str, Any] = {}
        self.device: dict[str, Any] = {}
        self.faults: dict[str, Fault] = {}
        self.checks: dict[str, Check] = {}
        self.asked: Counter[str] = Counter()
        self.forms: list[Mapping[str, str]] = []
        self.authorizations: list[str | None] = []
        self.connections = 0

    def approve(self, check: Check | None = None, **claims: Any) -> str:
        """The person approves the newest check; answers the ID token that the next poll will be given."""
        token = sign(self.signer, self.claims(**claims))
        (check or self.newest).answer = {"access_token": "opaque", "token_type": "Bearer", "id_token": token}
        return token

    def answer(self, **answer: Any) -> None:
        """What polls for the newest check are answered."""
        self.newest.answer = answer

    @property
    def newest(self) -> Check:
        """The check that began last."""
        return list(self.checks.values())[-1]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Those of Alice, who has just authenticated; None takes one away."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "subject-alice",
            "email": "alice@example.com",
            "email_verified": True,
            "iat": now,
            "exp": now + 300,
            "auth_time": now,
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def answer_to(self, path: str, form: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        """Status and document."""
        if path == DISCOVERY:
            return 200, self._discovery()
        if path == KEYS:
            return 200, {"keys": self.keys}
        if path == DEVICE:
            return 200, self._begin(form)
        check = self.checks.get(form.get("device_code", ""))
        answer = check.answer if check else {"error": "invalid_grant"}
        return (400 if "error" in answer else 200), answer

    def _discovery(self) -> Mapping[str, Any]:
        return {
            "issuer": self.issuer,
            "device_authorization_endpoint": self.issuer + DEVICE,
            "token_endpoint": self.issuer + TOKEN,
            "jwks_uri": self.issuer + KEYS,
            **self.document,
        }

    def _begin(self, form: Mapping[str, str]) -> Mapping[str, Any]:
        code = f"device-code-{len(self.checks)}"
        self.checks[code] = Check(form)
        answer = {
            "device_code": code,
            "user_code": "ABCD-EFGH",
            "verification_uri": self.issuer + "/device",
            "verification_uri_complete": self.issuer + "/device?user_code=ABCD-EFGH",
            "expires_in": 600,
            "interval": 5,
            **self.device,
        }
        return {name: value for name, value in answer.items() if value is not None}


@contextmanager
def fake_oidc(issue: Issue = lambda ca: ca.issue("127.0.0.1")) -> Iterator[FakeOidc]:
    """A provider that runs; `issue` makes its certificate, with the authority that `ca_file` has."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority()
        certificate = issue(authority)
        ca_file = Path(folder) / "ca.pem"
        ca_file.write_text(authority.pem)
        server = _Server(("127.0.0.1", 0), _Handler)
        server.context = certificate.server_context()
        server.provider = FakeOidc(server.server_address[1], ca_file)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="fake-oidc")
        thread.start()
        try:
            yield server.provider
        finally:
            server.shutdown()
            server.drop_connections()
            server.server_close()
            thread.join()


class _Server(ThreadingHTTPServer):
    """The handshake is each connection's own thread's business; all threads are waited for at the end."""

    daemon_threads = False
    context: ssl.SSLContext
    provider: FakeOidc

    def __init__(self, *args: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.provider.connections += 1
        try:
            wrapped = self.context.wrap_socket(request, server_side=True)
        except OSError:
            request.close()  # a client that does not trust us
            return
        self._open.add(wrapped)
        try:
            super().process_request_thread(wrapped, client_address)
        finally:
            self._open.discard(wrapped)

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is nothing to write about."""

    def drop_connections(self) -> None:
        """End what clients keep open."""
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it has just ended


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._serve(dict(parse_qsl(content, keep_blank_values=True)))

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def _serve(self, form: Mapping[str, str]) -> None:
        assert isinstance(self.server, _Server)
        provider = self.server.provider
        provider.asked[self.path] += 1
        if self.command == "POST":
            provider.forms.append(form)
            provider.authorizations.append(self.headers["Authorization"])
        if fault := provider.faults.get(self.path):
            fault(self)
            return
        status, document = provider.answer_to(self.path, form)
        send(self, status, json.dumps(document).encode())


def send(handler: Handler, status: int, body: bytes, **headers: str) -> None:
    """One whole answer."""
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def status(code: int, body: bytes = b"{}", **headers: str) -> Fault:
    """Answer with this status, body and headers, whose names have _ for -."""
    return lambda handler: send(handler, code, body, **headers)


def says(**document: Any) -> Fault:
    """Answer 200 with this document."""
    return status(200, json.dumps(document).encode())


def endless(code: int = 200) -> Fault:
    """Begin an answer that never ends, as fast as it is read."""

    def pour(handler: Handler) -> None:
        handler.send_response(code)
        handler.send_header("Location", "https://login.example.com/")
        handler.end_headers()
        handler.close_connection = True
        with _hung_up():
            while True:
                handler.wfile.write(b" " * 65536)

    return pour


def drip(release: threading.Event, start: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n") -> Fault:
    """Send `start`, and then a space every now and then, until released: never so long that one read waits in vain."""

    def feed(handler: Handler) -> None:
        handler.close_connection = True
        with _hung_up():
            handler.wfile.write(start)
            while not release.wait(0.05):
                handler.wfile.write(b" ")

    return feed


def hang(release: threading.Event) -> Fault:
    """Say nothing until released, then close the connection."""

    def wait(handler: Handler) -> None:
        handler.close_connection = True
        release.wait(60)

    return wait


def cut(handler: Handler) -> None:
    """Announce more than is sent, and close."""
    handler.close_connection = True
    send(handler, 200, b'{"issuer": ', Content_Length="1000")


def closed(handler: Handler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


@contextmanager
def _hung_up() -> Iterator[None]:
    try:
        yield
    except OSError:
        return  # the client has had enough
