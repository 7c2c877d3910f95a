"""Asks those who run on the host: sshd, systemd, tailscaled. Starts, stops and changes nothing; judges nothing."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pam_tailscale.errors import HostError
from pam_tailscale.host import effective, programs
from pam_tailscale.host.doctor.effects import Asked
from pam_tailscale.host.doctor.running import Offer
from pam_tailscale.host.doctor.services import PROPERTIES, UNITS, Unit
from pam_tailscale.host.facts import Socket
from pam_tailscale.host.sshdconfig import MAIN
from pam_tailscale.model import IPAddress, join_port
from pam_tailscale.policy.rules import Policy, parse_rule
from pam_tailscale.tailnet import netmap, reader, scan
from pam_tailscale.tailnet.records import tailscaled_version

_SSHD = "/usr/sbin/sshd"
_DENIED = re.compile(r"Permission denied \(([a-z0-9@.,-]*)\)")
_LET_IN = "Authenticated to "
_SSH = (
    "PreferredAuthentications=none",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "BatchMode=yes",
    "ConnectTimeout=5",
    "LogLevel=VERBOSE",
    "ControlPath=none",
)


# sshd


def effects(users: Iterable[str], own: Iterable[IPAddress], port: int, options: Sequence[str]) -> tuple[Asked, ...]:
    """What sshd's files come to for connections from the tailnet. `options`: what the listener was given with -o.

    Raises HostError with what sshd says against them.
    """
    found = []
    for user in users:
        for address in own:
            connection = f"user={user},host={address},addr={address},laddr={address},lport={port}"
            given = (part for option in options for part in ("-o", option))
            done = programs.run([_SSHD, "-T", "-f", MAIN, *given, "-C", connection])
            if done.returncode != 0:
                raise HostError((done.stderr.strip().splitlines() or ["sshd says nothing"])[-1][:300])
            found.append(Asked(user, str(address), effective.parse(done.stdout)))
    return tuple(found)


def offers(user: str, own: Iterable[IPAddress], sockets: Iterable[Socket]) -> tuple[Offer, ...]:
    """What the running sshd offers after a refused `none`, at each of the node's own addresses where it listens.

    `user`: an account that nobody logs in to. Raises HostError where sshd does not answer so.
    """
    listening, found = tuple(sockets), []
    for address in own:
        for port in sorted({end.port for end in listening if _covers(end.address, address)}):
            where = join_port(address, port)
            options = [part for option in _SSH for part in ("-o", option)]
            bound = ["-b", str(address), "-p", str(port), "-l", user]
            done = programs.run(["ssh", "-F", "none", *options, *bound, "--", str(address), "true"])
            # Not by the status, which is that of the account's shell.
            if _LET_IN in done.stderr:
                found.append(Offer(where, frozenset(), let_in=True))
                continue
            match = _DENIED.search(done.stderr)
            if match is None:
                last = (done.stderr.strip().splitlines() or ["ssh says nothing"])[-1][:300]
                raise HostError(f"sshd does not answer at {where}: {last}")
            found.append(Offer(where, frozenset(filter(None, match[1].split(",")))))
    return tuple(found)


def _covers(listening: IPAddress, address: IPAddress) -> bool:
    return listening == address or (listening.is_unspecified and listening.version == address.version)


# systemd


def units() -> tuple[Unit, ...]:
    """What systemd says of the package's units and of ssh.service. Raises HostError."""
    done = programs.run(["systemctl", "show", f"--property=Id,{','.join(PROPERTIES)}", *UNITS])
    if done.returncode != 0:
        raise HostError(f"systemctl: {done.stderr.strip()[:300]}")
    return tuple(_unit(block) for block in done.stdout.strip().split("\n\n"))


def _unit(block: str) -> Unit:
    values: dict[str, str] = {}
    for line in block.splitlines():
        name, _, value = line.partition("=")
        values[name] = f"{values[name]}\n{value}" if name in values else value
    return Unit(values.get("Id", ""), values)


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
