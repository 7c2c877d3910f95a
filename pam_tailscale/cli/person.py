"""Whoever runs `enable` or `disable`: asks them at a terminal, and takes options as their answers elsewhere."""

import sys
from contextlib import suppress
from dataclasses import dataclass

import click

from pam_tailscale.cli.output import shown
from pam_tailscale.host.preconditions import Finding

_CHOICES = {"--methods": ("replace", "with-key")}
"""What an option may be, beside given or not."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a terminal, unless `quiet`: then nobody is asked, and only options count."""

    yes: bool
    """They have agreed beforehand to what will be changed."""
    quiet: bool

    def say(self, text: str) -> None:
        """Progress, on standard error; without a word if that is gone."""
        with suppress(OSError, ValueError):
            sys.stderr.write(f"  {shown(text)}\n")
            sys.stderr.flush()

    def answers(self, finding: Finding) -> str:
        """Asks what a finding asks; empty is no, which is also what nobody says."""
        if not self._present:
            return ""
        self.say(f"{finding.what}. {finding.means}. {finding.mend}")
        if finding.flag in _CHOICES:
            choices = click.Choice([*_CHOICES[finding.flag], "no"])
            choice = click.prompt(f"{finding.flag}?", type=choices, default="no", err=True)
            return "" if choice == "no" else str(choice)
        return "yes" if click.confirm(f"{finding.flag}?", default=False, err=True) else ""

    def agrees(self, diff: str) -> bool:
        """Shows what would be changed and asks whether it shall be."""
        if self.yes:
            return True
        if not self._present:
            return False
        sys.stderr.write("".join(f"{shown(line)}\n" for line in diff.splitlines()))
        return click.confirm("Change these files?", default=False, err=True)

    @property
    def _present(self) -> bool:
        return not self.quiet and sys.stdin.isatty()
