"""What checks come to, and how they are listed."""

import pytest

from pam_tailscale.host.doctor.check import (
    Check,
    State,
    document,
    in_order_of_report,
    ok,
    problem,
    unknown,
    warning,
    worst,
)

FINE, BAD = ok("fine", "as it should be"), problem("bad", "seen", "follows", "mend it", ["one"])
DARK, NOTED = unknown("dark", "not seen", "look"), warning("noted", "seen", "follows", "mend it")


@pytest.mark.parametrize(
    ("checks", "state"),
    [
        ([], State.OK),
        ([FINE], State.OK),
        ([FINE, NOTED], State.OK),
        ([NOTED, DARK], State.UNKNOWN),
        ([DARK, BAD, NOTED], State.PROBLEM),
    ],
    ids=["none", "fine", "warnings are allowed", "what was not seen is not fine", "a problem outweighs all"],
)
def test_worst(checks: list[Check], state: State) -> None:
    """What the exit status says."""
    assert worst(checks) is state


def test_problems_come_first() -> None:
    """And among themselves in the order in which they were found."""
    other = problem("other", "", "", "")
    assert in_order_of_report([FINE, NOTED, BAD, DARK, other]) == [BAD, other, DARK, NOTED, FINE]


def test_document() -> None:
    """Its keys are an interface."""
    assert document(BAD) == {
        "name": "bad",
        "state": "problem",
        "what": "seen",
        "means": "follows",
        "mend": "mend it",
        "items": ["one"],
    }
