"""Collecting what programs in a sandbox send to the system's sockets: syslog, the journal, systemd's notifications."""

import os
import socket
import threading
from types import TracebackType
from typing import Self

from tests.support.sandbox import Sandbox

_MAX_DATAGRAM = 1 << 20


class DatagramLog:
    """A datagram socket at a path inside a sandbox; keeps every message in order until closed."""

    def __init__(self, box: Sandbox, path: str) -> None:
        self._lock = threading.Lock()
        self._messages: list[bytes] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0.2)
        self._closed = threading.Event()
        box.inside(lambda: self._bind(path))
        self._thread = threading.Thread(target=self._collect, name=f"log {path}", daemon=True)
        self._thread.start()

    def _bind(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - inside a sandbox nothing may be imported
        self._socket.bind(path)
        os.chmod(path, 0o666)  # noqa: PTH101, S103 - as /dev/log is

    def _collect(self) -> None:
        while not self._closed.is_set():
            try:
                message = self._socket.recv(_MAX_DATAGRAM)
            except TimeoutError:
                continue
            except OSError:
                return
            with self._lock:
                self._messages.append(message)

    @property
    def messages(self) -> list[bytes]:
        """Everything received so far."""
        with self._lock:
            return list(self._messages)

    def close(self) -> None:
        self._closed.set()
        self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def journal_fields(datagram: bytes) -> dict[str, str]:
    """The fields of one entry in the journal's native protocol (systemd, "Native Journal Protocol")."""
    fields: dict[str, str] = {}
    rest = datagram
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals and name:
            # A value with newlines: its length as 64 bits, little endian, then the value and a newline.
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length + 1 :]
        if name:
            fields[name.decode()] = value.decode(errors="replace")
    return fields
