"""Evidence that a person has authenticated: how entries are called and bounded, and what a store of them is. Pure.

Evidence is the ID token itself. A store can lose it, hide it or hand it out again, but not make it: whoever takes an
entry out of a store verifies it (idtoken.py).
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pam_tailscale.errors import CheckError
from pam_tailscale.model import folded
from pam_tailscale.secret import Secret

TOKEN_MAX = 16384
"""Bytes of a token; those of large providers have 1 to 4 KiB."""
TOKENS_MAX = 4
"""Tokens of one person that are kept and looked at: the newest."""
PEOPLE_MAX = 10_000
"""People whose evidence is kept; those who authenticated longest ago go first."""
NOT_BEFORES_MAX = 10_000
"""People for whom a not-before is kept or heard at the same time."""
NOT_BEFORE_KEEP = 8 * 86400.0
"""Seconds: a not-before that is older voids nothing any more, since no check period is longer than 168 h."""
AHEAD_MAX = 300.0
"""Seconds that the clock of another host may be ahead of ours."""

_VISIBLE = re.compile(rb"[!-~]+")


def person_key(scope: str, person: str) -> str:
    """What a person is called in a store: a hash, so that who may read the store's keys learns no names.

    `scope` is the issuer and the client id, so that hosts of two organisations can share a store.
    """
    return hashlib.sha256(f"{scope}\0{folded(person)}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Entry:
    """A token in a store, with what the store says about it."""

    token: Secret = field(repr=False)
    authenticated: float
    """Unix time of the authentication; in the shared store a claim of whoever put it there."""
    until: float = 0.0
    """Unix time after which it is of no use to anyone."""


def fits(token: str | bytes) -> bool:
    """Whether it can be a token at all: visible ASCII (RFC 7515 section 3.1: base64url and dots), and not too long."""
    data = token.encode("utf-8", "surrogatepass") if isinstance(token, str) else token
    return len(data) <= TOKEN_MAX and _VISIBLE.fullmatch(data) is not None


def require_token(token: Secret, *times: float) -> None:
    """Raises CheckError where this cannot be kept: it is no token, or one of its times is no time."""
    if not fits(token.reveal()) or not all(map(math.isfinite, times)):
        raise CheckError(
            f"a token of the identity provider is not kept: it has more than {TOKEN_MAX} bytes, bytes that no token "
            "has, or impossible times: see which claims the provider puts into it"
        )


def newest(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries that are kept of one person, the newest first, each token once."""
    seen: dict[Secret, Entry] = {}
    for entry in sorted(entries, key=lambda one: one.authenticated, reverse=True):
        seen.setdefault(entry.token, entry)
    return tuple(seen.values())[:TOKENS_MAX]


def believable(moment: float, now: float) -> bool:
    """Whether a not-before that somebody announced is to be heeded.

    One from the future would keep a person out until then, one that is too old does nothing; nor does NaN, for which no
    comparison holds.
    """
    return now - NOT_BEFORE_KEEP <= moment <= now + AHEAD_MAX


class LocalStore(Protocol):
    """This host's own store. Methods raise CheckError where it cannot be used."""

    def tokens(self, key: str) -> tuple[Secret, ...]:
        """The newest tokens of a person, the newest first."""

    def keep(self, key: str, person: str, token: Secret, authenticated: float, until: float) -> None:
        """Keep a token that was verified; `until` is the Unix time after which it is of no use to anyone."""

    def not_before(self, key: str) -> float:
        """Unix time; what was authenticated before it counts no more. 0 where nothing was forgotten."""

    def raise_not_before(self, key: str, moment: float) -> bool:
        """Never goes back. Whether this was news; the person's tokens from before are then gone."""


class SharedStore(Protocol):
    """The store that hosts share; it is not trusted. Methods raise CheckError where it is down."""

    def tokens(self, key: str) -> tuple[Secret, ...]:
        """The newest tokens that somebody has put there under this key, whatever they are."""

    def keep(self, key: str, token: Secret, authenticated: float, until: float) -> None:
        """As in the local store."""

    def announce_not_before(self, key: str, moment: float) -> None:
        """Tell every host that what was authenticated before counts no more."""

    def not_befores(self) -> Mapping[str, float]:
        """All that was announced, by key."""

    def problem(self) -> str:
        """Why it is of no use and what to do; empty where nothing is known to be wrong."""

    def close(self) -> None:
        """End its connections. Raises nothing."""
