"""Sockets to the shared store: what is believed, and that nothing takes longer or brings more than was said."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pam_tailscale.check.redis_socket import (
    BoundedSocket,
    Bounds,
    Dialer,
    Place,
)
from pam_tailscale.errors import CheckError
from tests.support.certificates import Authority, Certificate

PASSWORD = "a-password-of-the-tests"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (Place(host="store.example.com", port=1), "store.example.com:1"),
        (Place(host="2001:db8::1", port=1), "[2001:db8::1]:1"),
        (Place(path=Path("/run/store.sock")), "/run/store.sock"),
    ],
)
def test_a_place_is_named_as_configured(place: Place, expected: str) -> None:
    """In every error."""
    assert str(place) == f"the shared store at {expected}"


class Clock:
    """Monotonic seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The store's end, and ours."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        yield theirs, ours


def test_a_question_ends_in_time(pair: tuple[socket.socket, socket.socket]) -> None:
    """Also where something comes again and again; the next question has time of its own."""
    theirs, ours = pair
    clock = Clock()
    bounds = Bounds(clock)
    bounded = BoundedSocket(ours, bounds)
    bounds.begin(5.0, 1000)
    theirs.sendall(b"abc")
    assert bounded.recv(2) == b"ab"
    clock.now += 5.0
    with pytest.raises(TimeoutError):
        bounded.recv(2)
    with pytest.raises(TimeoutError):
        bounded.sendall(b"x")
    bounds.begin(5.0, 1000)
    assert bounded.recv(2) == b"c"


def test_a_wait_ends_in_time(pair: tuple[socket.socket, socket.socket]) -> None:
    """Where nothing comes at all, by the question's time or the library's, whichever is shorter."""
    bounds = Bounds()
    bounded = BoundedSocket(pair[1], bounds)
    bounds.begin(0.01, 1000)
    with pytest.raises(TimeoutError):
        bounded.recv(1)
    bounds.begin(300.0, 1000)
    bounded.settimeout(0.01)
    with pytest.raises(TimeoutError):
        bounded.recv(1)


def test_no_wait_is_no_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    """The library asks in this way whether an old connection is still good: when no question is on its way."""
    theirs, ours = pair
    bounded = BoundedSocket(ours, Bounds(Clock()))
    bounded.settimeout(0)
    with pytest.raises(BlockingIOError):
        bounded.recv(1)
    theirs.close()
    assert bounded.recv(1) == b""


@pytest.mark.parametrize("into", [False, True], ids=["recv", "recv_into"])
def test_no_more_than_asked_for(pair: tuple[socket.socket, socket.socket], into: bool) -> None:  # noqa: FBT001
    """Bytes are counted over the whole answer."""
    theirs, ours = pair
    bounds = Bounds()
    bounded = BoundedSocket(ours, bounds)
    buffer = bytearray(10)

    def receive() -> int:
        return bounded.recv_into(buffer) if into else len(bounded.recv(10))

    bounds.begin(30.0, 20)
    theirs.sendall(b"x" * 40)
    assert [receive(), receive()] == [10, 10]
    with pytest.raises(CheckError, match="more than it was asked for"):
        receive()


def test_each_thread_has_its_own_question(pair: tuple[socket.socket, socket.socket]) -> None:
    """One that began just now does not lengthen another."""
    clock = Clock()
    bounds = Bounds(clock)
    bounds.begin(5.0, 1000)
    clock.now += 5.0
    thread = threading.Thread(target=lambda: bounds.begin(5.0, 1000))
    thread.start()
    thread.join()
    pair[0].sendall(b"late")
    with pytest.raises(TimeoutError):
        BoundedSocket(pair[1], bounds).recv(1)


@contextmanager
def listening(path: Path | None = None) -> Iterator[socket.socket]:
    """A socket that accepts nothing by itself."""
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(str(path) if path else ("127.0.0.1", 0))
        listener.listen(1)
        yield listener


@contextmanager
def tls(certificate: Certificate) -> Iterator[int]:
    """A server with this certificate, for one connection; its port."""
    context = certificate.server_context()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    secure.sendall(b"hello")
            except OSError:
                pass  # it was not believed

    with listening() as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


def test_tls_with_the_right_authority_and_name(tmp_path: Path) -> None:
    """What is said inside is what the server says."""
    authority = Authority()
    (tmp_path / "ca.pem").write_text(authority.pem)
    with (
        tls(authority.issue("127.0.0.1")) as port,
        Dialer(Place(host="127.0.0.1", port=port, ca_file=tmp_path / "ca.pem", connect_seconds=20)).dial() as dialled,
    ):
        assert dialled.recv(5) == b"hello"


@pytest.mark.parametrize("case", ["another authority", "another name", "the system's authorities"])
def test_tls_that_does_not_count(tmp_path: Path, case: str) -> None:
    """The error says which setting to look at."""
    authority = Authority()
    (tmp_path / "ca.pem").write_text((Authority() if case == "another authority" else authority).pem)
    certificate = authority.issue("127.0.0.2" if case == "another name" else "127.0.0.1")
    ca_file = None if case == "the system's authorities" else tmp_path / "ca.pem"
    with (
        tls(certificate) as port,
        pytest.raises(CheckError, match=r"certificate that does not count.*store\.ca_file"),
    ):
        Dialer(Place(host="127.0.0.1", port=port, ca_file=ca_file, connect_seconds=20)).dial()


@pytest.mark.parametrize("content", [None, "no certificate"], ids=["absent", "rubbish"])
def test_an_authority_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    """It is not the system's that count then."""
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_text(content)
    with listening() as listener, pytest.raises(CheckError, match=r"ca\.pem.*store\.ca_file"):
        Dialer(Place(host="127.0.0.1", port=listener.getsockname()[1], ca_file=ca_file)).dial()


def test_a_server_that_hangs_before_tls() -> None:
    """The handshake as a whole has its time."""
    with listening() as listener, pytest.raises(CheckError, match=r"does not answer within 0\.02 s.*store\.tls"):
        Dialer(Place(host="127.0.0.1", port=listener.getsockname()[1], connect_seconds=0.02)).dial()


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_a_queue_that_is_full(tmp_path: Path, seconds: float) -> None:
    """Nobody accepts: the connection itself has its time too."""
    with listening(tmp_path / "socket") as listener:
        waiting = []
        while True:
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            waiting.append(one)
            one.settimeout(0)
            if one.connect_ex(listener.getsockname()):
                break
        with pytest.raises(CheckError, match="is it running"):
            Dialer(Place(path=tmp_path / "socket", connect_seconds=seconds)).dial()
        for one in waiting:
            one.close()


def test_nobody_listens(tmp_path: Path) -> None:
    """Socket or port."""
    for place in (Place(path=tmp_path / "socket"), Place(host="127.0.0.1", port=1)):
        with pytest.raises(CheckError, match="is it running"):
            Dialer(place).dial()


@pytest.mark.parametrize("host", ["", "nowhere.invalid", "x" * 70 + ".invalid", "a..b"])
def test_a_name_that_is_none(host: str) -> None:
    """The error is one of ours."""
    with pytest.raises(CheckError, match="the shared store at"):
        Dialer(Place(host=host, port=1, connect_seconds=20)).dial()


def test_a_name_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread waits for it, whoever asks; its answer serves the next one."""
    go_on, asked = threading.Event(), []

    def slow(*arguments: object, **_: object) -> object:
        asked.append(arguments)
        assert go_on.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", listener.getsockname())]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with listening() as listener:
        place = Place(host="store.example.com", tls=False, connect_seconds=0.02)
        dialer = Dialer(place)
        for _ in range(3):
            with pytest.raises(CheckError, match="does not answer"):
                dialer.dial()
        assert len(asked) == 1
        go_on.set()
        patient = Dialer(Place(host="store.example.com", tls=False, connect_seconds=20))
        patient._names = dialer._names
        patient.dial().close()
        assert len(asked) == 1


def test_the_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first one refuses, as localhost's IPv6 address does where only IPv4 is listened at."""
    with listening() as listener:
        host, port = listener.getsockname()
        found = [(socket.AF_INET, 1, 6, "", address) for address in [(host, 1), (host, port)]]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        Dialer(Place(host="store.example.com", tls=False, connect_seconds=20)).dial().close()
