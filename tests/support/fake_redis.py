"""What answers as a Redis does, or as none should: for unit tests, where no Redis is at hand.

Knows the few commands that we use, and nothing of time. A fault takes the place of an answer.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Command = tuple[bytes, ...]
WRONG_TYPE = None
"""A value of another type than a string."""


class FakeRedis:
    """The server's state. `fault` may answer raw bytes for a command; empty bytes: it hangs; None: as Redis does."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes | None] = {}
        self.expire: dict[bytes, int] = {}
        self.asked: list[Command] = []
        self.fault: Callable[[Command], bytes | None] = lambda _: None
        self.connections: list[socket.socket] = []

    def put(self, key: str, value: bytes | None) -> None:
        """Whatever somebody may have put there."""
        self.values[key.encode()] = value

    def answer(self, command: Command) -> bytes:
        """As Redis would."""
        name, *arguments = command
        typed = not arguments or self.values.get(arguments[0], b"") is not WRONG_TYPE
        if not typed and name not in {b"SET", b"UNLINK"}:
            return b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
        method: Callable[..., bytes] = getattr(self, f"_{name.decode().lower()}", self._ok)
        return method(*arguments)

    def drop_connections(self) -> None:
        """As a restart does."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _ok(self, *_: bytes) -> bytes:
        return b"+OK\r\n"

    def _set(self, key: bytes, value: bytes, _: bytes, seconds: bytes) -> bytes:
        self.values[key], self.expire[key] = value, int(seconds)
        return b"+OK\r\n"

    def _append(self, key: bytes, value: bytes) -> bytes:
        self.values[key] = (self.values.get(key) or b"") + value
        return self._strlen(key)

    def _expire(self, key: bytes, seconds: bytes) -> bytes:
        self.expire[key] = int(seconds)
        return b":1\r\n"

    def _strlen(self, key: bytes) -> bytes:
        return b":%d\r\n" % len(self.values.get(key) or b"")

    def _unlink(self, key: bytes) -> bytes:
        return b":%d\r\n" % (self.values.pop(key, b"") != b"")

    def _getrange(self, key: bytes, start: bytes, end: bytes) -> bytes:
        value = self.values.get(key) or b""
        first, last = (number if number >= 0 else max(0, len(value) + number) for number in (int(start), int(end)))
        part = value[first : last + 1]
        return b"$%d\r\n%s\r\n" % (len(part), part)


@contextmanager
def serving(path: Path) -> Iterator[FakeRedis]:
    """A server at a Unix socket."""
    fake = FakeRedis()
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            with contextlib.suppress(OSError):  # closed: the test is over
                while True:
                    connection, _ = listener.accept()
                    fake.connections.append(connection)
                    threads.append(threading.Thread(target=_serve, args=(fake, connection)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield fake
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            fake.drop_connections()
            for thread in threads:
                thread.join()


def _serve(fake: FakeRedis, connection: socket.socket) -> None:
    with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
        while header := stream.readline():
            command = []
            for _ in range(int(header[1:])):
                command.append(stream.read(int(stream.readline()[1:])))
                stream.read(2)
            fake.asked.append(tuple(command))
            answer = fake.fault(tuple(command))
            connection.sendall(fake.answer(tuple(command)) if answer is None else answer)
