"""Finds a login that the policy lets in and one that it refuses, for the proof to try, by asking the agent."""

import itertools
import pwd
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pam_tailscale import localaccounts, wire
from pam_tailscale.model import IPAddress, Reason
from pam_tailscale.policy.limits import NOLOGIN_SHELLS
from pam_tailscale.tailnet.localapi import LocalAPI

Ask = Callable[[str, IPAddress], Mapping[str, Any]]
"""What the agent explains about a login as an account from an address (`pam-tailscale explain`)."""
Pair = tuple[str, IPAddress]

_ROOT: Final = "root"
_NOBODY: Final = 65534
"""A uid of its own that is above UID_MIN and nobody's (Debian policy 9.2.2)."""


def candidates(
    ask: Ask, peers: Iterable[IPAddress], accounts: Iterable[str], limit: int
) -> tuple[Pair | None, Pair | None]:
    """An account and an address that the policy lets in without a check, and a pair that it refuses; None: not found.

    At most `limit` questions are asked. Root is taken only where no person is let in. Raises what `ask` does.
    """
    accept: Pair | None = None
    deny: Pair | None = None
    for account, address in itertools.islice(_pairs(tuple(peers), tuple(accounts), limit), limit):
        found = ask(account, address)
        if accept is None and _lets_in(found):
            accept = (account, address)
        if deny is None and found["decision"] == wire.VERDICT_DENY and found["can_tell"]:
            deny = (account, address)
        if accept is not None and deny is not None:
            break
    return accept, deny


def _lets_in(found: Mapping[str, Any]) -> bool:
    """Not by a check that was passed once: it may have run out when it is tried."""
    return bool(found["decision"] == wire.VERDICT_ALLOW and found["reason"] == Reason.ACCEPTED.value)


def _pairs(peers: Sequence[IPAddress], accounts: Sequence[str], limit: int) -> Iterator[Pair]:
    """Each account with each peer, the likely ones first; a quarter of the questions is root's."""
    ordinary = [account for account in accounts if account != _ROOT]
    root = [account for account in accounts if account == _ROOT]
    yield from itertools.islice(_diagonal(ordinary, peers), limit - limit // 4 if root else limit)
    yield from _diagonal(root, peers)


def _diagonal(accounts: Sequence[str], peers: Sequence[IPAddress]) -> Iterator[Pair]:
    """Neither all peers of the first account nor all accounts of the first peer first."""
    for distance in range(len(accounts) + len(peers) - 1):
        for number in range(max(0, distance - len(peers) + 1), min(distance + 1, len(accounts))):
            yield accounts[number], peers[distance - number]


def peer_addresses(api: LocalAPI) -> tuple[IPAddress, ...]:
    """An address of each peer, of a family that this node has an address of. Raises TailscaledError.

    Peers that are online come first, and of each owner one before a second of anybody's: the policy hardly tells the
    nodes of one owner apart.
    """
    families = {address.version for address in api.status().self_addresses}
    seen: Counter[tuple[int, tuple[str, ...]]] = Counter()
    ranked = []
    for peer in sorted(api.peers(), key=lambda peer: not peer.online):
        address = next((one for one in peer.addresses if one.version in families), None)
        if address is None:
            continue
        owner = (0 if peer.tags else peer.user_id, peer.tags)
        ranked.append((not peer.online, seen[owner], address))
        seen[owner] += 1
    return tuple(address for _, _, address in sorted(ranked, key=lambda one: one[:2]))


def local_accounts() -> tuple[str, ...]:
    """Accounts of people, by uid, and root at the end."""
    minimum = localaccounts.uid_min()
    people = (entry for entry in pwd.getpwall() if entry.pw_uid >= minimum and entry.pw_uid != _NOBODY)
    names = [entry.pw_name for entry in sorted(people, key=lambda entry: entry.pw_uid) if _has_shell(entry.pw_shell)]
    return (*dict.fromkeys(names), _ROOT)


def _has_shell(shell: str) -> bool:
    return shell.rpartition("/")[2] not in NOLOGIN_SHELLS
