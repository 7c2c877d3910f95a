"""`whois`: who is at an address."""

import dataclasses

from pam_tailscale.agent import report
from pam_tailscale.model import Reason
from pam_tailscale.policy.facts import Problem
from tests.support.facts import CLIENT, PEER, TAGGED, knowledge
from tests.unit.cli.conftest import Agents, Run, asked


def test_a_person_is_0(run: Run, agents: Agents) -> None:
    """Node, login, addresses."""
    agent = agents.telling(report.whois(CLIENT, PEER, knowledge()))
    ran = run("whois", "100.64.0.7:40000", "--socket", agent.path)
    assert (ran.status, ran.err) == (0, "")
    assert [line.rstrip() for line in ran.out.splitlines()] == [
        "node       laptop.tailnet.example (n7CNTRL)",
        "login      alice@example.com",
        "addresses  100.64.0.7, fd7a:115c:a1e0::7",
        "key        valid",
    ]
    assert asked(agent) == {"request": "whois", "client": "100.64.0.7", "client_port": "40000"}


def test_a_tagged_node_has_no_login(run: Run, agents: Agents) -> None:
    """And an expired key is said."""
    peer = dataclasses.replace(TAGGED, expired=True)
    ran = run("whois", "100.64.0.7", "--socket", agents.telling(report.whois(CLIENT, peer, knowledge())).path)
    assert "tagged-devices" not in ran.out
    assert "tag:ci" in ran.out
    assert "expired" in ran.out


def test_this_host_is_said(run: Run, agents: Agents) -> None:
    """It is nobody who may log in."""
    told = report.whois(CLIENT, PEER, knowledge(node_id=PEER.stable_id))
    assert "this host itself" in run("whois", "100.64.0.7", "--socket", agents.telling(told).path).out


def test_nobody_is_1(run: Run, agents: Agents) -> None:
    """An answer as well."""
    ran = run("whois", "100.64.0.7", "--socket", agents.telling(report.whois(CLIENT, None, knowledge())).path)
    assert (ran.status, ran.out, ran.err) == (1, "tailscaled knows nobody at 100.64.0.7\n", "")


def test_no_answer_is_3(run: Run, agents: Agents) -> None:
    """On standard error; JSON has it as well."""
    told = report.whois(CLIENT, Problem(Reason.TAILSCALED_UNREACHABLE, "no tailscaled"), knowledge())
    ran = run("whois", "100.64.0.7", "--socket", agents.telling(told).path)
    assert (ran.status, ran.out, ran.err) == (3, "", "pam-tailscale: no tailscaled\n")
    ran = run("whois", "100.64.0.7", "--json", "--socket", agents.telling(told).path)
    assert (ran.status, ran.document) == (3, told)


def test_names_are_no_markup(run: Run, agents: Agents) -> None:
    """A device may have any name."""
    peer = dataclasses.replace(PEER, name="[bold]x\x1b[31m\n", login="[/red]")
    ran = run("whois", "100.64.0.7", "--socket", agents.telling(report.whois(CLIENT, peer, knowledge())).path)
    assert "[bold]x\\x1b[31m\\n (n7CNTRL)" in ran.out
    assert "[/red]" in ran.out
