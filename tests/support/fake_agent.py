"""Something that listens on the agent's socket in a sandbox and answers every request with the same bytes."""

import os
import socket
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tests.support.sandbox import Sandbox

SOCKET = "/run/pam-tailscale/agent.sock"


def message(*strings: str) -> bytes:
    """A message of the protocol: its strings, each with a final NUL."""
    return b"".join(string.encode() + b"\0" for string in strings)


def verdict(word: str, *more: str) -> bytes:
    """The verdict `word`, as a real agent would send it, and further pairs."""
    return message("version", "1", "answer", "verdict", "verdict", word, "id", "fake", *more)


class FakeAgent:
    """Answers every request with `answers`, a message each, and closes. The real agent must be down."""

    def __init__(self, box: Sandbox, answers: Sequence[bytes]) -> None:
        self._answers = answers
        self._box = box
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fake agent", daemon=True)

    def __enter__(self) -> Self:
        self._listener = self._box.inside(_listen)
        self._listener.settimeout(0.2)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        self._thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                connection.recv(8192)
                for answer in self._answers:
                    connection.send(answer)


def _listen() -> socket.socket:
    if os.path.lexists(SOCKET):
        os.unlink(SOCKET)  # noqa: PTH108 - inside a sandbox nothing may be imported
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(SOCKET)
    listener.listen(16)
    return listener
