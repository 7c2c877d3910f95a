"""The watch of the bus: every change is heard, every interruption is an event, and stopping is quick."""

import queue
import socket as sockets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from contrib.demo import faults
from contrib.demo.localapi import Fault
from contrib.demo.localapi import LocalAPI as Server
from pam_tailscale.tailnet import bus
from pam_tailscale.tailnet.bus import BACKOFF_MAX, BACKOFF_MIN, backoff, watch
from pam_tailscale.tailnet.records import BusDown, BusEvent
from tests.support.impostor import impostor
from tests.support.localapi import serving

Next = Callable[[], BusEvent | BusDown]


@contextmanager
def watching(path: Path) -> Iterator[Next]:
    """A watch in a thread of its own; gives what waits up to 10 s for its next event. It must end when told to."""
    events: queue.Queue[BusEvent | BusDown] = queue.Queue()
    stop = threading.Event()

    def run() -> None:
        for event in watch(path, stop, random01=lambda: 0.0):
            events.put(event)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield lambda: events.get(timeout=10)
    finally:
        stop.set()
        thread.join(5)
        assert not thread.is_alive()


@contextmanager
def scripted(path: Path, *answers: bytes) -> Iterator[None]:
    """A tailscaled that gives each connection the next of these answers, as they are, and closes it."""
    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(len(answers))

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # the watch may have had enough
                    connection.recv(1000)
                    connection.sendall(answer)
                    connection.shutdown(sockets.SHUT_WR)
                    connection.recv(1000)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(10)


class TestBackoff:
    def test_it_doubles_up_to_its_limit(self) -> None:
        """The first attempts come quickly, for a tailscaled that restarts; later ones cost nothing."""
        assert [round(backoff(attempt, 1.0), 3) for attempt in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]

    @pytest.mark.parametrize("attempt", [0, 1, 5, 6, 100, 10**9])
    @pytest.mark.parametrize("random01", [0.0, 0.5, 1.0])
    def test_it_stays_within_its_limits(self, attempt: int, random01: float) -> None:
        """Never a busy loop, and never longer than a person would wait."""
        assert BACKOFF_MIN <= backoff(attempt, random01) <= BACKOFF_MAX

    def test_chance_spreads_it(self) -> None:
        """Many hosts that lost the same control plane do not all come back at once."""
        assert backoff(6, 0.0) == pytest.approx(2.5)
        assert backoff(6, 1.0) == pytest.approx(5.0)


def test_the_first_event_has_state_and_prefs(server: Server) -> None:
    """Whoever watches knows at once where things stand."""
    with watching(server.path) as following:
        event = following()
    assert isinstance(event, BusEvent)
    assert event.state == "Running"
    assert event.prefs is not None
    assert event.prefs.control_url == "https://control.tailnet.example"
    assert event.self_change is False
    assert server.last is not None
    assert server.last.query == "mask=22"


def test_each_change_is_heard(server: Server) -> None:
    """A changed policy, then other settings, then a node that is logged out."""
    tailnet = server.tailnet
    with watching(server.path) as following:
        following()
        tailnet.rules = []
        tailnet.changed()
        assert following() == BusEvent(self_change=True, peers_changed=False, state=None, prefs=None)
        tailnet.prefs["ControlURL"] = "https://elsewhere.example"
        tailnet.changed()
        event = following()
        assert isinstance(event, BusEvent)
        assert event.prefs is not None
        assert event.prefs.control_url == "https://elsewhere.example"
        tailnet.state = "NeedsLogin"
        tailnet.changed()
        event = following()
        assert isinstance(event, BusEvent)
        assert event.state == "NeedsLogin"


def test_an_older_tailscaled_is_heard(server: Server) -> None:
    """1.102 sends the same, and other fields beside."""
    server.tailnet.version = "1.102.5"
    server.tailnet.changed()
    with watching(server.path) as following:
        assert isinstance(following(), BusEvent)
        server.tailnet.changed()
        event = following()
        assert isinstance(event, BusEvent)
        assert event.self_change is True


def test_an_interruption_is_told_and_mended(server: Server) -> None:
    """The connection ends: changes may have been missed, which is an event; then it goes on."""
    with watching(server.path) as following:
        following()
        server.drop()
        event = following()
        assert isinstance(event, BusDown)
        assert "closed its bus" in event.reason
        event = following()
        assert isinstance(event, BusEvent)
        assert event.state == "Running"


def test_a_tailscaled_that_comes_later_is_found(socket_path: Path) -> None:
    """At boot the watch may be first."""
    with watching(socket_path) as following:
        event = following()
        assert isinstance(event, BusDown)
        assert "systemctl status tailscaled" in event.reason
        with serving(socket_path):
            while isinstance(event, BusDown):
                event = following()
            assert event.state == "Running"


def test_a_tailscaled_that_takes_the_others_place_is_watched(socket_path: Path) -> None:
    """Where two run, the one at the socket's path counts, also while the other goes on."""
    with serving(socket_path), watching(socket_path) as following:
        following()
        socket_path.rename(socket_path.with_name("old.sock"))
        with serving(socket_path) as new:
            event = following()
            assert isinstance(event, BusDown)
            assert isinstance(following(), BusEvent)
            assert new.asked == {"watch-ipn-bus": 1}


@pytest.mark.parametrize(
    "fault",
    [
        faults.status(400, "bad mask"),
        faults.status(403),
        faults.status(500),
        faults.status(503),
        faults.closed,
        faults.cut,
    ],
    ids=["400", "403", "500", "503", "closed", "cut"],
)
def test_a_refusal_is_told_and_asked_again(server: Server, fault: Fault) -> None:
    """No refusal ends the watch."""
    server.faults["watch-ipn-bus"] = fault
    with watching(server.path) as following:
        assert isinstance(following(), BusDown)
        server.faults.clear()
        event: Any = following()
        while isinstance(event, BusDown):
            event = following()
    assert event.state == "Running"


@pytest.mark.parametrize(
    "line",
    [
        b"{}x\n",
        b"null\n",
        b"\n",
        b'{"State":\n',
        b'{"State":99}\n',
        b'{"Prefs":{}, "State":"Running"}\n',
        b'{"Prefs":{"ControlURL":5}}\n',
        b'{"ErrMessage":"IPN bus consumer fell behind; closing watch"}\n',
        b'{"x":"' + b"x" * bus.LINE_MAX + b'"}\n',
        b"x" * (bus.LINE_MAX + 100_000),
        b'{"State":6',
        b"",
    ],
    ids=["rest", "null", "empty", "half", "state", "type", "prefs", "error", "long", "endless", "cut", "nothing"],
)
def test_a_bad_message_is_told(socket_path: Path, line: bytes) -> None:
    """What is not understood may have been a change: it is an event, the good one before it is not lost."""
    head = b"HTTP/1.0 200 OK\r\n\r\n"
    with scripted(socket_path, head + b'{"SelfChange":{}}\n' + line), watching(socket_path) as following:
        event = following()
        if len(line) < bus.LINE_MAX:
            assert isinstance(event, BusEvent)
            event = following()
        while isinstance(event, BusEvent):
            event = following()
        assert isinstance(event, BusDown)


def test_a_message_beyond_the_cap_is_not_read(socket_path: Path) -> None:
    """A line without end does not fill the memory."""
    endless = b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * (bus.LINE_MAX + 100_000)
    with scripted(socket_path, endless), watching(socket_path) as following:
        event = following()
        assert isinstance(event, BusDown)
        assert "more than" in event.reason


def test_messages_may_come_in_any_pieces(socket_path: Path) -> None:
    """A message that ends in the middle of a read is whole with the next; two in one read are two."""
    ready, pieces = threading.Event(), [b'HTTP/1.0 200 OK\r\n\r\n{"State":6}\n{"State":2}\n{"Sta', b'te":4}', b"\n"]

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            for piece in pieces:
                connection.sendall(piece)
                ready.wait(10)
            connection.recv(1000)

    with sockets.socket(sockets.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        with watching(socket_path) as following:
            events = [following(), following()]
            ready.set()  # only now the rest of the third
            events.append(following())
        thread.join(10)
    assert [event.state for event in events if isinstance(event, BusEvent)] == ["Running", "NeedsLogin", "Stopped"]


def test_only_root_is_believed(socket_path: Path) -> None:
    """Another user's program is not listened to."""
    with impostor(socket_path, uid=65534), watching(socket_path) as following:
        event = following()
        assert isinstance(event, BusDown)
        assert "uid 65534" in event.reason


def test_stopping_while_nothing_listens(socket_path: Path) -> None:
    """A stop is noticed in the middle of a wait as well."""
    stop = threading.Event()
    events = watch(socket_path, stop)
    assert isinstance(next(events), BusDown)
    stop.set()
    assert list(events) == []
