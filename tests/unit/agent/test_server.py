"""The agent's socket: the kernel says who asks, strangers keep nobody waiting, stopping ends nothing half way."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from pam_tailscale import wire
from pam_tailscale.agent import server as server_module
from pam_tailscale.agent.server import Asker, Handle, Send, Server
from pam_tailscale.client import ask
from pam_tailscale.errors import WireError
from tests.support.waiting import wait_until

NOBODY = 65534
ROOT = frozenset({0})
_CONNECT = """
import socket, sys
kept = []
for _ in range(int(sys.argv[2])):
    one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.connect(sys.argv[1])
    if sys.argv[3] == "ask":
        try:
            one.send(b"version\\0" b"1\\0" b"request\\0" b"slow\\0")
        except BrokenPipeError:
            pass  # there are too many of us, and the server has closed it already
    kept.append(one)
print("connected", flush=True)
sys.stdin.read()
"""


def allow(message: wire.Message, asker: Asker, send: Send) -> None:
    """Says yes, and who asked what."""
    text = f"{asker.pid} {asker.uid} {asker.gid} {message.get('request', '')}"
    send({wire.KEY_ANSWER: wire.ANSWER_VERDICT, wire.KEY_VERDICT: wire.VERDICT_ALLOW, wire.KEY_TEXT: text})


def listener(path: Path) -> socket.socket:
    """A listening socket that everybody may connect to."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bound.bind(str(path))
    path.chmod(0o666)
    bound.listen(512)
    return bound


@pytest.fixture
def path() -> Iterator[Path]:
    """Where the server listens; other users reach it."""
    with tempfile.TemporaryDirectory(prefix="pam-tailscale-server-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "agent.sock"


@contextmanager
def running(
    path: Path, handle: Handle = allow, *, trusted: frozenset[int] = ROOT, threads: int = 2
) -> Iterator[Server]:
    """A server."""
    server = Server(listener(path), handle, trusted, threads)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def strangers(path: Path, count: int, what: str = "say nothing") -> Iterator[subprocess.Popen[str]]:
    """Another user's process that connects so often and says nothing, or `ask`s and waits."""
    command = [sys.executable, "-I", "-S", "-c", _CONNECT, str(path), str(count), what]
    with subprocess.Popen(
        command, user=NOBODY, group=NOBODY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        yield process
        assert process.poll() is None, "the stranger did not stay"


def say(path: Path, message: bytes) -> bytes:
    """Sends one message as it is and returns the answer; empty where the server closed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.send(message)
        return connection.recv(wire.MESSAGE_MAX)


def test_who_asks_is_what_the_kernel_says(path: Path) -> None:
    """Not what the message says."""
    with running(path):
        assert ask(path, {"request": "x", "uid": "7"})["text"] == f"{os.getpid()} 0 0 x"


def test_another_user_is_seen_as_that(path: Path) -> None:
    """And is answered too."""
    asked = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; from pam_tailscale.client import ask"
    )
    asked += "; print(ask(Path(sys.argv[1]), {'request': 'x'})['text'])"
    root = str(Path(server_module.__file__).parents[2])
    with (
        running(path),
        subprocess.Popen(
            [sys.executable, "-I", "-c", asked, str(path), root],
            user=NOBODY,
            group=NOBODY,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        ) as process,
    ):
        out, _ = process.communicate(timeout=20)
        assert out == f"{process.pid} {NOBODY} {NOBODY} x\n"


def test_many_at_once(path: Path) -> None:
    """More than there are threads."""
    answers: list[str] = []

    def many() -> None:
        answers.extend(ask(path, {"request": "x"})["verdict"] for _ in range(50))

    with running(path):
        threads = [threading.Thread(target=many) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["allow"] * 400


def test_strangers_that_say_nothing_delay_nobody(path: Path) -> None:
    """Hundreds of them, against a single thread, and while all of them are still there."""
    with running(path, threads=1), strangers(path, 300):
        for _ in range(20):
            assert ask(path, {"request": "x"}, timeout=2)["verdict"] == "allow"


def test_a_strangers_question_delays_nobody(path: Path) -> None:
    """However long it takes to answer, and however many wait behind it."""
    asked, answer = threading.Event(), threading.Event()

    def handle(message: wire.Message, asker: Asker, send: Send) -> None:
        if asker.uid != 0:
            asked.set()
            assert answer.wait(30)
        allow(message, asker, send)

    with running(path, handle, threads=1), strangers(path, server_module.PUBLIC_QUEUE * 2, "ask"):
        wait_until(asked.is_set, 10, "a stranger is being answered")
        try:
            assert ask(path, {"request": "x"}, timeout=5)["verdict"] == "allow"
        finally:
            answer.set()


def test_more_strangers_than_can_wait_are_closed(path: Path) -> None:
    """Not kept: the queue is short."""
    begun, answer = threading.Event(), threading.Event()

    def handle(message: wire.Message, asker: Asker, send: Send) -> None:
        begun.set()
        assert answer.wait(30)
        allow(message, asker, send)

    with running(path, handle, trusted=frozenset(), threads=1), ExitStack() as stack:
        stack.callback(answer.set)
        first = asking(path, stack)
        wait_until(begun.is_set, 10, "the first is being answered")
        waiting = [asking(path, stack) for _ in range(server_module.PUBLIC_QUEUE)]
        with pytest.raises((WireError, ConnectionResetError, BrokenPipeError)):  # closed before it asks, or after
            wire.decode(asking(path, stack).recv(wire.MESSAGE_MAX))
        answer.set()
        assert all(wire.decode(one.recv(wire.MESSAGE_MAX))["verdict"] == "allow" for one in (first, *waiting))


def asking(path: Path, stack: ExitStack) -> socket.socket:
    """A connection over which a question was sent."""
    connection = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    connection.settimeout(10)
    connection.connect(str(path))
    connection.send(wire.encode({"request": "x"}))
    return connection


DAMAGED = {
    "garbage": b"garbage",
    "NUL": b"\0",
    "another version": b"version\0002\0request\0x\0",
    "no value": b"version\0001\0request\0",
    "too long": b"version\0001\0request\0" + b"a" * wire.MESSAGE_MAX + b"\0",
    "far too long": b"a" * 60000,
}


@pytest.mark.parametrize("message", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_message_is_closed_and_the_next_one_answered(
    path: Path, message: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """No verdict is a denial; the log says whose it was."""
    with running(path, threads=1):
        assert say(path, message) == b""
        assert ask(path, {"request": "x"})["verdict"] == "allow"
    assert f"a request of uid 0, pid {os.getpid()} is refused" in caplog.text


def test_a_stranger_cannot_flood_the_journal(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The journal drops lines of a service that writes too many, and those about decisions with them."""
    caplog.set_level("INFO")
    with running(path, trusted=frozenset(), threads=1):
        for _ in range(20):
            assert say(path, b"garbage") == b""
    assert caplog.text.count(f"a request of uid 0, pid {os.getpid()} is refused") == 1


@pytest.mark.parametrize("error", [WireError("no"), OSError("gone"), KeyError("mistake"), RecursionError()], ids=repr)
def test_a_handler_that_fails_closes_without_a_verdict(path: Path, error: Exception) -> None:
    """And the thread goes on."""
    fails = iter([True, False])

    def handle(message: wire.Message, asker: Asker, send: Send) -> None:
        if next(fails):
            raise error
        allow(message, asker, send)

    with running(path, handle, threads=1):
        assert say(path, wire.encode({"request": "x"})) == b""
        assert ask(path, {"request": "x"})["verdict"] == "allow"


def test_somebody_who_leaves_breaks_nothing(path: Path) -> None:
    """Before asking, and before the answer."""
    left, seen = threading.Event(), threading.Event()

    def handle(message: wire.Message, asker: Asker, send: Send) -> None:
        if message["request"] == "leave":
            assert left.wait(30)
            seen.set()
        allow(message, asker, send)

    with running(path, handle, threads=1):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
            silent.connect(str(path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as leaving:
            leaving.connect(str(path))
            leaving.send(wire.encode({"request": "leave"}))
        left.set()
        assert ask(path, {"request": "x"})["verdict"] == "allow"
        assert seen.is_set()


def _stop(server: Server) -> threading.Thread:
    thread = threading.Thread(target=server.stop)
    thread.start()
    return thread


@pytest.mark.parametrize("trusted", [ROOT, frozenset[int]()], ids=["root", "stranger"])
def test_stopping_waits_for_who_is_being_answered(path: Path, trusted: frozenset[int]) -> None:
    """The login that has begun gets its answer."""
    begun, answer = threading.Event(), threading.Event()

    def handle(message: wire.Message, asker: Asker, send: Send) -> None:
        begun.set()
        assert answer.wait(30)
        allow(message, asker, send)

    server = Server(listener(path), handle, trusted, 2)
    server.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        connection.send(wire.encode({"request": "x"}))
        wait_until(begun.is_set, 10, "the request is being answered")
        stopping = _stop(server)
        wait_until(server._stopping.is_set, 10, "the server is told to stop")
        assert stopping.is_alive()
        answer.set()
        assert wire.decode(connection.recv(wire.MESSAGE_MAX))["verdict"] == "allow"
    stopping.join(10)
    assert not stopping.is_alive()


def test_strangers_do_not_delay_stopping(path: Path) -> None:
    """Those that wait are closed, not waited for one after the other."""
    server = Server(listener(path), allow, ROOT, 2)
    server.start()
    with strangers(path, server_module.PUBLIC_QUEUE):
        wait_until(lambda: server._public.qsize() > server_module.PUBLIC_QUEUE // 2, 10, "the strangers wait")
        stopping = _stop(server)
        stopping.join(server_module.PUBLIC_PATIENCE * server_module.PUBLIC_QUEUE / 4)
        assert not stopping.is_alive()


def test_the_socket_outlives_the_server(path: Path) -> None:
    """It may be systemd's: whoever connects in between is answered by the next agent."""
    kept = listener(path)
    first = Server(kept.dup(), allow, ROOT, 2)
    first.start()
    assert ask(path, {"request": "x"})["verdict"] == "allow"
    first.stop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as between:
        between.settimeout(10)
        between.connect(str(path))
        between.send(wire.encode({"request": "between"}))
        second = Server(kept, allow, ROOT, 2)
        second.start()
        try:
            assert wire.decode(between.recv(wire.MESSAGE_MAX))["text"].endswith("between")
        finally:
            second.stop()


def test_no_thread_and_no_descriptor_is_left(path: Path) -> None:
    """After it has stopped."""
    descriptors: Callable[[], int] = lambda: len(list(Path("/proc/self/fd").iterdir()))  # noqa: E731 (asked twice)
    before, threads = descriptors(), threading.active_count()
    with running(path):
        ask(path, {"request": "x"})
    assert (descriptors(), threading.active_count()) == (before, threads)
