"""From a control URL to a Noise connection: what is understood, who is believed, and that nothing waits for ever."""

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pam_tailscale.check import dial as dialling
from pam_tailscale.check.dial import Patience, dial, fetch_key, parse_origin
from pam_tailscale.check.noise import HandshakeError, frame, raw
from pam_tailscale.errors import CheckError
from tests.support.certificates import Authority
from tests.support.control_plane import ControlPlane

MACHINE = X25519PrivateKey.generate()


def patience(seconds: float = 10) -> Patience:
    """That nobody takes away."""
    clock = itertools.count()
    return Patience(seconds * 100, lambda: False, lambda: float(next(clock)))


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A port that takes connections and says nothing by itself, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def saying(data: bytes) -> Iterator[str]:
    """The URL of a server that sends these bytes whatever it is asked, and closes."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(data)

    with listening() as (listener, url):
        thread = threading.Thread(target=serve)
        thread.start()
        yield url
        thread.join(10)


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://control.example", (True, "control.example", 443, "control.example")),
        ("https://control.example/", (True, "control.example", 443, "control.example")),
        ("http://control.example:8080", (False, "control.example", 8080, "control.example:8080")),
        ("https://192.0.2.1:8443", (True, "192.0.2.1", 8443, "192.0.2.1:8443")),
        ("https://[2001:db8::1]:8443/", (True, "2001:db8::1", 8443, "[2001:db8::1]:8443")),
        ("http://control.example/headscale", (False, "control.example", 80, "control.example")),
    ],
)
def test_a_control_url_is_understood(url: str, parts: tuple[bool, str, int, str]) -> None:
    """With or without port and slash."""
    origin = parse_origin(url)
    assert (origin.secure, origin.host, origin.port, origin.authority) == parts
    assert origin.url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "control.example",
        "https://",
        "https:///key",
        "ftp://control.example",
        "file:///etc/shadow",
        "https://control.example:port",
        "https://control.example:99999",
        "https://alice:secret@control.example",
        "https://control.example?x",
        "https://control.example#x",
        "https://control example",
        "https://control.example/a b",
        "https://control.example\r\nHost: other.example",
        "https://control.example/\r\nHost: other.example",
        "https://cöntrol.example",
        "https://[::1",
    ],
)
def test_any_other_control_url_is_refused(url: str) -> None:
    """Nothing of it may become part of a request's head."""
    with pytest.raises(CheckError, match="--login-server"):
        parse_origin(url)


def test_a_connection_is_made() -> None:
    """Over plain TCP, as with a control URL that begins with http."""
    with ControlPlane() as plane, dial(parse_origin(plane.base_url), MACHINE, patience()) as (wire, records, early):
        said = bytearray(early)
        while not said:
            said += records.open(wire.await_more(patience()))
        assert said.startswith(b"\xff\xff\xffTS")


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Somebody whom this host trusts, once it is told to."""
    return Authority()


def trust(authority: Authority, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process trust the authority, as a host does whose administrator has added it."""
    (folder / "ca.pem").write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))


def test_a_connection_by_tls_is_made(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the key and for the connection."""
    trust(authority, tmp_path, monkeypatch)
    with (
        ControlPlane(authority.issue("127.0.0.1").server_context()) as plane,
        dial(parse_origin(plane.base_url), MACHINE, patience()) as (_, records, _),
    ):
        assert records.seal(b"x")
    assert plane.dials == 1


@pytest.mark.parametrize("what", ["not trusted", "another name"])
def test_a_certificate_that_is_not_right_is_refused(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Before the key is even asked for: whoever answers could be anyone, and say that anyone may come in."""
    trust(Authority() if what == "not trusted" else authority, tmp_path, monkeypatch)
    certificate = authority.issue("127.0.0.1" if what == "not trusted" else "127.0.0.2")
    with (
        ControlPlane(certificate.server_context()) as plane,
        pytest.raises(CheckError, match=r"certificate of .* is not accepted"),
    ):
        fetch_key(parse_origin(plane.base_url), patience())
    assert plane.dials == 0


def test_the_key_is_the_one_that_is_named() -> None:
    """And not the one of old that stands beside it."""
    with ControlPlane() as plane:
        assert raw(fetch_key(parse_origin(plane.base_url), patience())) == raw(plane.key.public_key())


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "does not speak HTTP"),
        (b"HTTP/2 200 OK\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://other.example/key\r\n\r\n", "answered with 302"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "answered with 404"),
        (HEAD, "does not name a key"),
        (HEAD + b"null", "does not name a key"),
        (HEAD + b"[" * 60_000, "does not name a key"),
        (HEAD + b"\xff", "does not name a key"),
        (HEAD + b'{"publicKey":null}', "does not name a key"),
        (HEAD + b'{"publicKey":"mkey:00"}', "does not name a key"),
        (HEAD + b'{"publicKey":"privkey:' + b"0" * 64 + b'"}', "does not name a key"),
        (HEAD + b'{"publicKey":"mkey:' + b"0" * 64 + b'\\n"}', "does not name a key"),
        (HEAD + b'{"legacyPublicKey":"mkey:' + b"1" * 64 + b'"}', "does not name a key"),
        (HEAD + b"x" * 70_000, "more than a key"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "does not name a key"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n" + b"x" * 70_000, "more than a key"),
    ],
)
def test_a_bad_answer_in_place_of_a_key_is_refused(answer: bytes, text: str) -> None:
    """Short, long, elsewhere or odd."""
    with saying(answer) as url, pytest.raises(CheckError, match=text):
        fetch_key(parse_origin(url), patience())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not upgrade the connection .it answered with 400"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "Upgrade"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "Upgrade"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "Upgrade"),
        (b"", "does not speak HTTP"),
    ],
)
def test_without_an_upgrade_there_is_no_connection(answer: bytes, text: str) -> None:
    """As with a proxy that knows nothing of it."""
    with ControlPlane() as plane:
        plane.upgrade_answer = answer
        with pytest.raises(CheckError, match=text), dial(parse_origin(plane.base_url), MACHINE, patience()):
            pass


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"", CheckError, "ended the connection during the handshake"),
        (frame(2, b"x" * 48)[:30], CheckError, "ended the connection during the handshake"),
        (frame(3, b"too old"), HandshakeError, "refuses the handshake .'too old'"),
        (frame(2, raw(MACHINE.public_key()) + b"x" * 16), HandshakeError, "not made with its key"),
    ],
    ids=["nothing", "half", "error", "another key"],
)
def test_without_a_handshake_there_is_no_connection(answer: bytes, kind: type[CheckError], text: str) -> None:
    """Where it is our handshake that is not taken, that can be told."""
    with ControlPlane() as plane:
        plane.handshake_answer = answer
        with pytest.raises(CheckError, match=text) as caught, dial(parse_origin(plane.base_url), MACHINE, patience()):
            pass
    assert type(caught.value) is kind


def test_nobody_there() -> None:
    """The message names the control plane, and what to look at."""
    with listening() as (_, url):
        pass
    with pytest.raises(CheckError, match=r"cannot reach the control plane 'http://127\.0\.0\.1:\d+' .*firewall"):
        fetch_key(parse_origin(url), patience())


@pytest.mark.parametrize("host", ["unknown.invalid", "x" * 70 + ".invalid"], ids=["unknown", "no name at all"])
def test_a_name_that_is_not_known(host: str) -> None:
    """The message is the resolver's."""
    with pytest.raises(CheckError, match="cannot reach the control plane"):
        fetch_key(parse_origin(f"https://{host}"), patience())


@contextmanager
def overrun() -> Iterator[int]:
    """A port on which nobody gets through: its queue is full, and packets are dropped."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def test_each_address_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name whose first addresses lead nowhere, or take for ever, is reached by its last."""
    with ControlPlane() as plane, overrun() as port:
        with listening() as (_, closed):
            ports = [parse_origin(closed).port, port, parse_origin(plane.base_url).port]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        whole = Patience(time.monotonic() + 4, lambda: False, time.monotonic)
        assert fetch_key(parse_origin("http://control.example"), whole)


@pytest.mark.parametrize("secure", [False, True], ids=["head", "tls"])
def test_a_control_plane_that_says_nothing_is_given_up(secure: bool) -> None:  # noqa: FBT001
    """When the time is over: here it goes by with each look at the clock."""
    with listening() as (_, url), pytest.raises(CheckError, match="did not answer in time"):
        fetch_key(parse_origin(url.replace("http:", "https:") if secure else url), patience(0.05))


def test_nobody_waits_who_does_not_want_to() -> None:
    """As when whoever logs in has hung up."""
    looked = iter([False, False, True, True, True])
    with listening() as (_, url), pytest.raises(CheckError, match="did not answer in time"):
        fetch_key(parse_origin(url), Patience(10.0, lambda: next(looked), lambda: 0.0))


def test_patience_has_parts() -> None:
    """A part of the way takes no longer than the whole, and ends with it."""
    whole = Patience(10.0, lambda: False, lambda: 4.0)
    assert whole.left() == 6.0
    assert whole.until(2.5).left() == 2.5
    assert whole.until(60.0).left() == 6.0
    assert Patience(3.0, lambda: False, lambda: 4.0).left() == 0.0
    assert Patience(9.0, lambda: True, lambda: 4.0).left() == 0.0


def test_waiting_is_cut_into_moments() -> None:
    """So that a login that is given up is noticed."""
    assert dialling.MOMENT <= 0.25


@pytest.mark.parametrize(
    ("patience", "happens", "expected"),
    [
        (Patience(9.0, lambda: False, lambda: 4.0), True, True),
        (Patience(3.0, lambda: False, lambda: 4.0), True, True),
        (Patience(3.0, lambda: False, lambda: 4.0), False, False),
        (Patience(9.0, lambda: True, lambda: 4.0), False, False),
    ],
    ids=["in time", "already", "late", "nobody waits"],
)
def test_an_event_is_waited_for(patience: Patience, happens: bool, expected: bool) -> None:  # noqa: FBT001
    """As long as somebody wants it; what has happened is never too late."""
    event = threading.Event()
    if happens:
        event.set()
    assert patience.wait_for(event) is expected


def test_whoever_waits_for_an_event_looks_at_their_patience_now_and_then() -> None:
    """Not only at its beginning: it may end while nothing happens."""
    left = iter([1.0, 1.0, 0.0])
    patience = Patience(1.0, lambda: False, lambda: 1.0 - next(left))
    assert not patience.wait_for(threading.Event())
    assert next(left, None) is None
