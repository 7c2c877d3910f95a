"""Whether the kernel has a TCP connection (Documentation/networking/proc_net_tcp)."""

import sys
from ipaddress import IPv6Address
from pathlib import Path

from pam_tailscale.model import IPAddress

_PROC = Path("/proc")
_ESTABLISHED = "01"
"""TCP_ESTABLISHED (include/net/tcp_states.h)."""
End = tuple[IPAddress, int]
"""An address, IPv4 where it is a mapped one, and a port."""


def is_established(local: End, remote: End, proc: Path = _PROC) -> bool:
    """Whether this network namespace has a connection between two ends that neither side has closed."""
    # A socket of IPv6 lists an IPv4 connection by mapped addresses.
    wanted = {(_text(local), _text(remote)), (_text(_mapped(local)), _text(_mapped(remote)))}
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "self/net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local_text, remote_text, state, *_ = line.split()
            if state == _ESTABLISHED and (local_text, remote_text) in wanted:
                return True
    return False


def _mapped(end: End) -> End:
    address, port = end
    return (IPv6Address(f"::ffff:{address}") if address.version == 4 else address), port  # noqa: PLR2004


def _text(end: End) -> str:
    """As the kernel writes it: groups of 32 bits in the machine's order, and the port."""
    packed, port = end[0].packed, end[1]
    groups = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return "".join(f"{group:08X}" for group in groups) + f":{port:04X}"
