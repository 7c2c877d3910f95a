"""The small HTTP client, and who is at the socket."""

import os
import socket as sockets
from pathlib import Path

import pytest

from contrib.demo.localapi import LocalAPI as Server
from pam_tailscale.errors import TailscaledError, TailscaledNotRootError
from pam_tailscale.tailnet import stream
from tests.support.impostor import impostor


def test_a_request_is_answered(server: Server) -> None:
    """The request passes for one of tailscaled's own client, and the body ends with the connection."""
    with stream.connect(str(server.path), 5) as connection:
        stream.send_request(connection, "GET", "prefs")
        code, body = stream.read_head(connection.recv)
        while part := connection.recv(65536):
            body += part
    assert code == 200
    assert body == server.tailnet.encoded("prefs")


def test_only_root_is_believed(socket_path: Path) -> None:
    """Whoever else listens at the path of tailscaled's socket is not asked."""
    with impostor(socket_path, uid=65534), pytest.raises(TailscaledNotRootError, match="uid 65534"):
        stream.connect(str(socket_path), 5)


def test_nobody_listens(socket_path: Path) -> None:
    """No socket is an error that names it."""
    with pytest.raises(TailscaledError, match=r"tailscaled\.sock"):
        stream.connect(str(socket_path), 5)


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"x" * 200_000,
    ],
    ids=["ssh", "no code", "http 2", "empty", "long header", "no end"],
)
def test_what_is_not_http_is_refused(head: bytes) -> None:
    """Something else at the path is noticed, without reading it to its end."""
    position = 0

    def receive(size: int) -> bytes:
        nonlocal position
        part = head[position : position + size]
        position += len(part)
        return part

    with pytest.raises(TailscaledError, match="does not speak HTTP"):
        stream.read_head(receive)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
def test_an_answer_that_ends_in_its_head_is_refused(head: bytes) -> None:
    """A tailscaled that dies while answering has not answered."""
    parts = iter([head, b""])
    with pytest.raises(TailscaledError, match="without an answer"):
        stream.read_head(lambda _: next(parts))


def test_what_came_with_the_head_is_kept() -> None:
    """The first bytes of the body often come in the same read."""
    assert stream.read_head(lambda _: b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}") == (200, b"{}")


def test_a_socket_made_anew_is_another(socket_path: Path) -> None:
    """After a restart of tailscaled the path leads elsewhere, which is how that is noticed."""

    def listen() -> tuple[int, int]:
        listener = sockets.socket(sockets.AF_UNIX)
        with listener:
            listener.bind(str(socket_path))
            return stream.identity(str(socket_path))

    first = listen()
    os.rename(socket_path, f"{socket_path}.old")  # noqa: PTH104 -- keeps the inode from being used again
    assert listen() != first
