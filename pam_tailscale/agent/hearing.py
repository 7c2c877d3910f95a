"""Hears from the shared store whose checks were forgotten on another host. A login never waits for it."""

import logging
import math
import threading
from collections.abc import Callable, Mapping

from pam_tailscale.check.evidence import SharedStore
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.errors import CheckError

PAUSE = 5.0
"""Seconds between two questions: how long a forgotten check may still count on another host."""
TIDY_PAUSE = 60.0
"""Seconds where there is nobody to ask."""
REFRESH = 300.0
"""Seconds after which the provider looks whether its keys are still the published ones, before a login has to."""

log = logging.getLogger(__name__)


class Hearing:
    """A thread that asks again and again, and keeps the local store tidy.

    Args:
        local: this host's store.
        shared: the store that hosts share, if there is one.
        forgotten: told each person of whom something was known here and is void now.
        refresh: has the provider's knowledge kept fresh; it must not wait.
        wall: Unix time.
    """

    def __init__(
        self,
        local: SqliteStore,
        shared: SharedStore | None,
        forgotten: Callable[[str], None],
        refresh: Callable[[], None],
        wall: Callable[[], float],
    ) -> None:
        self._local = local
        self._shared = shared
        self._forgotten = forgotten
        self._refresh = refresh
        self._wall = wall
        self._refreshed = -math.inf
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hearing")
        self._down = False

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self.once()
            except Exception:
                log.exception("looking for what was forgotten elsewhere failed")
            if self._stop.wait(TIDY_PAUSE if self._shared is None else PAUSE):
                return

    def once(self) -> None:
        """Ask, take over what is news, tell whose it is."""
        now = self._wall()
        self._local.tidy(now)
        if not 0 <= now - self._refreshed < REFRESH:
            self._refreshed = now
            self._refresh()
        if self._shared is None:
            return
        try:
            announced = self._shared.not_befores()
        except CheckError as err:
            if not self._down:
                log.warning("whose checks are forgotten on other hosts is not heard: %s", err)
            self._down = True
            return
        self._down = False
        # Nobody can announce the future, and so keep somebody from passing a check now.
        self._take({key: min(moment, now) for key, moment in announced.items()})

    def _take(self, moments: Mapping[str, float]) -> None:
        people = self._local.people()
        news = [key for key, moment in moments.items() if self._local.not_before(key) < moment]
        try:
            self._local.raise_not_befores(moments)
        except CheckError as err:
            log.warning("what was forgotten on other hosts holds only until the agent's next start: %s", err)
        for key in news:
            if key in people:
                log.info("check=forgotten person=%r by another host", people[key])
                self._forgotten(people[key])
