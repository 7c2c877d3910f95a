"""`disable`: reports become text and exit statuses, and its help says what stays."""

import pytest

from pam_tailscale.host.report import Report
from tests.unit.cli.conftest import Coming, Run


@pytest.mark.parametrize(
    ("report", "status", "says"),
    [
        (Report(on=False, changed=True, diff="x"), 0, "Off: sshd and PAM are what they were.\n"),
        (Report(on=False, changed=False), 0, "Already off: nothing to change.\n"),
        (Report(on=True, changed=False, diff="-x\n", problem="not agreed to"), 1, "-x\n"),
    ],
)
def test_disable(run: Run, coming_to: Coming, report: Report, status: int, says: str) -> None:
    """As `enable`, the other way round."""
    switched = coming_to(report)
    ran = run("disable")
    assert (ran.status, ran.out) == (status, says)
    assert switched.ran == [({"dry_run": False},)]


def test_its_help_says_what_stays(run: Run) -> None:
    """Sessions, and the pin."""
    text = " ".join(run("disable", "--help").out.split())
    assert "Sessions go on" in text
    assert "The pin and what is remembered of checks stay" in text
