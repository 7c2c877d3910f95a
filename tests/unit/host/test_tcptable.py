"""The kernel's list of TCP sockets, from lines as it writes them and from the real one."""

import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest

from pam_tailscale.host import tcptable
from pam_tailscale.host.tcptable import ESTABLISHED, LISTEN, Socket

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINE = "   0: {} {} {} 00000000:00000000 00:00000000 00000000     0        0 {} 1 0 100 0 0 10 0\n"
ENDED = (
    "   1: 0100007F:BFEC 0100007F:0016 06 00000000:00000000 03:00000391 00000000     0        0 0 3 00000000cf975083\n"
)
MAPPED = "0000000000000000FFFF0000"
ANY = ip_address("0.0.0.0")

# 100.64.0.1 and fd7a:115c:a1e0::1, as machines of either kind write them.
WRITTEN = {
    "little": ("01004064", "5C117AFD0000E0A10000000001000000"),
    "big": ("64400001", "FD7A115CA1E000000000000000000001"),
}

Tables = Callable[..., Path]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """A /proc with these lists; of a kernel without IPv6 there is only one."""

    def write(four: str, six: str | None = None) -> Path:
        (tmp_path / "self/net").mkdir(parents=True)
        (tmp_path / "self/net/tcp").write_text(HEADING + four)
        if six is not None:
            (tmp_path / "self/net/tcp6").write_text(HEADING + six)
        return tmp_path

    return write


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_both_lists(tables: Tables, monkeypatch: pytest.MonkeyPatch, byteorder: str) -> None:
    """Addresses are in the machine's order, ports are not."""
    monkeypatch.setattr("sys.byteorder", byteorder)
    node, six = WRITTEN[byteorder]
    proc = tables(
        LINE.format("00000000:0016", "00000000:0000", "0A", 10) + LINE.format(f"{node}:08AE", f"{node}:0001", "08", 12),
        LINE.format(f"{six}:C350", f"{six}:0016", "01", 20),
    )
    ours = ip_address("fd7a:115c:a1e0::1")
    assert list(tcptable.read(proc)) == [
        Socket(ANY, 22, ANY, 0, LISTEN, 10),
        Socket(ip_address("100.64.0.1"), 2222, ip_address("100.64.0.1"), 1, "08", 12),
        Socket(ours, 50000, ours, 22, ESTABLISHED, 20),
    ]


def test_one_that_has_ended(tables: Tables) -> None:
    """Its line is shorter, and no process has it."""
    loopback = ip_address("127.0.0.1")
    assert list(tcptable.read(tables(ENDED))) == [Socket(loopback, 49132, loopback, 22, "06", 0)]


@pytest.mark.parametrize(
    ("state", "inodes"), [(None, [10, 11, 20]), (LISTEN, [10]), (ESTABLISHED, [11, 20]), ("06", [])]
)
def test_of_one_state(tables: Tables, state: str | None, inodes: list[int]) -> None:
    """Or of any."""
    end = f"{MAPPED}0100007F:0016"
    proc = tables(
        LINE.format("00000000:0016", "00000000:0000", "0A", 10)
        + LINE.format("0100007F:0016", "0100007F:C350", "01", 11),
        LINE.format(end, end, "01", 20),
    )
    assert [one.inode for one in tcptable.read(proc, state)] == inodes


def test_a_mapped_address_is_ipv4(tables: Tables) -> None:
    """A socket of IPv6 takes connections of both; the unspecified address of IPv6 stays what it is."""
    proc = tables(
        "",
        LINE.format(f"{MAPPED}01004064:0016", f"{MAPPED}02004064:C350", "01", 20)
        + LINE.format(f"{'0' * 32}:0016", f"{'0' * 32}:0000", "0A", 21),
    )
    connection, listener = tcptable.read(proc)
    assert (connection.local, connection.remote) == (ip_address("100.64.0.1"), ip_address("100.64.0.2"))
    assert (listener.local, listener.remote) == (ip_address("::"), ip_address("::"))


def test_a_list_that_is_not_there(tables: Tables, tmp_path: Path) -> None:
    """A kernel without IPv6 has one, and is told by it all the same."""
    assert list(tcptable.read(tmp_path)) == []
    assert len(list(tcptable.read(tables(ENDED)))) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_real_one(address: str) -> None:
    """Both ends of a connection, and who listens."""
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        port = server.getsockname()[1]
        with socket.create_connection((address, port)) as client:
            own, inode = client.getsockname()[1], os.fstat(client.fileno()).st_ino
            seen = list(tcptable.read())
            listening = os.fstat(server.fileno()).st_ino
    here = ip_address(address)
    assert Socket(here, own, here, port, ESTABLISHED, inode) in seen
    assert [one for one in seen if one.inode == listening] == [
        Socket(here, port, ANY if here.version == 4 else ip_address("::"), 0, LISTEN, listening)
    ]
