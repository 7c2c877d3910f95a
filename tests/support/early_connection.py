"""A connection to sshd that does not mean to log in: sshd serves it by what its files said when it began."""

import socket
from typing import Self

from tests.support.namespaces import CLONE_NEWNET
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until


class EarlyConnection:
    """From a machine to port 22 of an address. A context manager.

    `speaks`: whether it sends its first line, so that sshd serves it without privileges, or lets sshd wait for it.
    """

    def __init__(self, box: Sandbox, address: str, *, speaks: bool) -> None:
        def connect() -> socket.socket:
            return socket.create_connection((address, 22), timeout=5)

        self._socket = box.inside(connect, CLONE_NEWNET)
        assert self._socket.recv(4) == b"SSH-"
        if speaks:
            self._socket.sendall(b"SSH-2.0-x\r\n")
            wait_until(lambda: b"curve25519" in self._socket.recv(4096), 5, "sshd has offered its algorithms")

    def is_open(self) -> bool:
        """Whether sshd has not closed it."""
        self._socket.settimeout(0.5)
        try:
            while self._socket.recv(4096):
                pass
        except TimeoutError:
            return True
        except ConnectionResetError:
            pass
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
