"""The TCP sockets of this network namespace, as the kernel lists them (Documentation/networking/proc_net_tcp)."""

import ipaddress
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pam_tailscale.model import IPAddress

_PROC = Path("/proc")
# include/net/tcp_states.h
ESTABLISHED = "01"
LISTEN = "0A"


@dataclass(frozen=True, slots=True)
class Socket:
    """A socket and its two ends; a v4-mapped address is its IPv4 address."""

    local: IPAddress
    local_port: int
    remote: IPAddress
    """The unspecified address, with port 0, where nobody is connected."""
    remote_port: int
    state: str
    """Two hexadecimal digits, as `ESTABLISHED`."""
    inode: int
    """Of the process's descriptor; 0 where no process has it any more."""


def read(proc: Path = _PROC, state: str | None = None) -> Iterator[Socket]:
    """The sockets of one state, or of any, first those of IPv4. A list that cannot be read is an empty one."""
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "self/net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            # The others are not parsed: a busy host has very many.
            if state is None or fields[3] == state:
                yield Socket(*_end(fields[1]), *_end(fields[2]), fields[3], int(fields[9]))


def _end(text: str) -> tuple[IPAddress, int]:
    """An address in groups of 32 bits in the machine's order, and a port."""
    digits, _, port = text.partition(":")
    groups = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(group.to_bytes(4, sys.byteorder) for group in groups))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address, int(port, 16)
