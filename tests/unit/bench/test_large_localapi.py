"""The large tailnet of the benchmark, and the people in it who are checked."""

import functools

import pytest

from bench.large_localapi import CHECKED, CLIENT, RULES, PreparedTailnet, checked_client, prepared

CONTROL = "http://127.0.0.1:8443"
DELEGATE = f"{CONTROL}/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID"


@functools.cache
def tailnet(*control: str) -> PreparedTailnet:
    """Made once: it has 10,000 nodes."""
    return prepared(*control)


@pytest.mark.parametrize(
    ("control", "url", "checks"),
    [
        pytest.param((), "https://control.tailnet.example", 0, id="no control plane to ask"),
        pytest.param((CONTROL, DELEGATE), CONTROL, len(CHECKED), id="one that is asked"),
    ],
)
def test_only_a_control_plane_of_its_own_brings_check_rules(control: tuple[str, ...], url: str, checks: int) -> None:
    """All other figures are measured with the rules they always had."""
    found = tailnet(*control)
    # PreparedTailnet has put one rule in front, which comes and goes.
    delegates = [rule["action"].get("holdAndDelegate") for rule in found.rules or []]
    assert found.prefs["ControlURL"] == url
    assert len(delegates) == 1 + RULES + checks
    assert delegates[1 + RULES :] == [DELEGATE] * checks
    assert not any(delegates[: 1 + RULES])


def test_a_rule_of_its_own_checks_each_of_a_thousand_people() -> None:
    """One pending check belongs to a person and a node: so that there can be a thousand, nobody may be there twice."""
    found = tailnet(CONTROL, DELEGATE)
    peers = [found.peers[number] for number in CHECKED]
    principals = [rule["principals"][0]["nodeIP"] for rule in (found.rules or [])[1 + RULES :]]
    assert len({peer.login for peer in peers}) == len(CHECKED) == 1000
    assert [checked_client(number) for number in CHECKED] == [peer.addresses[0] for peer in peers] == principals
    assert CLIENT not in principals
