"""What a token is worth as evidence: all the rules of idtoken.py for one organisation, the costly one remembered.

A signature costs more than all else together, and stays what it is under the same keys. What depends on time or on the
person is asked every time.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pam_tailscale.check import idtoken
from pam_tailscale.check.evidence import TOKEN_MAX
from pam_tailscale.check.idtoken import Claims, Expected, Flawed
from pam_tailscale.check.keyset import KeySet
from pam_tailscale.config import OidcConfig, WithoutAuthTime
from pam_tailscale.model import folded
from pam_tailscale.secret import Secret

REMEMBERED_MAX: Final = 4096
"""Tokens whose signature is not verified anew."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Since when an authentication counts, in Unix time."""

    oldest: float
    not_before: float
    """What was authenticated before it was forgotten."""


class Judge:
    """For all threads.

    Args:
        settings: section [oidc].
    """

    def __init__(self, settings: OidcConfig) -> None:
        self._expected = Expected(settings.issuer, settings.client_id, frozenset(settings.algorithms))
        self._domains = frozenset(settings.domains)
        self._subjects = _by_folded_login(settings.subjects)
        self._trust_issue_time = settings.without_auth_time is WithoutAuthTime.TRUST_ISSUE_TIME
        self._remembered: OrderedDict[tuple[str, bytes], Claims | Flawed] = OrderedDict()
        self._lock = threading.Lock()

    def claims(self, token: Secret, keys: KeySet) -> Claims | Flawed:
        """What the token says, if these keys have signed it."""
        text = token.reveal()
        if len(text) > TOKEN_MAX or not text.isascii():
            return idtoken.signed(token, keys, self._expected)
        place = keys.fingerprint, hashlib.sha256(text.encode("ascii")).digest()
        with self._lock:
            if place in self._remembered:
                self._remembered.move_to_end(place)
                return self._remembered[place]
        claims = idtoken.signed(token, keys, self._expected)
        with self._lock:
            self._remembered[place] = claims
            while len(self._remembered) > REMEMBERED_MAX:
                self._remembered.popitem(last=False)
        return claims

    def judged(
        self, claims: Claims | Flawed, person: str, now: float, bounds: Bounds, *, taking: bool = False
    ) -> float | Flawed:
        """The Unix time of the person's authentication, or what is wrong with the token."""
        if isinstance(claims, Flawed):
            return claims
        flawed = idtoken.timely(claims, now, taking=taking)
        flawed = flawed or idtoken.about(claims, person, self._domains, self._subjects)
        return flawed or idtoken.recent(
            claims, oldest=bounds.oldest, not_before=bounds.not_before, trust_issue_time=self._trust_issue_time
        )

    def unvouched(self, person: str) -> str:
        """Why no token at all can be about this person, and what to do; empty where one can."""
        return idtoken.unvouched(person, self._domains, self._subjects)


def _by_folded_login(subjects: Mapping[str, str]) -> Mapping[str, str]:
    """The subjects by login in lower case; where two are for the same login, it is nobody's."""
    found: dict[str, str] = {}
    for login, subject in subjects.items():
        key = folded(login)
        found[key] = "" if found.get(key, subject) != subject else subject
    return found
