"""Asks those who run on the host: sshd, systemd, tailscaled. Starts, stops and changes nothing; judges nothing."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from pam_tailscale.errors import HostError
from pam_tailscale.host import programs
from pam_tailscale.host.asking import at_own_addresses, none
from pam_tailscale.host.doctor.effects import Asked
from pam_tailscale.host.doctor.running import Offer
from pam_tailscale.host.doctor.services import PROPERTIES, UNITS, Unit
from pam_tailscale.host.effective import connection_spec
from pam_tailscale.host.facts import Socket
from pam_tailscale.host.sshd import Sshd
from pam_tailscale.host.units import properties
from pam_tailscale.model import IPAddress, join_port
from pam_tailscale.policy.rules import Policy, parse_rule
from pam_tailscale.tailnet import netmap, reader, scan
from pam_tailscale.tailnet.records import tailscaled_version

# sshd


def effects(users: Iterable[str], own: Iterable[IPAddress], port: int, options: Sequence[str]) -> tuple[Asked, ...]:
    """What sshd's files come to for connections from the tailnet. `options`: what it is started with by -o.

    Raises HostError with what sshd says against them.
    """
    sshd, addresses = Sshd(), tuple(own)
    return tuple(
        Asked(user, str(address), sshd.effective(options, connection_spec(user, address, address, port)))
        for user in users
        for address in addresses
    )


def offers(user: str, own: Iterable[IPAddress], sockets: Iterable[Socket]) -> tuple[Offer, ...]:
    """What the running sshd offers after a refused `none`, at each of the node's own addresses where it listens.

    `user`: an account that nobody logs in to. Raises HostError where sshd does not answer so.
    """
    found = []
    for address, end in at_own_addresses(sockets, own):
        where, answer = join_port(address, end.port), none(user, str(address), end.port)
        if answer.error:
            raise HostError(f"sshd does not answer at {where}: {answer.error}")
        found.append(Offer(where, answer.methods or frozenset(), let_in=answer.let_in))
    return tuple(found)


# systemd


def units() -> tuple[Unit, ...]:
    """What systemd says of the package's units and of ssh.service. Raises HostError."""
    done = programs.run(["systemctl", "show", f"--property=Id,{','.join(PROPERTIES)}", *UNITS])
    if done.returncode != 0:
        raise HostError(f"systemctl: {done.stderr.strip()[:300]}")
    blocks = map(properties, done.stdout.strip().split("\n\n"))
    return tuple(Unit(block.get("Id", ""), block) for block in blocks)


# tailscaled


def policy(socket: Path, version: str) -> Policy:
    """The tailnet's SSH policy, as root may read it. Raises TailscaledError and PolicyShapeError."""
    path = str(socket)
    if netmap.choose(tailscaled_version(version)) is netmap.Way.ROOT_READER:
        reduced = scan.netmap(reader.read_netmap(path))
    else:
        reduced = scan.first_notify(reader.read_bus(path))
    rules = (parse_rule(json.loads(rule), number) for number, rule in enumerate(reduced.rules or (), 1))
    return Policy("netmap", tuple(rules))
