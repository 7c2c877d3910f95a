"""The network of the proof: two namespaces, one for sshd and one for its clients, and two cables between them.

One cable stands for the tailnet. On sshd's side it has the name and the index of tailscaled's own device, because the
PAM module tells the agent by which interface a connection came in. The other stands for every other network.
"""

import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from pam_tailscale.host.proving import namespaces
from pam_tailscale.host.proving.trial import ELSEWHERE, Attempt, Plan
from pam_tailscale.model import TAILNET_NETWORKS, IPAddress

_LAN: Final = "proof0"
_LAN_BITS: Final = 24
_FIRST_PORT: Final = 9600
_BLOCK: Final = 64
"""Ports of one proof; no address of its clients needs more than a few."""
_BLOCKS: Final = 800
"""One for each second, then they begin anew. The last port of all is 60799."""
_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""Of the namespace of whoever writes to it, and of IPv6 as well (Linux, Documentation/networking/ip-sysctl.rst)."""


def lay(plan: Plan, attempts: Iterable[Attempt]) -> int:
    """Make this process's network sshd's side, and answer a descriptor of the clients' side. Raises OSError."""
    attempts = tuple(attempts)
    namespaces.unshare(namespaces.CLONE_NEWNET)
    clients = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    first, last = client_ports(time.time())
    _PORT_RANGE.write_text(f"{first} {last}")
    namespaces.unshare(namespaces.CLONE_NEWNET)
    # By a path, so that no process has to be there for the other side.
    _ip(server_commands(plan, attempts, f"/proc/{os.getpid()}/fd/{clients}"))
    _ip(client_commands(plan, attempts), clients)
    return clients


def client_ports(now: float) -> tuple[int, int]:
    """First and last port of the clients, at a time in seconds: others than any proof had in the last 800 s.

    The agent remembers for a while to which connection it has granted a method. One that an earlier proof left before
    its session began must not be taken for one of this proof.
    """
    first = _FIRST_PORT + int(now) % _BLOCKS * _BLOCK
    return first, first + _BLOCK - 1


def server_commands(plan: Plan, attempts: Iterable[Attempt], clients: str) -> str:
    """What `ip -batch` does on sshd's side; `clients` is a path to the other side's namespace."""
    lines = ["link set lo up"]
    for name, index in ((plan.interface, f"index {plan.ifindex} "), (_LAN, "")):
        lines += [f"link add {name} {index}type veth peer name {name} netns {clients}", f"link set {name} up"]
    lines += [f"address add {ELSEWHERE}/{_LAN_BITS} dev {_LAN}"]
    targets = {attempt.target for attempt in attempts if attempt.target != ELSEWHERE}
    for address in _sorted(targets):
        lines += [_address(address, address.max_prefixlen, plan.interface)]
    for network in TAILNET_NETWORKS:
        if any(address in network for address in targets):
            lines += [f"route add {network} dev {plan.interface}"]
    return _text(lines)


def client_commands(plan: Plan, attempts: Iterable[Attempt]) -> str:
    """The same on the clients' side."""
    lines = ["link set lo up", f"link set {plan.interface} up", f"link set {_LAN} up"]
    attempts = tuple(attempts)
    for source in _sorted({attempt.source for attempt in attempts if attempt.target == ELSEWHERE}):
        lines += [_address(source, _LAN_BITS, _LAN)]
    over = [attempt for attempt in attempts if attempt.target != ELSEWHERE]
    for source in _sorted({attempt.source for attempt in over}):
        lines += [_address(source, source.max_prefixlen, plan.interface)]
    for target in _sorted({attempt.target for attempt in over}):
        lines += [f"route add {target}/{target.max_prefixlen} dev {plan.interface}"]
    return _text(lines)


def _address(address: IPAddress, bits: int, device: str) -> str:
    # Duplicate address detection would make a v6 address unusable for a second.
    return f"address add {address}/{bits} dev {device}" + (" nodad" if address.version == 6 else "")  # noqa: PLR2004


def _sorted(addresses: Iterable[IPAddress]) -> Iterator[IPAddress]:
    yield from sorted(addresses, key=lambda address: (address.version, address.packed))


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _ip(commands: str, namespace: int | None = None) -> None:
    """Run ip(8) on a list of commands, in another network namespace if one is named."""

    def enter() -> None:
        if namespace is not None:
            namespaces.enter(namespace, namespaces.CLONE_NEWNET)

    done = subprocess.run(
        ["ip", "-batch", "-"],
        input=commands.encode(),
        capture_output=True,
        check=False,
        preexec_fn=enter,
    )
    if done.returncode != 0:
        raise OSError(f"ip: {done.stderr.decode(errors='replace').strip()}")
