"""Preconditions about tailscaled and the agent, beyond the one case for each row that test_table.py has."""

import dataclasses

import pytest

from pam_tailscale.config import Config
from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Facts, HostAddress, Interface
from pam_tailscale.host.preconditions import Action, judge
from pam_tailscale.host.preconditions.tailnet import words
from tests.support.host_facts import (
    OTHER_PIN,
    PIN,
    TAILSCALE0,
    address,
    healthy,
    with_agent,
    with_host,
    with_tailscaled,
)

HOST = healthy()


def rows(facts: Facts, answers: Answers | None = None) -> dict[str, Action]:
    """The rows that apply."""
    return {finding.row: finding.action for finding in judge(facts, answers or Answers())}


def test_a_tailscaled_that_is_down_is_told_once() -> None:
    """Not the interface, not the state, not what the agent says of it."""
    down = with_tailscaled(HOST, problem="cannot reach", state="", now=None, addresses=(), interface=None)
    assert rows(with_agent(down, problems=("cannot reach", "no policy"))) == {"tailscaled_unreachable": Action.REFUSE}


@pytest.mark.parametrize("change", [{"logged_out": True}, {"state": "Stopped"}, {"state": "Starting"}])
def test_a_node_that_is_not_up_is_told_once(change: dict[str, object]) -> None:
    """Nor is a first pin promised."""
    facts = with_agent(with_tailscaled(HOST, now=None, interface=None, **change), problems=("tailscaled is in state",))
    assert len(rows(facts)) == 1


def test_what_the_agent_says_of_an_operator_is_told_once() -> None:
    """By the setting; one that was, which only the agent remembers, by the agent."""
    assert rows(with_agent(with_tailscaled(HOST, operator="bob"), problems=("the account 'bob' is",))) == {
        "operator": Action.REFUSE
    }
    assert rows(with_agent(HOST, problems=("the account 'bob' was",))) == {"cannot_decide": Action.REFUSE}


def test_userspace_networking_has_no_interface_of_its_own() -> None:
    """That is told by its cause alone."""
    assert rows(with_tailscaled(HOST, tun=False, interface=None)) == {"no_tun": Action.REFUSE}


def test_the_ranges_on_the_tailnets_own_interface_are_fine() -> None:
    """Also a second address of the range, which tailscaled gives to services."""
    more = HostAddress(TAILSCALE0, address("100.100.100.100"))
    assert rows(with_host(HOST, addresses=(*HOST.host.addresses, more))) == {}


@pytest.mark.parametrize("text", ["100.127.0.1", "fd7a:115c:a1e0:ffff::1"])
def test_the_ranges_on_another_interface(text: str) -> None:
    """A provider's network in 100.64.0.0/10, or the loopback interface."""
    more = HostAddress(Interface("lo", 1), address(text))
    assert rows(with_host(HOST, addresses=(*HOST.host.addresses, more))) == {"range_elsewhere": Action.REFUSE}


def test_an_agent_that_still_observes() -> None:
    """The file says enforce again, and the agent has not read it."""
    assert rows(with_agent(HOST, mode="observe")) == {"observes": Action.REFUSE}


def test_the_same_pin_is_nothing_to_tell() -> None:
    """So that a second run asks nothing."""
    assert rows(dataclasses.replace(HOST, pin=PIN)) == {}


def test_another_pin_is_told_with_both() -> None:
    """Whoever answers sees where the host was and where it would go."""
    (finding,) = judge(dataclasses.replace(HOST, pin=OTHER_PIN), Answers())
    assert words(PIN) in finding.what
    assert words(OTHER_PIN) in finding.what
    assert finding.what.index(words(OTHER_PIN)) < finding.what.index(words(PIN))


def test_a_damaged_pin_is_not_the_first_one() -> None:
    """Nobody may make a host forget what it was pinned to by damaging the file."""
    assert rows(dataclasses.replace(HOST, pin=None, pin_problem="damaged")) == {"damaged_pin": Action.ASK}


def test_a_pin_in_words() -> None:
    """With a tailnet where the control plane has ids for them."""
    assert words(PIN) == "node nHostCNTRL of https://control.tailnet.example, tailnet tExampleCNTRL"
    assert words(OTHER_PIN) == "node nOtherCNTRL of https://elsewhere.example"


def test_an_operator_who_is_trusted_is_told_all_the_same() -> None:
    """It is one more way to root."""
    facts = dataclasses.replace(with_tailscaled(HOST, operator="bob"), config=Config(trust_operator=True))
    assert rows(facts) == {"operator_trusted": Action.HANDLE}
