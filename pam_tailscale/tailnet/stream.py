"""The smallest HTTP client that tailscaled understands, for answers that stream or are large; and who is at the socket.

HTTP/1.0, so that an answer is what comes until the connection closes. It imports little: the root reader is started for
each netmap, and starting is most of what it costs.
"""

import os
import re
import socket as sockets
import struct
from collections.abc import Callable
from typing import Final

from pam_tailscale.errors import TailscaledError, TailscaledNotRootError
from pam_tailscale.tailnet.trouble import unreachable

HOST: Final = "local-tailscaled.sock"
"""tailscaled refuses any other Host (localapi.go, validHost)."""

_CREDENTIALS = struct.Struct("3i")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_HEAD_MAX = 16384
_CHUNK = 1 << 16


def require_root(connection: sockets.socket, path: str) -> None:
    """Raise TailscaledNotRootError unless root listens at the other end.

    The credentials are those of whoever called listen(2) (unix(7), SO_PEERCRED).
    """
    packed = connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(packed)
    if uid != 0:
        raise TailscaledNotRootError(
            f"the program listening at {path} runs as uid {uid}, not as root, and is not believed: "
            "find out who put it there, and restart tailscaled"
        )


def identity(path: str) -> tuple[int, int]:
    """Device and inode of a socket, which tell whether another program listens there now. Raises OSError."""
    stat = os.stat(path)  # noqa: PTH116 -- a third of the time of Path.stat, in every login
    return stat.st_dev, stat.st_ino


def connect(path: str, timeout: float) -> sockets.socket:
    """A connection to tailscaled; `timeout` in seconds holds for every wait on it.

    Raises TailscaledError, and TailscaledNotRootError where the other end is not root.
    """
    connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
        require_root(connection, path)
    except OSError as err:
        connection.close()
        raise unreachable(path, err) from err
    except BaseException:
        connection.close()
        raise
    return connection


def send_request(connection: sockets.socket, method: str, target: str) -> None:
    """Send a request without a body. Raises OSError."""
    head = f"{method} /localapi/v0/{target} HTTP/1.0\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
    connection.sendall(head.encode("ascii"))


def read_head(receive: Callable[[int], bytes]) -> tuple[int, bytes]:
    """The status code of an answer and what was received of its body. Raises OSError and TailscaledError."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = receive(_CHUNK)
        if not part:
            raise TailscaledError("tailscaled closed the connection without an answer: see `journalctl -u tailscaled`")
        head += part
        if len(head) > _HEAD_MAX + _CHUNK:
            break
    lines, end, body = head.partition(b"\r\n\r\n")
    status = _STATUS.match(lines)
    if not end or len(lines) > _HEAD_MAX or status is None:
        raise TailscaledError("what listens at tailscaled's socket does not speak HTTP: is the configured path right?")
    return int(status[1]), body
