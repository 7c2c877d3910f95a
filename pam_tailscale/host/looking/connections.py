"""Whether the kernel has a TCP connection."""

from pathlib import Path

from pam_tailscale.host import tcptable
from pam_tailscale.model import IPAddress

_PROC = Path("/proc")
End = tuple[IPAddress, int]
"""An address, IPv4 where it is a mapped one, and a port."""


def is_established(local: End, remote: End, proc: Path = _PROC) -> bool:
    """Whether this network namespace has a connection between two ends that neither side has closed."""
    return any(
        (one.local, one.local_port) == local and (one.remote, one.remote_port) == remote
        for one in tcptable.read(proc, tcptable.ESTABLISHED)
    )
