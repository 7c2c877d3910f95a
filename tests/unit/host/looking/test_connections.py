"""Whether the kernel has a connection, on real sockets."""

import socket
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from pam_tailscale.host.looking.connections import End, is_established
from pam_tailscale.model import parse_address


def end(address: tuple[str, int]) -> End:
    """As this package has it."""
    return parse_address(address[0]), address[1]


@pytest.mark.parametrize(
    ("family", "listening", "connecting"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::", "127.0.0.1"),
    ],
    ids=["IPv4", "IPv6", "mapped"],
)
def test_a_connection_is_there_until_it_is_closed(family: int, listening: str, connecting: str) -> None:
    """Both ends have to be its own, the right way around, and the one that listens is none."""
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((listening, 0))
        listener.listen()
        port = listener.getsockname()[1]
        client = socket.create_connection((connecting, port))
        server = listener.accept()[0]
    with closing(server):
        local, remote = end(server.getsockname()[:2]), end(server.getpeername()[:2])
        assert local == (ip_address(connecting), port)
        assert is_established(local, remote)
        assert not is_established(local, (remote[0], remote[1] ^ 1))
        assert not is_established((local[0], local[1] ^ 1), remote)
        assert not is_established((local[0] + 1, local[1]), remote)
        assert not is_established(local, (ip_address("0.0.0.0"), 0))
        client.close()
        assert not is_established(local, remote)


def test_without_a_list_nothing_is_there(tmp_path: Path) -> None:
    """What cannot be seen is no proof."""
    assert not is_established((ip_address("127.0.0.1"), 22), (ip_address("127.0.0.1"), 50000), tmp_path)
