"""Hosts that check people with one identity provider, with stores in memory that fail when they are told to."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pam_tailscale.check.device import DeviceClient
from pam_tailscale.check.evidence import person_key
from pam_tailscale.check.jwks import PublishedKeys
from pam_tailscale.check.oidc import OidcProvider, scope_of
from pam_tailscale.config import OidcConfig
from pam_tailscale.errors import CheckError
from pam_tailscale.model import Demand
from pam_tailscale.secret import Secret
from tests.support.facts import CONNECTION, NOW, PEER
from tests.support.fake_oidc import FakeOidc
from tests.support.tokens import CLIENT, ISSUER, SigningKey, claims, ec_key, key_set, sign

SIGNER = SigningKey("key-1", "ES256", ec_key())
NOBODY_THERE = "https://127.0.0.1:1"
ALICE, BOB = "alice@example.com", "bob@example.com"
SETTINGS = OidcConfig(issuer=ISSUER, client_id=CLIENT, domains=("example.com",), timeout=10.0)
ALICES = person_key(scope_of(SETTINGS), ALICE)


@dataclass
class Local:
    """A host's own store."""

    evidence: dict[str, list[tuple[float, Secret, float]]] = field(default_factory=dict)
    not_befores: dict[str, float] = field(default_factory=dict)
    published: dict[str, tuple[str, float]] = field(default_factory=dict)
    broken: bool = False
    full: bool = False
    """What was forgotten cannot be kept, all else works."""

    def tokens(self, key: str) -> tuple[Secret, ...]:
        """As in the Protocol."""
        self._check()
        newest = sorted(self.evidence.get(key, []), key=lambda one: one[0], reverse=True)
        return tuple(token for _, token, _ in newest)

    def keep(self, key: str, person: str, token: Secret, authenticated: float, until: float) -> None:
        """As in the Protocol."""
        self._check()
        assert person
        self.evidence.setdefault(key, []).append((authenticated, token, until))

    def not_before(self, key: str) -> float:
        """As in the Protocol."""
        self._check()
        return self.not_befores.get(key, 0.0)

    def raise_not_before(self, key: str, moment: float) -> bool:
        """As in the Protocol."""
        self._check()
        if self.full:
            raise CheckError("the local store is full")
        if moment <= self.not_befores.get(key, 0.0):
            return False
        self.not_befores[key] = moment
        return True

    def keep_keys(self, scope: str, text: str, moment: float) -> None:
        """As in jwks.KeyStore."""
        self.published[scope] = (text, moment)

    def keys(self, scope: str) -> tuple[str, float] | None:
        """As in jwks.KeyStore."""
        return self.published.get(scope)

    def _check(self) -> None:
        if self.broken:
            raise CheckError("the local store is broken")


@dataclass
class Shared:
    """The store that hosts share; anybody may have put anything there."""

    evidence: dict[str, list[Secret]] = field(default_factory=dict)
    announced: dict[str, float] = field(default_factory=dict)
    down: bool = False
    deaf: bool = False
    """Announcements cannot be read, all else can."""

    def tokens(self, key: str) -> tuple[Secret, ...]:
        """As in the Protocol."""
        self._check()
        return tuple(reversed(self.evidence.get(key, [])))

    def keep(self, key: str, token: Secret, authenticated: float, until: float) -> None:
        """As in the Protocol."""
        self._check()
        assert authenticated < until
        self.evidence.setdefault(key, []).append(token)

    def announce_not_before(self, key: str, moment: float) -> None:
        """As in the Protocol."""
        self._check()
        self.announced[key] = moment

    def not_befores(self) -> Mapping[str, float]:
        """As in the Protocol."""
        self._check()
        if self.deaf:
            raise CheckError("the shared store is deaf")
        return self.announced

    def problem(self) -> str:
        """As in the Protocol."""
        return "the shared store is down" if self.down else ""

    def close(self) -> None:
        """As in the Protocol."""

    def _check(self) -> None:
        if self.down:
            raise CheckError("the shared store is down")


class Host:
    """One host: its provider of checks, its store and its clock. Without `provider` nobody answers it."""

    def __init__(
        self,
        shared: Shared | None = None,
        provider: FakeOidc | None = None,
        *,
        period: float = 3600.0,
        now: float = NOW,
        **settings: Any,
    ) -> None:
        self.now = now
        self.local = Local()
        where = {"issuer": provider.issuer, "ca_file": provider.ca_file} if provider else {}
        self.settings = replace(SETTINGS, **{**where, **settings})
        self.client = DeviceClient(self.settings, wall=lambda: self.now)
        if provider is None:  # as it was before the provider went down
            self.local.keep_keys(scope_of(self.settings), key_set(SIGNER), now)
            self.client.published_keys = self._published  # type: ignore[method-assign]
        keys = PublishedKeys(
            fetch=self.client.published_keys,
            store=self.local,
            scope=scope_of(self.settings),
            wall=lambda: self.now,
        )
        self.published: str | None = None
        self.oidc = OidcProvider(
            settings=self.settings,
            client=self.client,
            keys=keys,
            local=self.local,
            shared=shared,
            period=period,
            wall=lambda: self.now,
        )

    def _published(self) -> str:
        if self.published is None:
            raise CheckError("the provider is down")
        return self.published

    def has(self, *tokens: str, person: str = ALICE) -> "Host":
        """These are in the host's own store, the first one as the newest."""
        key = person_key(self.oidc.scope, person)
        for number, token in enumerate(tokens):
            self.local.evidence.setdefault(key, []).append((-float(number), Secret(token), 0.0))
        return self

    def close(self) -> None:
        """Close its connections."""
        self.client.close()


def demand(person: str = ALICE, period: float | None = None) -> Demand:
    """A login of this person for which a rule demands a check."""
    return Demand(replace(PEER, login=person), "root", CONNECTION, delegate="", period=period)


def token(**changed: Any) -> str:
    """One that the provider would give to Alice, who authenticated a minute before NOW."""
    return sign(SIGNER, claims(int(NOW), **changed))
