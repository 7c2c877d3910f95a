"""Requests over a kept connection: told apart, bounded, given up, sent again; and nothing left behind."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pam_tailscale.check import ts2021
from pam_tailscale.check.dial import Patience, parse_origin
from pam_tailscale.check.noise import HandshakeError, frame, raw
from pam_tailscale.check.streams import Answer
from pam_tailscale.check.ts2021 import Client
from pam_tailscale.errors import CheckError
from tests.support.control_plane import Asked, ControlPlane, Reply
from tests.support.waiting import wait_until

MACHINE = X25519PrivateKey.generate()


def patience(seconds: float = 20) -> Patience:
    """Of somebody who waits so long."""
    return Patience(time.monotonic() + seconds, lambda: False, time.monotonic)


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    """A control plane that answers with the target it was asked for."""
    with ControlPlane() as plane:
        plane.handlers[""] = lambda asked: Reply(200, asked.target.encode())
        yield plane


@pytest.fixture
def client(plane: ControlPlane) -> Iterator[Client]:
    """A client of it, after which no thread is left."""
    before = set(threading.enumerate())
    client = Client(parse_origin(plane.base_url), MACHINE, time.monotonic)
    yield client
    client.close()
    assert set(threading.enumerate()) <= before


def held(plane: ControlPlane, path: str = "/held") -> "Future[Reply]":
    """A path whose answer is kept back until somebody resolves the future."""
    future = Future[Reply]()
    plane.handlers[path] = lambda _: future
    return future


def get(client: Client, target: str) -> str:
    """The body of an answer that is there."""
    answer = client.get(target, patience())
    assert answer is not None
    return answer.body.decode()


def test_an_answer(plane: ControlPlane, client: Client) -> None:
    """As our node, with the control plane's name."""
    plane.handlers["/a"] = lambda _: Reply(429, b"later", (("retry-after", "9"),))
    assert client.get("/a?b=c", patience()) == Answer(429, b"later", "9")
    authority = plane.base_url.partition("://")[2]
    assert plane.asked == [Asked("/a?b=c", authority, "mkey:" + raw(MACHINE.public_key()).hex())]


def test_the_connection_is_kept(plane: ControlPlane, client: Client) -> None:
    """A handshake costs more than a login should."""
    assert [get(client, f"/{number}") for number in range(5)] == [f"/{number}" for number in range(5)]
    assert plane.dials == 1


def test_many_at_once_share_it(plane: ControlPlane, client: Client) -> None:
    """Also those that come while it is being made; one that is kept back keeps nobody back."""
    late = held(plane)
    with ThreadPoolExecutor(20) as pool:
        waiting = pool.submit(get, client, "/held")
        assert list(pool.map(lambda number: get(client, f"/{number}"), range(100))) == [f"/{n}" for n in range(100)]
        late.set_result(Reply(200, b"at last"))
        assert waiting.result(20) == "at last"
    assert plane.dials == 1


def test_more_than_it_takes_at_once_have_to_wait(plane: ControlPlane, client: Client) -> None:
    """Until others are over: the limit is the control plane's (SETTINGS_MAX_CONCURRENT_STREAMS)."""
    plane.streams_max = 2
    late = held(plane)
    assert get(client, "/first") == "/first"
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(get, client, "/held") for _ in range(4)]
        wait_until(lambda: len(plane.targets("/held")) == 2, 10, "two have come")
        late.set_result(Reply(200, b"ok"))
        assert [one.result(20) for one in waiting] == ["ok"] * 4


def test_whoever_has_no_patience_is_not_kept(plane: ControlPlane, client: Client) -> None:
    """Neither beyond the deadline, nor when they have gone; the control plane is told."""
    held(plane)
    late = Patience(1e9, lambda: False, lambda: 1e9 if plane.targets("/held") else 0.0)
    assert client.get("/held", late) is None
    wait_until(lambda: plane.given_up == ["/held"], 10, "the first is given up")
    gone = Patience(time.monotonic() + 20, lambda: len(plane.targets("/held")) == 2, time.monotonic)
    assert client.get("/held?2", gone) is None
    wait_until(lambda: plane.given_up == ["/held", "/held?2"], 10, "the second is given up")
    assert get(client, "/next") == "/next"
    assert plane.dials == 1


def test_a_request_that_waits_for_others_can_be_given_up(plane: ControlPlane, client: Client) -> None:
    """It is never sent then."""
    plane.streams_max = 1
    late = held(plane)
    assert get(client, "/first") == "/first"
    waiting = client.begin("/held")
    wait_until(lambda: plane.targets("/held"), 10, "it has come")
    assert client.get("/never", patience(0.05)) is None
    late.set_result(Reply(200, b"ok"))
    assert waiting.wait(patience()) == Answer(200, b"ok")
    assert get(client, "/last") == "/last"
    assert plane.targets("/never") == []


def test_a_request_can_be_waited_for_again(plane: ControlPlane, client: Client) -> None:
    """It goes on while nobody waits, and nothing is lost."""
    late = held(plane)
    request = client.begin("/held")
    assert request.wait(patience(0.05)) is None
    late.set_result(Reply(200, b"ok"))
    assert request.wait(patience()) == Answer(200, b"ok")
    assert request.wait(patience(0)) == Answer(200, b"ok")
    assert (plane.given_up, len(plane.asked)) == ([], 1)


@pytest.mark.parametrize("how", ["restart", "goaway"])
def test_a_kept_connection_that_died_is_replaced(plane: ControlPlane, client: Client, how: str) -> None:
    """The next request does not notice."""
    assert get(client, "/before") == "/before"
    getattr(plane, how)()
    assert get(client, "/after") == "/after"
    assert plane.dials == 2


def test_a_request_on_a_kept_connection_that_dies_is_sent_once_more(plane: ControlPlane, client: Client) -> None:
    """And not a second time: a control plane that dies of it would do so for ever."""
    held(plane)
    assert get(client, "/before") == "/before"
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.get, "/held", patience())
        wait_until(lambda: len(plane.targets("/held")) == 1, 10, "it has come")
        plane.goaway()
        wait_until(lambda: len(plane.targets("/held")) == 2, 10, "it has come again")
        assert not asking.done()
        plane.goaway()
        with pytest.raises(CheckError, match=r"ends the connection|closed the connection"):
            asking.result(20)
    assert len(plane.targets("/held")) == 2


def test_a_request_on_a_new_connection_that_dies_is_not_sent_again(plane: ControlPlane, client: Client) -> None:
    """What went wrong then is said."""
    held(plane)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.get, "/held", patience())
        wait_until(lambda: plane.targets("/held"), 10, "it has come")
        plane.restart()
        with pytest.raises(CheckError, match=r"closed the connection|broke \(ConnectionResetError"):
            asking.result(20)
    assert len(plane.targets("/held")) == 1


def test_nobody_there(plane: ControlPlane, client: Client) -> None:
    """Everybody who waits for the connection is told; the next one tries again."""
    plane.stop()
    with pytest.raises(CheckError, match="cannot reach the control plane"):
        client.get("/a", patience())
    plane.start()
    assert get(client, "/b") == "/b"


def test_a_handshake_that_is_not_taken_is_told_apart(plane: ControlPlane, client: Client) -> None:
    """It may be that the machine key is another one now."""
    plane.handshake_answer = frame(3, b"who are you?")
    with pytest.raises(HandshakeError, match="who are you"):
        client.get("/a", patience())


@pytest.mark.parametrize(
    ("altered", "text"),
    [
        (lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]), "altered on the way"),
        (lambda sealed: frame(4, b"x" * 5000) + sealed, "5003 bytes, of which 4096"),
        (lambda sealed: frame(1, sealed[3:]), "of kind 1"),
        (lambda _: b"HTTP/1.1 500 no\r\n\r\n", "a message of"),
    ],
    ids=["tag", "oversize", "kind", "http"],
)
def test_records_that_are_not_right_end_the_connection(
    plane: ControlPlane, client: Client, altered: "object", text: str
) -> None:
    """Whoever waits is told, and a new one can be made."""
    assert callable(altered)
    plane.altered = altered
    with pytest.raises(CheckError, match=text):
        client.get("/a", patience())
    plane.altered = bytes
    assert get(client, "/b") == "/b"


def test_a_record_that_never_ends_is_given_up(plane: ControlPlane, client: Client) -> None:
    """When the time is over, and not before."""
    plane.altered = lambda sealed: sealed[:1]
    assert client.get("/a", patience(0.2)) is None


@pytest.mark.parametrize("early", [None, b"", b"x" * 5000], ids=["none", "empty", "of several records"])
def test_what_is_said_before_http_is_passed_over(plane: ControlPlane, client: Client, early: bytes | None) -> None:
    """If it is said at all."""
    plane.early = early
    assert get(client, "/a") == "/a"


def test_what_is_not_http_ends_the_connection(plane: ControlPlane, client: Client) -> None:
    """Whoever waits is told."""
    held(plane)
    request = client.begin("/held")
    wait_until(lambda: plane.targets("/held"), 10, "it has come")
    plane.send(b"\xff" * 9)
    with pytest.raises(CheckError, match="does not speak HTTP/2"):
        request.wait(patience())


def test_an_answer_beyond_the_cap_fails_alone(plane: ControlPlane, client: Client) -> None:
    """The connection goes on, and the request is not sent again for it."""
    plane.handlers["/large"] = lambda _: Reply(200, b"x" * 100_000)
    assert get(client, "/a") == "/a"
    with pytest.raises(CheckError, match="longer than 64 KiB"):
        client.get("/large", patience())
    assert get(client, "/b") == "/b"
    assert (plane.dials, len(plane.targets("/large"))) == (1, 1)


def test_a_dead_connection_is_noticed(plane: ControlPlane, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing comes any more, not even an answer to our ping, a new one is made for the request."""
    monkeypatch.setattr(ts2021, "PING_AFTER", 0.1)
    monkeypatch.setattr(ts2021, "PING_PATIENCE", 1.0)
    assert get(client, "/before") == "/before"
    plane.mute()
    assert get(client, "/after") == "/after"
    assert len(plane.targets("/after")) == 2
    assert plane.dials == 2


def test_a_living_connection_is_kept(plane: ControlPlane, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control plane that keeps an answer back, and answers our pings, is waited for."""
    monkeypatch.setattr(ts2021, "PING_AFTER", 0.02)
    monkeypatch.setattr(ts2021, "PING_PATIENCE", 1.0)
    late = held(plane)
    request = client.begin("/held")
    assert request.wait(patience(1.5)) is None
    late.set_result(Reply(200, b"ok"))
    assert request.wait(patience()) == Answer(200, b"ok")
    assert plane.dials == 1


def test_whoever_does_not_read_is_left(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits to be sent is bounded: here with no room for a request at all."""
    assert get(client, "/before") == "/before"
    monkeypatch.setattr(ts2021, "UNSENT_MAX", 10)
    with pytest.raises(CheckError, match="does not read"):
        client.get("/after", patience())


@pytest.mark.parametrize("when", ["before", "waiting"])
def test_a_closed_client_answers_nothing(plane: ControlPlane, client: Client, when: str) -> None:
    """Whoever waits is told, and nobody waits for ever."""
    held(plane)
    request = client.begin("/held")
    wait_until(lambda: plane.targets("/held"), 10, "it has come")
    client.close()
    with pytest.raises(CheckError, match="closed from this side"):
        request.wait(patience()) if when == "waiting" else client.get("/a", patience())


def test_a_close_is_not_missed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the thread is just then looking for something else that was handed over."""
    begin = ts2021._Exchange._begin

    def closed_meanwhile(exchange: ts2021._Exchange) -> None:
        exchange._counter.closing.set()
        exchange._counter.wake()
        begin(exchange)

    assert get(client, "/a") == "/a"
    connection = client._current
    assert connection is not None
    monkeypatch.setattr(ts2021._Exchange, "_begin", closed_meanwhile)
    connection._counter.wake()
    wait_until(lambda: not connection._thread.is_alive(), 10, "the thread has ended")


def test_closing_does_not_wait_for_a_connection_that_is_being_made() -> None:
    """A control plane that takes connections and says nothing holds nobody up."""
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(parse_origin(f"http://127.0.0.1:{listener.getsockname()[1]}"), MACHINE, time.monotonic)
        request = client.begin("/a")
        connection, _ = listener.accept()
        with connection:
            client.close()
        with pytest.raises(CheckError, match=r"did not answer in time|closed from this side"):
            request.wait(patience())
    assert set(threading.enumerate()) <= before
