"""Judges the sshd that runs: whether it has read the files as they are now. Pure.

sshd reads its configuration when it starts and when it is told to (SIGHUP), and then for good: whoever connects is
handed what it read. Two things tell what that was. It answers a refused `none` with the methods that can continue, and
the drop-in changes these where both ends are tailnet addresses, as at the node's own. And each time it has read its
files it writes its process's number to PidFile (sshd.c, main and sighup_restart).
"""

from dataclasses import dataclass

from pam_tailscale.host.doctor.check import Check, ok, problem, unknown, warning
from pam_tailscale.host.effective import Effective, offered

RELOAD = "sshd -t && systemctl reload ssh"
_BY_OLD_FILES = "connections from the tailnet go by what sshd read before: the policy is not asked, or by old settings"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a listener said that can continue, at one of the node's own addresses."""

    address: str
    """With its port."""
    methods: frozenset[str]
    let_in: bool = False
    """It did not refuse: whoever asked is in."""


@dataclass(frozen=True, slots=True)
class Running:
    """The listener, and the files it should have read."""

    pid: int | None
    """None: none runs in this network."""
    by_systemd: bool
    """systemd listens for it, and starts it when somebody connects."""
    offers: tuple[Offer, ...]
    unasked: str
    """Why the listener could not be asked at all; empty where it could."""
    read_at: float | None
    """Unix time at which it last read its files; None where PidFile does not tell."""
    changed: tuple[tuple[str, float], ...]
    """Its files, with the Unix time at which each was last put in place."""


def judge(running: Running, expected: Effective, without: Effective) -> Check:
    """Whether the running sshd goes by the drop-in.

    `expected`: what its files come to for a connection of the tailnet; `without`: for all others.
    """
    name = "sshd-running"
    if running.pid is None and running.by_systemd:
        return ok(name, "systemd listens for sshd, which reads its files when somebody connects")
    if running.pid is None:
        return warning(name, "no sshd listens", "nobody can log in by ssh, from wherever", "systemctl start ssh")
    for offer in running.offers:
        if offer.let_in:
            seen = f"at {offer.address} sshd lets in without asking for anything, from this host's own address"
            means = "so it does whoever is in the tailnet, whatever the policy says"
            return problem(name, seen, means, "pam-tailscale disable")
    with_it, without_it = offered(expected), offered(without)
    return _by_times(name, running) if with_it == without_it else _by_offers(name, running, with_it)


def _by_offers(name: str, running: Running, wanted: frozenset[str]) -> Check:
    """By what it offers, where that would be something else without the drop-in."""
    if not running.offers:
        return unknown(
            name, f"sshd could not be asked: {running.unasked or 'it does not listen on the tailnet'}", RELOAD
        )
    for offer in running.offers:
        if offer.methods != wanted:
            seen = f"at {offer.address} sshd offers {_words(offer.methods)}, by its files it would be {_words(wanted)}"
            return problem(name, seen, _BY_OLD_FILES, RELOAD)
    if stale := _stale(running):
        return warning(name, stale, "the drop-in is in force, but other settings are not yet", RELOAD)
    return ok(name, "sshd goes by the drop-in")


def _by_times(name: str, running: Running) -> Check:
    """By when it read its files and when they were put in place, where what it offers does not tell."""
    if running.read_at is None:
        seen = "sshd offers the same methods with the drop-in and without, and no PidFile tells when it read it"
        return unknown(name, seen, RELOAD)
    if stale := _stale(running):
        return problem(name, stale, _BY_OLD_FILES, RELOAD)
    return ok(name, "sshd has read its files since they were last changed")


def _stale(running: Running) -> str:
    """Which file sshd has not read as it is now; empty where there is none, or that is not known."""
    if running.read_at is None:
        return ""
    later = [path for path, moment in running.changed if moment > running.read_at]
    return f"{', '.join(later)} changed after sshd last read it" if later else ""


def _words(methods: frozenset[str]) -> str:
    return ", ".join(sorted(methods)) or "nothing"
