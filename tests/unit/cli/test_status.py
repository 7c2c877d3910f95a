"""`status`: how things stand, and an exit status that scripts can use."""

import dataclasses
from typing import Any

import pytest

from pam_tailscale.agent import report
from pam_tailscale.agent.report import AgentState, NarrowState
from pam_tailscale.agent.sources import SourceState
from pam_tailscale.agent.store import STARTING, Snapshot
from pam_tailscale.model import Mode, Pin, Reason
from pam_tailscale.policy.facts import Problem
from tests.support.facts import PIN, knowledge
from tests.unit.cli.conftest import Agents, Run, asked

NOT_NARROWED = NarrowState("/etc/pam-tailscale/narrow.hujson", in_force=False)
AGENT = AgentState("0.1.0", Mode.ENFORCE, 7300.0, "")


def document(**changes: Any) -> dict[str, Any]:
    """What the agent tells of a host in order."""
    snapshot = Snapshot(knowledge(), 1, age=0.0, bus_live=True, policy_age=90.0)
    return told(dataclasses.replace(snapshot, **changes), PIN, SourceState("netmap", 1, 90.0))


def told(
    snapshot: Snapshot, pin: Pin | Problem, *sources: SourceState, narrow: NarrowState = NOT_NARROWED
) -> dict[str, Any]:
    """What the agent tells."""
    return report.status(AGENT, snapshot, pin, sources, narrow)


def test_in_order_is_0(run: Run, agents: Agents) -> None:
    """All there is to know, on one screen."""
    agent = agents.telling(document())
    ran = run("status", "--socket", agent.path)
    assert (ran.status, ran.err) == (0, "")
    assert [line.rstrip() for line in ran.out.splitlines()] == [
        "agent          0.1.0, mode enforce, up 2 h",
        "tailscaled     1.104.5, Running, bus live",
        "this node      n1CNTRL at 100.64.0.1, fd7a:115c:a1e0::1",
        "control plane  https://control.example",
        "policy         netmap, rules: 1, read 90 s ago",
        "narrowed by    nothing",
        "pin            n1CNTRL at https://control.example",
        "ready: logins over the tailnet are decided by its policy",
    ]
    assert asked(agent) == {"request": "status"}


def test_every_source_and_what_narrows(run: Run, agents: Agents) -> None:
    """In their order, each with where it is."""
    snapshot = Snapshot(knowledge(), 1, age=0.0, bus_live=True, policy_age=90.0)
    file = SourceState("file", 12, 30.0, "/etc/pam-tailscale/tailnet-policy.hujson")
    sources = (SourceState("grants", None, None, "acme.example/cap/ssh"), file, SourceState("file", 0, None, "/x"))
    narrow = NarrowState("/etc/pam-tailscale/narrow.hujson", in_force=True)
    ran = run("status", "--socket", agents.telling(told(snapshot, PIN, *sources, narrow=narrow)).path)
    text = " ".join(ran.out.split())
    assert "policy grants acme.example/cap/ssh, read at each login; file /etc/" in text
    assert "tailnet-policy.hujson, rules: 12, read 30 s ago; file /x, rules: 0" in text
    assert "narrowed by /etc/pam-tailscale/narrow.hujson" in text


def test_json_is_the_agents_document(run: Run, agents: Agents) -> None:
    """As it is, with the same exit status."""
    shown = document(knowledge=knowledge(cached=True))
    ran = run("status", "--json", "--socket", agents.telling(shown).path)
    assert (ran.status, ran.document) == (1, shown)


def test_not_in_order_is_1(run: Run, agents: Agents) -> None:
    """With every problem, and what it means."""
    starting = told(Snapshot(STARTING, 0, 0.0, bus_live=False, policy_age=0.0), Problem(Reason.NOT_PINNED, "pin it"))
    ran = run("status", "--socket", agents.telling(starting).path)
    assert ran.status == 1
    assert "not heard of yet" in ran.out
    assert "problem: the agent has not heard from tailscaled yet" in ran.out
    assert "problem: pin it" in ran.out
    assert "not ready: every login over the tailnet is refused" in ran.out


def test_a_silent_bus_and_warnings_are_shown(run: Run, agents: Agents) -> None:
    """They do not make it unready."""
    shown = document(bus_live=False, age=30.0, knowledge=knowledge(warnings=("shields are up",)))
    ran = run("status", "--socket", agents.telling(shown).path)
    assert ran.status == 0
    assert "bus not heard, last known 30 s ago" in ran.out
    assert "warning: shields are up" in ran.out


@pytest.mark.parametrize("name", ["[red]x", "\x1b[2J", "a\nready: yes"])
def test_what_tailscaled_says_is_no_markup(run: Run, agents: Agents, name: str) -> None:
    """Nor a line of its own."""
    shown = document(knowledge=knowledge(version=name, warnings=(name,)))
    plain = run("status", "--socket", agents.telling(document(knowledge=knowledge(warnings=("x",)))).path)
    ran = run("status", "--socket", agents.telling(shown).path)
    assert "\x1b" not in ran.out
    assert len(ran.out.splitlines()) == len(plain.out.splitlines())
    assert name.replace("\x1b", "\\x1b").replace("\n", "\\n") in ran.out
