"""The provider's published keys: fetched when they are old or one is missing, kept for when it is down."""

import contextlib
import enum
import math
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from pam_tailscale.check import keyset
from pam_tailscale.check.keyset import KeySet
from pam_tailscale.errors import CheckError

FRESH: Final = 600.0
"""Seconds after which the keys are fetched again when somebody who may wait needs them."""
PAUSE: Final = 60.0
"""Seconds between two attempts for the same reason."""
KEEP: Final = 7 * 86400.0
"""Seconds after which keys that could not be fetched again no longer verify anything."""

_SKEW = 60.0  # that a clock may have gone back


class Occasion(enum.Enum):
    """Why keys are fetched. Each has its own rate: what a stranger puts into the shared store must not use up ours."""

    AGE = "age"
    STORED = "stored"
    """A token from a store has a key that we do not know."""
    TAKEN = "taken"
    """A token that the provider itself has just sent has one."""


class KeyStore(Protocol):
    """Where a key set outlives the agent. Methods raise CheckError."""

    def keep_keys(self, scope: str, text: str, moment: float) -> None:
        """Keep this issuer's key set as it was published at this Unix time, instead of the one before."""

    def keys(self, scope: str) -> tuple[str, float] | None:
        """What was kept last."""


class PublishedKeys:
    """The keys of one provider, for all threads.

    Args:
        fetch: brings the published key set, or raises CheckError.
        store: where it is kept.
        scope: issuer and client.
        wall: Unix time.
    """

    def __init__(
        self, *, fetch: Callable[[], str], store: KeyStore, scope: str, wall: Callable[[], float] = time.time
    ) -> None:
        self._fetch = fetch
        self._store = store
        self._scope = scope
        self._wall = wall
        self._kept: tuple[KeySet, float] | None = None
        self._attempts: dict[Occasion, float] = {}
        self._failure: CheckError | None = None
        self._fetching = threading.Lock()
        self._keeping = threading.Lock()

    def known(self, now: float) -> KeySet:
        """What is known without asking anyone; nothing, where that is too old. Raises nothing."""
        if self._kept is None:
            self._load()
        kept = self._kept
        return kept[0] if kept is not None and -_SKEW <= now - kept[1] <= KEEP else KeySet()

    def refresh(self, occasion: Occasion) -> None:
        """Fetch the keys, if there is reason to and the last attempt was long enough ago.

        Raises CheckError where they are old and cannot be had, also where that was not tried again. Where keys are
        known, nobody waits for somebody else's fetch only because of their age.
        """
        waits = occasion is not Occasion.AGE or not self.known(self._wall())
        if not self._fetching.acquire(blocking=waits):
            return
        with contextlib.ExitStack() as stack:
            stack.callback(self._fetching.release)
            now = self._wall()
            if occasion is Occasion.AGE and self._is_fresh(now):
                return
            pause = max(PAUSE, self._failure.retry_after if self._failure else 0.0)
            if 0 <= now - self._attempts.get(occasion, -math.inf) < pause:
                if self._failure is not None:
                    raise CheckError(str(self._failure), self._failure.retry_after)
                return
            self._attempts[occasion] = now
            try:
                self._renew(now)
            except CheckError as err:
                self._failure = err
                raise
            self._failure = None

    def _renew(self, now: float) -> None:
        text = self._fetch()
        try:
            keys = keyset.parse(text)
        except ValueError as err:
            raise CheckError(f"the identity provider's key set cannot be used: {err}") from None
        with self._keeping:
            self._kept = keys, now
        with contextlib.suppress(CheckError):  # it is needed only after a restart, and then asked for again
            self._store.keep_keys(self._scope, text, now)

    def _is_fresh(self, now: float) -> bool:
        if not self.known(now):
            return False
        return self._kept is not None and now - self._kept[1] < FRESH

    def _load(self) -> None:
        try:
            found = self._store.keys(self._scope)
            kept = None if found is None else (keyset.parse(found[0]), found[1])
        except (CheckError, ValueError):
            return  # as if nothing had been kept
        with self._keeping:
            self._kept = self._kept or kept  # what was fetched meanwhile is newer
