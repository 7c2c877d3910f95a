"""`explain`: the decision and every rule, with the exit status of the decision."""

from typing import Any

import pytest

from pam_tailscale.agent import report
from pam_tailscale.model import Reason
from pam_tailscale.policy.decision import decide_with_trace
from pam_tailscale.policy.facts import Facts, Problem
from tests.support.facts import ACCEPT, CHECK, LIMITS, NOW, REJECT, facts, knowledge, request, rule
from tests.unit.cli.conftest import Agents, Run, asked

ASK = ("explain", "alice", "--from", "100.64.0.7")


def document(found: Facts) -> dict[str, Any]:
    """What the agent tells of this login."""
    asked_for = request()
    decision, outcome = decide_with_trace(asked_for, found, LIMITS, NOW, "ab12")
    return report.explanation(asked_for, decision, outcome, NOW)


CASES: dict[str, tuple[Facts, int, str]] = {
    "allow": (facts(), 0, "allow: accepted, by rule 1 of netmap"),
    "deny": (facts(knowledge(rule({}, REJECT))), 1, "deny: rule_rejects, by rule 1 of netmap"),
    "no rule": (facts(knowledge(rule({"bob": "="}))), 1, "deny: user_not_in_rule"),
    "no account": (facts(account=None), 1, "deny: account_unknown"),
    "check": (facts(knowledge(rule({"*": "="}, CHECK))), 4, "check: check_needed, by rule 1 of netmap"),
    "cannot tell": (facts(peer=Problem(Reason.TAILSCALED_UNREACHABLE, "x")), 3, "deny: tailscaled_unreachable"),
    "starting": (facts(knowledge(problem=Problem(Reason.AGENT_STARTING, "x"))), 3, "deny: agent_starting"),
}


@pytest.mark.parametrize(("found", "status", "line"), CASES.values(), ids=CASES.keys())
def test_the_decision_is_the_exit_status(run: Run, agents: Agents, found: Facts, status: int, line: str) -> None:
    """And the first line; the same with JSON."""
    told = document(found)
    ran = run(*ASK, "--socket", agents.telling(told).path)
    assert (ran.status, ran.out.splitlines()[0], ran.err) == (status, line, "")
    ran = run(*ASK, "--json", "--socket", agents.telling(told).path)
    assert (ran.status, ran.document) == (status, told)


def test_what_is_asked(run: Run, agents: Agents) -> None:
    """Account, address, port, and a time in full."""
    agent = agents.telling(document(facts()))
    run("explain", "a\udcff", "--from", "[fd7a::7]:22", "--as-of", "2027-01-15T08:00:00+01:00", "--socket", agent.path)
    pairs = asked(agent)
    assert (pairs["request"], pairs["user"], pairs["client"], pairs["client_port"]) == (
        "explain",
        "a\udcff",
        "fd7a::7",
        "22",
    )
    assert pairs["as_of"].startswith("2027-01-15T")


def test_without_a_time_it_is_now(run: Run, agents: Agents) -> None:
    """The agent's now."""
    agent = agents.telling(document(facts()))
    run(*ASK, "--socket", agent.path)
    assert asked(agent)["as_of"] == ""


def test_every_rule_is_shown(run: Run, agents: Agents) -> None:
    """With the accounts it names and why it did not decide."""
    known = knowledge(
        rule({"*": "=", "root": ""}, ACCEPT, {"node": "other"}),
        rule({"deploy": "deploy", "ops": "deploy"}),
        rule({"alice": "="}, {"accept": True, "recorders": ["100.64.0.9:80"]}),
        rule({"*": "="}, ACCEPT, newField=1),
    )
    ran = run(*ASK, "--socket", agents.telling(document(facts(known))).path)
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    withheld = "allowAgentForwarding withheld, allowLocalPortForwarding withheld, allowRemotePortForwarding withheld"
    assert lines[-5:] == [
        "rule action accounts",
        "netmap 1 accept * but root is not about this peer",
        "netmap 2 accept deploy, ops as deploy is about this peer, but not for this account",
        f"netmap 3 accept alice matches; demands what cannot be enforced: recorders; by key alone: {withheld}",
        "netmap 4 accept * comes after the rule that decides; has unknown fields: newField",
    ]
    assert 'person reads tailscale: tailnet policy does not permit you to SSH as user "alice" (decision ab12)' in lines


def test_names_are_no_markup(run: Run, agents: Agents) -> None:
    """Policies are written by people, and devices named by anybody."""
    known = knowledge(rule({"[red]\x1b[31m": "=", "a\nb": "x"}))
    told = document(facts(known)) | {"node": "[blink]\x07"}
    ran = run(*ASK, "--socket", agents.telling(told).path)
    assert "[blink]\\x07" in ran.out
    assert "[red]\\x1b[31m, a\\nb as x" in ran.out
    assert "\x1b" not in ran.out
