"""A connection that looks as if it had come from a peer, in networks of its own."""

import socket
import struct
from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host.doctor.connection import forged
from pam_tailscale.host.doctor.walking import Question

FOUR = Question("sshd", "alice", "100.64.0.2", 40000, "100.64.0.1", 9, "forged0", 4711)
SIX = Question("sshd", "alice", "fd7a:115c:a1e0::2", 40000, "fd7a:115c:a1e0::1", 9, "forged0", 4711)
_IP_PKTOPTIONS, _IPV6_2292PKTOPTIONS = 9, 6


def network() -> str:
    """Which network this thread is in."""
    return str(Path("/proc/thread-self/ns/net").readlink())


def descriptors() -> int:
    """How many are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def arrived_by(connection: socket.socket) -> int:
    """Index of the interface that the kernel keeps for it, as the PAM module asks for it."""
    is_v6 = connection.family == socket.AF_INET6
    level, option = (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if is_v6 else (socket.IPPROTO_IP, 8)
    connection.setsockopt(level, option, 1)
    raw = connection.getsockopt(level, _IPV6_2292PKTOPTIONS if is_v6 else _IP_PKTOPTIONS, 256)
    at = struct.calcsize("@Nii") + (16 if is_v6 else 0)
    return int(struct.unpack_from("=I", raw, at)[0])


@pytest.mark.parametrize("question", [FOUR, SIX], ids=["IPv4", "IPv6"])
def test_both_ends_and_the_interface(question: Question) -> None:
    """What the module looks at; and this process is where it was."""
    before = network()
    with forged(question) as (connection, port):
        assert network() == before
        assert connection.getpeername()[:2] == (question.client, 40000)
        assert connection.getsockname()[:2] == (question.server, 9)
        assert (port, arrived_by(connection)) == (40000, 4711)
        with pytest.raises(OSError, match="no interface"):
            socket.if_nametoindex("forged0")


def test_any_port() -> None:
    """Where none was asked for."""
    with forged(Question("sshd", "alice", "100.64.0.2", 0, "100.64.0.1", 9, "forged0", 4711)) as (connection, port):
        assert port == connection.getpeername()[1] > 0


def test_what_cannot_be_made() -> None:
    """Says why, and leaves this process where it was."""
    before = network()
    opened = descriptors()
    with (
        pytest.raises(HostError, match="could not be made"),
        forged(Question("sshd", "alice", "100.64.0.2", 0, "100.64.0.1", 9, "a-name-that-is-too-long", 4711)),
    ):
        raise AssertionError("it was made")
    assert network() == before
    assert descriptors() == opened
