"""The documents of the command line: what is wrong comes with what to do, and everything is ready for JSON."""

import dataclasses
import json
from typing import Any

import pytest

from pam_tailscale.agent import report
from pam_tailscale.agent.report import CANNOT_TELL, AgentState, NarrowState
from pam_tailscale.agent.sources import SourceState
from pam_tailscale.agent.store import STARTING, Snapshot
from pam_tailscale.model import Mode, Pin, Reason
from pam_tailscale.policy.decision import decide_with_trace
from pam_tailscale.policy.facts import Facts, Knowledge, Problem
from tests.support.facts import (
    ACCEPT,
    CHECK,
    CLIENT,
    LIMITS,
    NOW,
    PEER,
    PIN,
    REJECT,
    TAGGED,
    facts,
    knowledge,
    request,
    rule,
)

NOT_NARROWED = NarrowState("/etc/pam-tailscale/narrow.hujson", in_force=False)
AGENT = AgentState("0.1.0", Mode.ENFORCE, 60.4, "")


def snapshot(known: Knowledge, **changes: Any) -> Snapshot:
    """At some moment."""
    return dataclasses.replace(Snapshot(known, 3, age=0.0, bus_live=True, policy_age=12.34), **changes)


def status_of(
    agent: AgentState, found: Snapshot, pin: Pin | Problem, checks: str = "", **changes: Any
) -> dict[str, Any]:
    """Of a host whose only source is the netmap, and that narrows nothing, unless `changes` say so."""
    netmap = [SourceState(one.source, len(one.rules), found.policy_age) for one in found.knowledge.policies]
    sources = changes.get("sources", netmap)
    return report.status(agent, found, pin, sources, changes.get("narrow", NOT_NARROWED), checks)


def test_status_of_a_host_in_order() -> None:
    """Ready, and nothing to complain about."""
    document = status_of(AGENT, snapshot(knowledge(warnings=("careful",))), PIN)
    assert document == {
        "agent": {"version": "0.1.0", "mode": "enforce", "uptime_s": 60},
        "tailscaled": {
            "version": "1.104.5",
            "state": "Running",
            "control_url": "https://control.example",
            "node_id": "n1CNTRL",
            "tailnet_id": "tTAILNET",
            "addresses": ["100.64.0.1", "fd7a:115c:a1e0::1"],
            "bus": "live",
            "age_s": 0.0,
        },
        "sources": [{"name": "netmap", "rules": 1, "age_s": 12.3, "place": ""}],
        "narrow": {"path": "/etc/pam-tailscale/narrow.hujson", "in_force": False, "problem": ""},
        "pin": {"control_url": "https://control.example", "node_id": "n1CNTRL", "tailnet_id": "tTAILNET"},
        "problems": [],
        "warnings": ["careful"],
        "ready": True,
    }
    json.dumps(document, allow_nan=False)


WRONG: dict[str, tuple[AgentState, Knowledge, Pin | Problem, str]] = {
    "starting": (AGENT, STARTING, PIN, "has not heard from tailscaled"),
    "stopped": (AGENT, knowledge(backend_state="Stopped"), PIN, "run 'tailscale up'"),
    "not pinned": (AGENT, knowledge(), Problem(Reason.NOT_PINNED, "run pin"), "run pin"),
    "pinned elsewhere": (AGENT, knowledge(control_url="https://evil.example"), PIN, "pam-tailscale enable --repin"),
    "operator": (AGENT, knowledge(operator="bob"), PIN, "'bob' is tailscale's operator"),
    "no policy": (AGENT, knowledge(policy_problem=Problem(Reason.POLICY_SHAPE, "odd")), PIN, "odd"),
    "cached": (AGENT, knowledge(cached=True), PIN, "netmap of its disk"),
}


@pytest.mark.parametrize(("agent", "known", "pin", "text"), WRONG.values(), ids=WRONG.keys())
def test_each_thing_wrong_is_said(agent: AgentState, known: Knowledge, pin: Pin | Problem, text: str) -> None:
    """Once, and the host is not ready."""
    document = status_of(agent, snapshot(known), pin)
    assert len([one for one in document["problems"] if text in one]) == 1
    assert not document["ready"]
    json.dumps(document, allow_nan=False)


def test_a_damaged_configuration_is_a_warning() -> None:
    """The one before is in force, so logins are decided: to say that all are refused would be wrong."""
    damaged = dataclasses.replace(AGENT, config_error="agent.toml: line 3")
    document = status_of(damaged, snapshot(knowledge(warnings=("careful",))), PIN)
    assert (document["problems"], document["ready"]) == ([], True)
    assert "agent.toml: line 3" in document["warnings"][0]
    assert document["warnings"][1:] == ["careful"]


def test_checks_that_cannot_be_passed_are_a_warning() -> None:
    """Accept rules are decided all the same."""
    document = status_of(AGENT, snapshot(knowledge(warnings=("careful",))), PIN, "no machine key: do this")
    assert document["warnings"] == ["not every check can be passed at the moment: no machine key: do this", "careful"]
    assert document["ready"]


def test_sources_in_their_order() -> None:
    """Each with what there is to say of it; one without a policy keeps everybody out, a warning nobody."""
    file = SourceState("file", 3, 5.04, "/etc/pam-tailscale/tailnet-policy.hujson", warnings=("mend the file",))
    sources = [SourceState("grants", None, None, "acme.example/cap/ssh"), file]
    document = status_of(AGENT, snapshot(knowledge()), PIN, sources=sources)
    assert document["sources"] == [
        {"name": "grants", "rules": None, "age_s": None, "place": "acme.example/cap/ssh"},
        {"name": "file", "rules": 3, "age_s": 5.0, "place": "/etc/pam-tailscale/tailnet-policy.hujson"},
    ]
    assert (document["problems"], document["warnings"], document["ready"]) == ([], ["mend the file"], True)
    broken = SourceState("file", 0, None, "/etc/x", problem="/etc/x does not exist")
    document = status_of(AGENT, snapshot(knowledge()), PIN, sources=[broken])
    assert document["problems"] == ["the source file has no policy: /etc/x does not exist"]
    assert not document["ready"]


@pytest.mark.parametrize(("in_force", "ready"), [(True, True), (False, False)])
def test_a_damaged_narrowing_policy(*, in_force: bool, ready: bool) -> None:
    """With one before it in force a warning; without one nobody is let in."""
    document = status_of(AGENT, snapshot(knowledge()), PIN, narrow=NarrowState("/n", in_force, "/n:1:1: mend it"))
    assert document["ready"] is ready
    told = document["warnings" if ready else "problems"]
    assert len(told) == 1
    assert "/n:1:1: mend it" in told[0]
    assert document["narrow"] == {"path": "/n", "in_force": in_force, "problem": "/n:1:1: mend it"}


def test_an_explanation_has_what_is_known_of_checks() -> None:
    """Where the rule asks for one."""
    found = facts(knowledge(rule({"*": "="}, CHECK)))
    decision, outcome = decide_with_trace(request(), found, LIMITS, NOW, "x")
    document = report.explanation(request(), decision, outcome, NOW, {"by": "oidc"})
    assert (document["decision"], document["reason"], document["check"]) == ("check", "check_needed", {"by": "oidc"})
    assert document["can_tell"]
    assert document["person_reads"] == ""


def test_an_operator_who_may_be_root_is_no_problem() -> None:
    """The administrator has said so."""
    trusting = dataclasses.replace(AGENT, trust_operator=True)
    assert status_of(trusting, snapshot(knowledge(operator="bob")), PIN)["ready"]


def test_what_follows_from_another_problem_is_not_said_besides() -> None:
    """A tailscaled that cannot be asked is one problem, not four."""
    assert len(status_of(AGENT, snapshot(STARTING), PIN)["problems"]) == 1
    stopped = knowledge(backend_state="Stopped", policy_problem=Problem(Reason.POLICY_UNAVAILABLE, "x"))
    assert len(status_of(AGENT, snapshot(stopped), PIN)["problems"]) == 1


def test_a_bus_that_is_down_shows_the_age() -> None:
    """Of what is known."""
    document = status_of(AGENT, snapshot(knowledge(), bus_live=False, age=4.26), PIN)
    assert (document["tailscaled"]["bus"], document["tailscaled"]["age_s"]) == ("down", 4.3)


def test_whois() -> None:
    """A person's node, a tagged one, this one, nobody, and no answer."""
    assert report.whois(CLIENT, PEER, knowledge()) == {
        "address": "100.64.0.7",
        "known": True,
        "node": "laptop.tailnet.example",
        "stable_id": "n7CNTRL",
        "addresses": ["100.64.0.7", "fd7a:115c:a1e0::7"],
        "identity": "alice@example.com",
        "login": "alice@example.com",
        "tags": [],
        "expired": False,
        "self": False,
    }
    tagged = report.whois(CLIENT, TAGGED, knowledge())
    assert (tagged["identity"], tagged["login"], tagged["tags"]) == ("tag:ci", "", ["tag:ci"])
    assert report.whois(CLIENT, PEER, knowledge(node_id="n7CNTRL"))["self"]
    assert report.whois(CLIENT, None, knowledge()) == {"address": "100.64.0.7", "known": False}
    problem = Problem(Reason.TAILSCALED_UNREACHABLE, "no")
    assert report.whois(CLIENT, problem, knowledge()) == {"address": "100.64.0.7", "known": False, "problem": "no"}


def explain(found: Facts, user: str = "alice") -> dict[str, Any]:
    """The explanation of a login."""
    asked = request(user)
    decision, outcome = decide_with_trace(asked, found, LIMITS, NOW, "ab12")
    document = report.explanation(asked, decision, outcome, NOW)
    json.dumps(document, allow_nan=False)
    return document


def test_an_explanation_names_every_rule() -> None:
    """With why it did not decide."""
    known = knowledge(
        rule({"*": "="}, None),
        rule({"*": "="}, ACCEPT, ruleExpires="2026-01-01T00:00:00Z"),
        rule({"*": "="}, REJECT, {"node": "other"}),
        rule({"bob": "="}, CHECK),
        rule({"alice": "="}, {"accept": True}),
        rule({"*": "="}, ACCEPT, newField=1),
    )
    document = explain(facts(known))
    assert (document["decision"], document["reason"], document["rule"]) == ("allow", "accepted", 5)
    assert (document["from"], document["to"], document["as_of"]) == (
        "100.64.0.7:40000",
        "100.64.0.1",
        "2027-01-15T08:00:00+00:00",
    )
    assert (document["node"], document["identity"]) == ("laptop.tailnet.example", "alice@example.com")
    assert [(one["rule"], one["action"], one["outcome"], one["why"]) for one in document["rules"]] == [
        (1, "none", "no_action", "has no action"),
        (2, "accept", "expired", "expired at 2026-01-01T00:00:00+00:00"),
        (3, "reject", "principal", "is not about this peer"),
        (4, "check", "user", "is about this peer, but not for this account"),
        (5, "accept", "matched", "matches"),
        (6, "accept", "not_reached", "comes after the rule that decides"),
    ]
    assert len(document["rules"][4]["withheld"]) == 3
    assert document["rules"][2]["withheld"] == []
    assert document["detail"].startswith("by key alone")
    assert document["rules"][5]["unknown_fields"] == ["newField"]


def test_what_the_person_reads_is_part_of_it() -> None:
    """The very line."""
    assert explain(facts(account=None))["person_reads"] == (
        'tailscale: tailnet policy does not permit you to SSH as user "alice" (decision ab12)'
    )


@pytest.mark.parametrize("zone", ["Z", "+01:00"])
def test_gos_zero_time_can_be_explained(zone: str) -> None:
    """The earliest there is, and what lies before it."""
    known = knowledge(rule({"*": "="}, ACCEPT, ruleExpires=f"0001-01-01T00:00:00{zone}"))
    assert explain(facts(known))["rules"][0]["rule"] == 1


@pytest.mark.parametrize("reason", [Reason.AGENT_STARTING, Reason.TAILSCALED_UNREACHABLE, Reason.STATE_CHANGED])
def test_what_could_not_be_found_out_is_no_statement(reason: Reason) -> None:
    """The command's exit status differs."""
    document = explain(facts(peer=Problem(reason, "x")))
    assert reason in CANNOT_TELL
    assert not document["can_tell"]
    assert explain(facts(peer=None))["can_tell"]


def test_without_a_peer_there_are_no_rules() -> None:
    """And no names."""
    document = explain(facts(peer=None))
    assert (document["rules"], document["node"], document["identity"], document["rule"]) == ([], "", "", None)
