"""What belongs to checks beside waiting for them: who is asked, what is remembered where, and what is told about it."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pam_tailscale.check.desk import PendingCheck
from pam_tailscale.check.evidence import SharedStore, person_key
from pam_tailscale.check.flow import Provider
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.errors import CheckError
from pam_tailscale.model import Demand
from pam_tailscale.policy.trace import moment_text

CONTROL_REMEMBERS = "remembered by the control plane, unknown here"


@dataclass(frozen=True, slots=True)
class Checking:
    """The provider and the stores of this host.

    `scope` and `period` are those of the provider oidc; with the control plane None, which keeps its own.
    """

    provider: Provider
    local: SqliteStore
    shared: SharedStore | None = None
    scope: str | None = None
    period: float | None = None
    """Seconds, 0 for always: what counts where a rule says nothing."""
    wall: Callable[[], float] = time.time

    def close(self) -> None:
        """End connections, and write what waits."""
        self.provider.close()
        if self.shared is not None:
            self.shared.close()
        self.local.close()

    def problem(self) -> str:
        """Why checks cannot be passed, or remembered, as they should; empty where nothing is known to be wrong."""
        shared = self.shared.problem() if self.shared is not None else ""
        found = (self.provider.problem(), self.local.problem(), shared)
        return "; ".join(dict.fromkeys(filter(None, found)))

    def note(self, demand: Demand) -> None:
        """A check was passed: remember when, for whoever asks later. It lets nobody in."""
        self.local.note_passed(demand.person, demand.peer.stable_id, self.provider.name, self.wall())

    def period_of(self, demand: Demand) -> float | None:
        """Seconds for which an authentication counts for this demand; None where only the control plane knows."""
        return demand.period if demand.period is not None else self.period

    def about(self, demand: Demand) -> dict[str, Any]:
        """What is known of a person's checks, for an explanation."""
        period, last = self.period_of(demand), self.local.last_passed(demand.person, demand.peer.stable_id)
        passed = self.provider.recall(demand, self.wall())
        until = passed.authenticated + period if passed and passed.authenticated and period else None
        return {
            "by": self.provider.name,
            "period": period_text(period),
            "last": moment_text(last[1]) if last else None,
            "last_by": last[0] if last else None,
            "until": moment_text(until) if until is not None else None if self.scope is not None else CONTROL_REMEMBERS,
        }

    def document(self, pending: Iterable[PendingCheck], monotonic: float) -> dict[str, Any]:
        """Who has a valid check, and what is pending."""
        now = self.wall()
        return {
            "by": self.provider.name,
            "period": period_text(self.period),
            "problem": self.problem(),
            "valid": self._valid(now),
            "pending": [
                {
                    "person": one.demand.person,
                    "node": one.demand.peer.name,
                    "since": moment_text(now - (monotonic - one.began)),
                    "waiting": one.waiting,
                }
                for one in pending
            ],
        }

    def _valid(self, now: float) -> list[dict[str, Any]]:
        if self.scope is None:
            rows = self.local.passed()
            return [
                {"person": person, "node": node, "by": by, "at": moment_text(at), "until": CONTROL_REMEMBERS}
                for person, node, by, at in rows
            ]
        return [
            {
                "person": one.person,
                "node": "",
                "by": self.provider.name,
                "at": moment_text(one.authenticated),
                "until": moment_text(one.authenticated + self.period),
            }
            for one in self.local.everyone(now)
            if self.period and one.authenticated + self.period > now
        ]

    def forget(self, person: str) -> list[str]:
        """Void what counts for this person here and, by the shared store, elsewhere; answers what was not reached."""
        missed = []
        if self.scope is None:
            missed.append("what the control plane remembers: only its own administrator can make it forget")
        else:
            missed += self._void(person_key(self.scope, person))
        self.local.forget_passed(person)
        return missed

    def _void(self, key: str) -> list[str]:
        moment, missed = self.wall(), []
        try:
            self.local.raise_not_before(key, moment)
        except CheckError as err:
            missed.append(f"this host after its next start: {err}")
        if self.shared is None:
            missed.append("other hosts: there is no shared store, so each has to be told")
            return missed
        try:
            self.shared.announce_not_before(key, moment)
        except CheckError as err:
            missed.append(f"other hosts, until this is said again: {err}")
        return missed


def period_text(seconds: float | None) -> str:
    """A period for people: `12 h`, `always`, `as the control plane has it`."""
    if seconds is None:
        return "as the control plane has it"
    if seconds == 0:
        return "always"
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
