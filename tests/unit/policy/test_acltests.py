"""The tests section, as far as it is about port 22."""

from typing import Any

import pytest

from pam_tailscale.policy.acltests import run
from tests.support.tailnets import ALICE, BOB, compiled

ACLS = [{"action": "accept", "src": [ALICE, "tag:db"], "dst": ["tag:web:22", "autogroup:self:22", "10.0.0.9:22"]}]


def outcome(**test: Any) -> list[tuple[bool, str, str]]:
    """What one test comes to: for each thing that it says whether it passes, what was found, and by what."""
    found = run(compiled(acls=ACLS, groups={"group:ops": [ALICE, BOB]}, hosts={"net": "10.0.0.0/8"}, tests=[test]))
    return [(result.passed, result.found, result.by) for result in found]


@pytest.mark.parametrize(
    ("test", "passes", "found"),
    [
        ({"src": ALICE, "accept": ["tag:web:22"]}, True, "accept"),
        ({"src": ALICE, "deny": ["tag:web:22"]}, False, "accept"),
        ({"src": ALICE, "accept": ["10.0.0.9:22"]}, True, "accept"),
        ({"src": ALICE, "deny": ["10.0.0.10:22"]}, True, "deny"),
        ({"src": ALICE, "accept": ["autogroup:self:22"]}, True, "accept"),
        ({"src": "tag:db", "accept": ["tag:web:22"]}, True, "accept"),
        ({"src": BOB, "deny": ["tag:web:22"]}, True, "deny"),
        ({"src": BOB, "accept": ["tag:web:22"]}, False, "deny"),
        ({"src": "group:ops", "accept": ["tag:web:22"]}, False, "deny"),
        ({"src": "group:ops", "deny": ["tag:web:22"]}, False, "accept"),
        ({"src": "100.64.0.1", "accept": ["tag:web:22"]}, True, "accept"),
        ({"src": ALICE, "accept": ["100.64.0.5:22"]}, True, "accept"),
    ],
)
def test_what_a_test_says(test: dict[str, Any], passes: bool, found: str) -> None:  # noqa: FBT001 (of a test)
    """Of several nodes all have to do what it says."""
    ((passed, did, _),) = outcome(**test)
    assert (passed, did) == (passes, found)


@pytest.mark.parametrize(
    "test",
    [
        {"src": "tag:nothing", "accept": ["tag:web:22"]},
        {"src": "nobody@example.com", "deny": ["tag:web:22"]},
        {"src": "group:none", "deny": ["tag:web:22"]},
        {"src": "autogroup:none", "deny": ["tag:web:22"]},
        {"deny": ["tag:web:22"]},
        {"src": ALICE, "accept": ["net:22"]},
        {"src": ALICE, "deny": ["10.0.0.0/8:22"]},
        {"src": ALICE, "deny": ["group:ops:22"]},
        {"src": ALICE, "deny": ["nowhere:22"]},
        {"src": "tag:db", "deny": ["autogroup:self:22"]},
    ],
)
def test_what_is_about_nothing_fails(test: dict[str, Any]) -> None:
    """It would pass for the wrong reason."""
    ((passed, found, _),) = outcome(**test)
    assert not passed
    assert found.endswith("is no node of the tailnet")


def test_other_ports_and_protocols_are_passed_over() -> None:
    """They are nothing of SSH's."""
    assert outcome(src=ALICE, accept=["tag:web:80"]) == []
    assert outcome(src=ALICE, accept=["tag:web:22"], proto="udp") == []
    assert len(outcome(src=ALICE, accept=["tag:web:22", "tag:web:443"], deny=["tag:db:22"], proto="tcp")) == 2


def test_what_decided_is_named() -> None:
    """For whoever has to change it."""
    assert outcome(src=ALICE, accept=["tag:web:22"]) == [(True, "accept", "acls 1")]
