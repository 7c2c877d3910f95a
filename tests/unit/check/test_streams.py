"""HTTP/2 inside Noise: what a recorded headscale answers, and what a bad control plane could."""

import base64
import struct

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingAckReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes

from pam_tailscale.check import streams
from pam_tailscale.check.streams import Answer, Streams
from pam_tailscale.errors import CheckError
from tests.support.control_plane import EARLY
from tests.unit.check.test_noise import recorded, recorded_handshake

Head = list[tuple[str, str]]


class Server:
    """The other end, without a network."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.client = Streams("control.example")
        self.events: list[object] = []

    def exchange(self, before: bytes = b"") -> dict[int, Answer | str]:
        """Bring what each end has to send to the other, until both are silent."""
        done, text = {}, before + self.h2.data_to_send()
        while True:
            done.update(self.client.receive(text))
            sent = self.client.to_send()
            if not sent and not text:
                return done
            self.events += self.h2.receive_data(sent)
            text = self.h2.data_to_send()

    def answer(self, stream: int, body: bytes, *, status: str = "200", head: Head | None = None) -> None:
        """Answer a request as far as the client takes it."""
        self.h2.send_headers(stream, [(":status", status), *(head or [])])
        for at in range(0, len(body), 16384):
            self.h2.send_data(stream, body[at : at + 16384])
        self.h2.end_stream(stream)


@pytest.fixture
def server() -> Server:
    """A server whose connection has begun."""
    server = Server()
    server.exchange()
    return server


def begun(server: Server, path: str = "/a") -> int:
    """A request that has arrived."""
    number = server.client.get(path)
    assert number is not None
    assert server.exchange() == {}
    return number


def test_a_recorded_headscale_is_understood() -> None:
    """A hold and its approval, out of the bytes of a real connection."""
    document = recorded()
    ours, client = recorded_handshake(document), Streams(document["authority"])
    received, records, done = bytearray(), None, dict[int, Answer | str]()
    paths = [answer["path"] for answer in document["answers"]]
    numbers = [client.get(path) for path in paths]
    for step in document["steps"]:
        if "received" in step:
            received += base64.b64decode(step["received"])
            records = records or ours.finish(received)
            assert records is not None
            done.update(client.receive(records.open(bytes(received))))
            received.clear()
    assert numbers == [1, 3]
    expected = [Answer(answer["status"], answer["body"].encode()) for answer in document["answers"]]
    assert [done[1], done[3]] == expected
    assert not client.over


def test_a_request_says_what_is_asked(server: Server) -> None:
    """Path and authority, and nothing about who we are: Noise has said that."""
    begun(server, "/machine/ssh/action/2/to/1?local_user=alice")
    request = server.events[-2]
    assert isinstance(request, RequestReceived)
    assert [(str(name), str(value)) for name, value in request.headers or ()] == [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "control.example"),
        (":path", "/machine/ssh/action/2/to/1?local_user=alice"),
    ]


def test_nothing_is_wanted_that_was_not_asked_for(server: Server) -> None:
    """Answers that are pushed would be bounded by nothing."""
    assert server.h2.remote_settings.enable_push == 0


def test_several_at_once_are_told_apart(server: Server) -> None:
    """By their numbers, whatever the order of the answers."""
    first, second = begun(server), begun(server)
    assert len(server.client) == 2
    server.answer(second, b"two", status="404")
    server.answer(first, b"one", head=[("retry-after", "7")])
    assert server.exchange() == {second: Answer(404, b"two"), first: Answer(200, b"one", "7")}
    assert len(server.client) == 0


@pytest.mark.parametrize(
    "before",
    [b"", EARLY + struct.pack(">I", 0), EARLY + struct.pack(">I", 30) + b"x" * 30],
    ids=["none", "empty", "some"],
)
@pytest.mark.parametrize("step", [1, 7, 9, 1000])
def test_what_is_said_before_http_is_passed_over(before: bytes, step: int) -> None:
    """However it is cut."""
    server = Server()
    text = before + server.h2.data_to_send()
    for at in range(0, len(text), step):
        server.client.receive(text[at : at + step])
    number = begun(server)
    server.answer(number, b"ok")
    assert server.exchange() == {number: Answer(200, b"ok")}


def test_what_is_said_before_http_is_bounded() -> None:
    """It is of no use, so nobody fills the memory with it."""
    with pytest.raises(CheckError, match="greets with"):
        Streams("a").receive(EARLY + struct.pack(">I", streams.EARLY_MAX + 1))


@pytest.mark.parametrize("size", [0, 1, streams.BODY_MAX - 1, streams.BODY_MAX])
def test_a_body_up_to_the_cap_is_read(server: Server, size: int) -> None:
    """Also where it is larger than what flow control lets through at once."""
    number = begun(server)
    server.h2.send_headers(number, [(":status", "200")])
    done, left = dict[int, Answer | str](), b"x" * size
    while left:
        part = left[: min(16384, server.h2.local_flow_control_window(number))]
        server.h2.send_data(number, part)
        left = left[len(part) :]
        done.update(server.exchange())
    server.h2.end_stream(number)
    assert done | server.exchange() == {number: Answer(200, b"x" * size)}


def test_a_body_beyond_the_cap_is_broken_off(server: Server) -> None:
    """The request fails, the connection goes on, and its window is not used up."""
    number, other = begun(server), begun(server)
    server.h2.send_headers(number, [(":status", "200")])
    done = dict[int, Answer | str]()
    for _ in range(5):
        if number not in done:
            server.h2.send_data(number, b"x" * 16384)
            done.update(server.exchange())
    assert done == {number: "the control plane's answer is longer than 64 KiB"}
    assert any(isinstance(event, StreamReset) and event.stream_id == number for event in server.events)
    server.answer(other, b"x" * 30_000)
    assert server.exchange() == {other: Answer(200, b"x" * 30_000)}


def test_a_request_that_is_given_up_is_broken_off(server: Server) -> None:
    """The control plane is told, and its answer is not waited for, should it be on its way."""
    number = begun(server)
    server.client.cancel(number)
    server.answer(number, b"late")
    late = server.h2.data_to_send()
    assert server.client.receive(late) == {}
    server.h2.receive_data(server.client.to_send())
    assert len(server.client) == 0
    server.client.cancel(number)
    assert begun(server) == number + 2


def test_an_answer_that_breaks_off_is_a_failure(server: Server) -> None:
    """Half an answer is none."""
    number = begun(server)
    server.h2.send_headers(number, [(":status", "200")])
    server.h2.send_data(number, b'{"accept":true')
    server.h2.reset_stream(number, 2)
    assert server.exchange() == {number: "the control plane broke off its answer (error 2)"}


def test_no_more_are_begun_than_the_control_plane_takes() -> None:
    """The next one can be begun when another is over."""
    server = Server()
    server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    server.exchange()
    first, _ = begun(server), begun(server)
    assert server.client.get("/third") is None
    server.answer(first, b"")
    server.exchange()
    assert server.client.get("/third") is not None


def test_the_end_of_a_connection_is_seen(server: Server) -> None:
    """What was answered before it counts."""
    first, _ = begun(server), begun(server)
    server.answer(first, b"in time")
    server.h2.close_connection()
    assert server.client.receive(server.h2.data_to_send()) == {first: Answer(200, b"in time")}
    assert "ends the connection (error 0)" in server.client.over
    with pytest.raises(CheckError):
        server.client.get("/more")


def test_pings_are_answered_and_sent(server: Server) -> None:
    """Each side can see that the other lives."""
    server.h2.ping(b"12345678")
    server.client.ping()
    server.exchange()
    assert sum(isinstance(event, PingAckReceived) for event in server.events) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 9,
        b"\x00\x40\x01\x00\x00\x00\x00\x00\x01",
        b"\xff" * 40,
        b"\x00\x00\x04\x01\x04\x00\x00\x00\x01abcd",
        b"\x00\x00\x01\x00\x00\x00\x00\x00\x63x",
        b"\x00\x00\x04\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02",
    ],
    ids=["http/1", "zeros", "longer than allowed", "ones", "header block", "data of nothing", "push"],
)
def test_what_is_not_http_ends_the_connection(server: Server, text: bytes) -> None:
    """With an error that is ours."""
    begun(server)
    with pytest.raises(CheckError, match="does not speak HTTP/2"):
        server.client.receive(text)


def test_a_head_beyond_the_cap_ends_the_connection(server: Server) -> None:
    """Header fields are no way around the cap either."""
    number = begun(server)
    server.h2.remote_settings.update({SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 20})
    server.h2.send_headers(number, [(":status", "200"), *((f"x-{index}", "y" * 1000) for index in range(70))])
    with pytest.raises(CheckError, match="does not speak HTTP/2"):
        server.exchange()
