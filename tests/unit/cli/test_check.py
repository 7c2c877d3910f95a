"""`check`: who has passed one, what is pending, and forgetting."""

from typing import Any

import pytest

from tests.unit.cli.conftest import Agents, Run, asked

DOCUMENT: dict[str, Any] = {
    "by": "oidc",
    "period": "12 h",
    "problem": "",
    "valid": [
        {
            "person": "alice@example.com",
            "node": "",
            "by": "oidc",
            "at": "2027-01-15T08:00:00+00:00",
            "until": "2027-01-15T20:00:00+00:00",
        }
    ],
    "pending": [
        {"person": "bob@example.com", "node": "laptop\x1b[2J", "since": "2027-01-15T08:01:00+00:00", "waiting": 1}
    ],
}


def test_who_has_passed_and_what_is_pending(run: Run, agents: Agents) -> None:
    """As tables, in which nothing obeys a terminal."""
    agent = agents.telling(DOCUMENT)
    ran = run("check", "--socket", agent.path)
    assert (ran.status, ran.err, asked(agent)["request"]) == (0, "", "checks")
    lines = [line.split() for line in ran.out.splitlines()]
    assert ["alice@example.com", "oidc", "2027-01-15T08:00:00+00:00", "2027-01-15T20:00:00+00:00"] in lines
    assert ["bob@example.com", "laptop\\x1b[2J", "2027-01-15T08:01:00+00:00", "1"] in lines


def test_the_same_for_programs(run: Run, agents: Agents) -> None:
    """One document."""
    ran = run("check", "--json", "--socket", agents.telling(DOCUMENT).path)
    assert (ran.status, ran.document) == (0, DOCUMENT)


def test_nobody_and_a_problem(run: Run, agents: Agents) -> None:
    """What is wrong comes with what to do."""
    told = DOCUMENT | {"valid": [], "pending": [], "problem": "the provider is down: start it"}
    ran = run("check", "--socket", agents.telling(told).path)
    assert "nobody has passed a check that counts" in ran.out
    assert "the provider is down: start it" in ran.out
    assert "pending" not in ran.out


@pytest.mark.parametrize(("missed", "status"), [([], 0), (["other hosts: tell them"], 1)])
def test_forgetting(run: Run, agents: Agents, missed: list[str], status: int) -> None:
    """Says what was not reached, and exits accordingly."""
    told = {"person": "alice@example.com", "not_reached": missed}
    agent = agents.telling(told)
    ran = run("check", "--forget", "alice@example.com", "--socket", agent.path)
    assert (ran.status, ran.err) == (status, "")
    assert ran.out.splitlines()[0] == "forgotten on this host: every check of alice@example.com"
    assert ran.out.splitlines()[1:] == [f"not reached: {one}" for one in missed]
    pairs = asked(agent)
    assert (pairs["request"], pairs["person"]) == ("forget", "alice@example.com")
    ran = run("check", "--forget", "alice@example.com", "--json", "--socket", agents.telling(told).path)
    assert (ran.status, ran.document) == (status, told)
