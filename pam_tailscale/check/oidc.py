"""Provider `oidc`: the organisation's identity provider says when a person authenticated.

Evidence is its ID token. The rules about tokens are idtoken.py's; here they are asked on every use, of every token,
wherever it comes from. What a store or the provider fails to do never lets anyone in.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Final

from pam_tailscale.check.device import Authorization, DeviceClient, Granted, NotGranted
from pam_tailscale.check.evidence import TOKENS_MAX, LocalStore, SharedStore, believable, person_key
from pam_tailscale.check.flow import Hold, Lost, Passed, Polled, Refused, Trouble, Unanswered
from pam_tailscale.check.idtoken import Claims, Flaw, Flawed
from pam_tailscale.check.judge import Bounds, Judge
from pam_tailscale.check.jwks import Occasion, PublishedKeys
from pam_tailscale.check.trouble import shown
from pam_tailscale.config import PERIOD_MAX, OidcConfig
from pam_tailscale.errors import CheckError
from pam_tailscale.model import Demand, Reason
from pam_tailscale.secret import Secret

LEEWAY: Final = 30.0
"""Seconds before a check began that an authentication may lie and still be its own, where the period is `always`."""

_LOG_PAUSE = 60.0  # seconds between two lines about the same kind of flaw
_ORDINARY = frozenset({Flaw.TOO_OLD, Flaw.FORGOTTEN})
_PROVIDER, _KEYS, _SHARED, _LOCAL = "provider", "keys", "shared", "local"

log = logging.getLogger(__name__)


class OidcProvider:
    """Implements `check.flow.Provider`. Tagged nodes never come here: they have no person.

    Args:
        settings: section [oidc].
        client: the provider.
        keys: its published keys.
        local: this host's store of evidence.
        shared: the store that hosts share, if there is one.
        period: seconds for which an authentication counts where a demand does not say; 0: every login asks anew.
        wall: Unix time.
    """

    name = "oidc"

    def __init__(
        self,
        *,
        settings: OidcConfig,
        client: DeviceClient,
        keys: PublishedKeys,
        local: LocalStore,
        shared: SharedStore | None,
        period: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.scope = scope_of(settings)
        self._client = client
        self._keys = keys
        self._local = local
        self._shared = shared
        self._period = period
        self._wall = wall
        self._judge = Judge(settings)
        self._quiet = _Quiet()
        self._problems: dict[str, str] = {}

    def recall(self, demand: Demand, now: float) -> Passed | None:
        """What this host's store has; nothing is asked over the network. `now` is Unix time."""
        period = self._period_of(demand)
        if not period:
            return None
        key, keys = self._key(demand), self._keys.known(now)
        with self._watched(_LOCAL):
            bounds = Bounds(now - period, self._local.not_before(key))
            for token in self._local.tokens(key)[:TOKENS_MAX]:
                found = self._judge.judged(self._judge.claims(token, keys), demand.person, now, bounds)
                if not isinstance(found, Flawed):
                    return Passed(authenticated=found)
                if found.flaw not in _ORDINARY:
                    self._report(found, "this host's store", now)
        return None

    def ask(self, demand: Demand) -> Passed | None:
        """What the shared store has; what counts is kept on this host."""
        if not self._period_of(demand):
            return None
        self._refresh_keys(Occasion.AGE)
        heard = self._shared is not None and self._hear(self._shared, demand)
        passed = self.recall(demand, self._wall())
        if passed is not None or self._shared is None or not heard:
            return passed
        return self._take_shared(self._shared, demand)

    def begin(self, demand: Demand) -> Hold | Refused | Trouble:
        """Ask the provider to ask the person."""
        if problem := self._judge.unvouched(demand.person):
            return Refused(Reason.CHECK_UNAVAILABLE, problem)
        begun = self._wall()
        self._refresh_keys(Occasion.AGE)
        if not self._keys.known(begun):
            nothing = "the identity provider publishes no key that can verify a token"
            return Trouble(self._problems.setdefault(_KEYS, nothing))
        try:
            authorization = self._client.authorize(self._max_age(demand, begun))
        except CheckError as err:
            return self._trouble(err)
        self._works(_PROVIDER)
        return _hold(authorization, demand.person, begun)

    def poll(
        self,
        demand: Demand,
        hold: Hold,
        patience: float,  # noqa: ARG002 (the provider answers at once)
        cancelled: Callable[[], bool],  # noqa: ARG002
    ) -> Polled:
        """Ask the provider once whether the person has approved."""
        try:
            answer = self._client.redeem(hold.ticket)
        except CheckError as err:
            return self._trouble(err)
        self._works(_PROVIDER)
        match answer:
            case Granted(token):
                return self._take(demand, hold, token)
            case NotGranted.PENDING:
                return Unanswered()
            case NotGranted.SLOW_DOWN:
                return Unanswered(slow_down=True)
            case NotGranted.DENIED:
                return Refused(
                    Reason.CHECK_REJECTED, f"{shown(demand.person)} did not approve at the identity provider"
                )
            case NotGranted.EXPIRED | NotGranted.UNKNOWN:
                return Lost(f"the identity provider no longer knows this check ({answer.value})")

    def prepare(self) -> None:
        """Find the provider and its keys; now and then, so that a key that is withdrawn is noticed without a check."""
        self._refresh_keys(Occasion.AGE)

    def close(self) -> None:
        """End the connections to the provider."""
        self._client.close()

    def problem(self) -> str:
        """The last known reason why the provider or a store cannot be used; empty where there is none."""
        return "; ".join(self._problems.copy().values())

    def _period_of(self, demand: Demand) -> float:
        return self._period if demand.period is None else demand.period

    def _key(self, demand: Demand) -> str:
        return person_key(self.scope, demand.person)

    def _max_age(self, demand: Demand, now: float) -> int:
        """What the provider is asked for: an authentication in the period, and not one that was forgotten."""
        not_before = now  # where it is not known what was forgotten
        with self._watched(_LOCAL):
            not_before = self._local.not_before(self._key(demand))
        # Not 0, which some providers turn into prompt=login and then lose in the device flow (oidc-provider 8).
        return max(1, math.floor(min(self._period_of(demand), now - not_before)))

    def _take_shared(self, shared: SharedStore, demand: Demand) -> Passed | None:
        """The newest token of the shared store that counts. Whoever can write there may have put anything there."""
        key, now = self._key(demand), self._wall()
        tokens: tuple[Secret, ...] = ()
        with self._watched(_SHARED):
            tokens = shared.tokens(key)[:TOKENS_MAX]
        for token in tokens:
            claims = self._claims(token, Occasion.STORED)
            with self._watched(_LOCAL):
                bounds = Bounds(now - self._period_of(demand), self._local.not_before(key))
                found = self._judge.judged(claims, demand.person, now, bounds)
                if not isinstance(found, Flawed):
                    self._local.keep(key, demand.person, token, found, found + PERIOD_MAX)
                    return Passed(authenticated=found)
                self._report(found, "the shared store", now)
        return None

    def _take(self, demand: Demand, hold: Hold, token: Secret) -> Passed | Refused | Lost:
        """Judge what the provider has just sent."""
        claims, now, period = self._claims(token, Occasion.TAKEN), self._wall(), self._period_of(demand)
        since = hold.begun - LEEWAY
        # Where it is not known what was forgotten, only an authentication of this very check counts.
        not_before = since
        with self._watched(_LOCAL):
            not_before = self._local.not_before(self._key(demand))
        bounds = Bounds(now - period if period else since, not_before)
        found = self._judge.judged(claims, demand.person, now, bounds, taking=True)
        if isinstance(found, Flawed):
            return _not_taken(found, demand.person)
        if period:
            self._keep(demand, token, found)
        return Passed(authenticated=found)

    def _keep(self, demand: Demand, token: Secret, authenticated: float) -> None:
        key, until = self._key(demand), authenticated + PERIOD_MAX
        with self._watched(_LOCAL):
            self._local.keep(key, demand.person, token, authenticated, until)
        with self._watched(_SHARED):
            if self._shared is not None:
                self._shared.keep(key, token, authenticated, until)

    def _claims(self, token: Secret, occasion: Occasion) -> Claims | Flawed:
        """What a token says that may be signed by a key that we have not heard of yet."""
        claims = self._judge.claims(token, self._keys.known(self._wall()))
        if isinstance(claims, Flawed) and claims.flaw is Flaw.KEY_UNKNOWN:
            self._refresh_keys(occasion)
            claims = self._judge.claims(token, self._keys.known(self._wall()))
        return claims

    def _refresh_keys(self, occasion: Occasion) -> None:
        with self._watched(_KEYS):
            self._keys.refresh(occasion)

    def _hear(self, shared: SharedStore, demand: Demand) -> bool:
        """Hear what was forgotten of this person; whether that is known: else the shared store counts for nothing."""
        key, now = self._key(demand), self._wall()
        announced: float | None = None
        with self._watched(_SHARED):
            announced = shared.not_befores().get(key, 0.0)
        if announced is None or not believable(announced, now):
            return announced is not None
        try:  # a time that is yet to come would shut out whoever authenticates now
            self._local.raise_not_before(key, min(announced, now))
        except CheckError as err:
            self._failed(_LOCAL, err)
            return False
        return True

    def _report(self, flawed: Flawed, where: str, now: float) -> None:
        text = f"a token in {where} is ignored ({flawed.flaw.value}): {flawed.detail}"
        self._quiet.warn(f"{where} {flawed.flaw.value}", text, now)

    def _trouble(self, err: CheckError) -> Trouble:
        self._failed(_PROVIDER, err)
        return Trouble(str(err), err.retry_after)

    def _failed(self, part: str, err: CheckError) -> None:
        if part not in self._problems:
            log.warning("%s", err)
        self._problems[part] = str(err)

    def _works(self, part: str) -> None:
        self._problems.pop(part, None)

    @contextlib.contextmanager
    def _watched(self, part: str) -> Iterator[None]:
        """What fails in here is remembered as the part's problem, and goes no further."""
        try:
            yield
        except CheckError as err:
            self._failed(part, err)
        else:
            self._works(part)


class _Quiet:
    """Writes one line a minute about each kind of thing: what strangers cause must not fill the journal."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def warn(self, kind: str, text: str, now: float) -> None:
        if not 0 <= now - self._said.get(kind, -math.inf) < _LOG_PAUSE:
            self._said[kind] = now
            log.warning("%s", text)


def scope_of(settings: OidcConfig) -> str:
    """The issuer and the client id, for `evidence.person_key`."""
    return f"{settings.issuer}\0{settings.client_id}"


def _hold(authorization: Authorization, person: str, begun: float) -> Hold:
    url = authorization.complete_url or authorization.url
    verb = "confirm" if authorization.complete_url else "enter"  # RFC 8628 section 3.3.1
    return Hold(
        text=f"To log in as {person}, open\n  {url}\nand {verb} the code {authorization.user_code}.",
        url=url,
        ticket=authorization.code,
        interval=authorization.interval,
        lifetime=authorization.lifetime,
        begun=begun,
    )


def _not_taken(flawed: Flawed, person: str) -> Refused | Lost:
    """What becomes of a check whose token does not count."""
    if flawed.flaw in {Flaw.TOO_OLD, Flaw.FORGOTTEN}:
        return Lost(
            f"the identity provider did not ask {shown(person)} anew ({flawed.detail}): "
            "see prompt in [oidc], and let the provider obey prompt and max_age of device authorizations"
        )
    reason = Reason.CHECK_WRONG_PERSON if flawed.flaw is Flaw.PERSON else Reason.CHECK_UNAVAILABLE
    detail = f"the identity provider's token is refused ({flawed.flaw.value}): {flawed.detail}"
    log.warning("%s", detail)
    return Refused(reason, detail)
