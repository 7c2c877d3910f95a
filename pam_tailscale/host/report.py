"""What a run of `enable` or `disable` came to, for whoever prints it; and whom it asks. Does nothing itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pam_tailscale.host.preconditions import Finding
from pam_tailscale.host.proving.trial import Outcome


class Person(Protocol):
    """Who runs the command: a person at a terminal, or a program that has answered beforehand."""

    def say(self, text: str) -> None:
        """Progress. Never raises: a terminal that is gone must not stop a change half-way."""

    def answers(self, finding: Finding) -> str:
        """What they say to what a finding asks: `yes`, or one of the values of its flag; empty for no."""

    def agrees(self, diff: str) -> bool:
        """Whether they want these differences made."""


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a run."""

    on: bool
    """Whether the host asks the tailnet's policy now."""
    changed: bool
    diff: str = ""
    """What was changed, or would be: a unified diff."""
    findings: tuple[Finding, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    problem: str = ""
    """Why it was not done; empty where it was, or there was nothing to do."""

    @property
    def document(self) -> Mapping[str, Any]:
        """For `--json`: add keys, do not rename any."""
        return {
            "on": self.on,
            "changed": self.changed,
            "problem": self.problem,
            "findings": [
                {
                    "row": finding.row,
                    "action": finding.action.value,
                    "what": finding.what,
                    "means": finding.means,
                    "mend": finding.mend,
                    "flag": finding.flag,
                }
                for finding in self.findings
            ],
            "diff": self.diff,
            "proof": [
                {
                    "name": outcome.name,
                    "ok": outcome.ok,
                    "expected": outcome.expected,
                    "found": outcome.found,
                    "detail": outcome.detail,
                }
                for outcome in self.outcomes
            ],
        }
