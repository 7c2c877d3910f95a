"""The table of preconditions, for somebody who only looks."""

import dataclasses

import pytest

from pam_tailscale.config import Config
from pam_tailscale.host.answers import Answers
from pam_tailscale.host.doctor.check import Check, State
from pam_tailscale.host.doctor.rows import SEEN_ELSEWHERE, when_off, when_on
from pam_tailscale.host.facts import Facts, Unknown
from pam_tailscale.host.preconditions import ROWS, judge
from tests.support.host_facts import STOCK, healthy, with_agent, with_config, with_host, with_sshd, with_tailscaled


def on(facts: Facts, answers: Answers | None = None) -> dict[str, Check]:
    """Checks of a host that is on, by name."""
    findings = judge(facts, answers or Answers())
    return {check.name: check for check in when_on(findings, root_allowed=facts.config.allow_root)}


def off(facts: Facts) -> dict[str, Check]:
    """The same of one that is off."""
    return {check.name: check for check in when_off(judge(facts, Answers()))}


def test_nothing_in_the_way() -> None:
    """One line says so."""
    assert [(name, check.state) for name, check in on(healthy()).items()] == [("preconditions", State.OK)]
    assert off(healthy())["preconditions"].what == "nothing is in the way of 'pam-tailscale enable'"


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (with_tailscaled(healthy(), operator="alice"), "operator"),
        (with_tailscaled(healthy(), run_ssh=True), "tailscale-ssh"),
        (with_tailscaled(healthy(), shields_up=True), "shields-up"),
        (with_tailscaled(healthy(), tun=False), "no-tun"),
        (with_agent(healthy(), problem="nobody answers"), "agent-down"),
        (with_config(healthy(), f05="Match Address 100.64.0.5\n PasswordAuthentication no\n"), "earlier-setting"),
        (dataclasses.replace(healthy(), pin=None), "first-pin"),
        (
            with_config(
                healthy(), "Include /etc/ssh/sshd_config.d/*.conf\nUsePAM yes\nAuthenticationMethods publickey\n"
            ),
            "one-method",
        ),
    ],
    ids=["operator", "own ssh", "shields", "no TUN", "agent", "a line", "no pin", "methods"],
)
def test_what_was_not_so_when_it_was_switched_on(facts: Facts, name: str) -> None:
    """Is a problem, with what follows and what mends it."""
    check = on(facts)[name]
    assert check.state is State.PROBLEM
    assert check.means
    assert check.mend


def test_what_keeps_nobody_in_or_out() -> None:
    """Is a warning: no other way in, or what the agent itself warns of."""
    assert on(with_host(healthy(), ways_in=()))["no-other-way"].state is State.WARNING
    assert on(with_agent(healthy(), warnings=("a check fails",)))["agent-warns"].state is State.WARNING


def test_what_was_answered_stays_answered() -> None:
    """By what was remembered when it was switched on."""
    assert set(on(with_host(healthy(), ways_in=()), Answers(no_other_way=True))) == {"preconditions"}


def test_root_that_sshd_config_keeps_out() -> None:
    """Since the host was switched on: the drop-in lets root in, so the agent has to know."""
    said = with_config(healthy(), f"{STOCK}PermitRootLogin no\n")
    assert on(said)["root-kept-out"].state is State.PROBLEM
    told = dataclasses.replace(said, config=Config(allow_root=False))
    assert set(on(told)) == {"preconditions"}
    assert set(on(said, Answers(allow_root=True))) == {"preconditions"}


def test_what_is_not_known() -> None:
    """Is said, on and off."""
    facts = dataclasses.replace(healthy(), unknown=(Unknown("this host's addresses", "no netlink"),))
    assert on(facts)["unknown"].state is off(facts)["unknown"].state is State.UNKNOWN


def test_off_says_what_enable_would() -> None:
    """What it refuses is a problem, what it asks a warning, and what it sees to itself nothing."""
    assert off(with_tailscaled(healthy(), run_ssh=True))["tailscale-ssh"].means.startswith("enable refuses: ")
    assert off(with_host(healthy(), ways_in=()))["no-other-way"].state is State.WARNING
    assert set(off(with_sshd(healthy(), listener=None))) == {"preconditions"}


def test_every_row_that_is_seen_elsewhere_exists() -> None:
    """A row that is renamed would be told twice."""
    assert {row.name for row in ROWS} >= SEEN_ELSEWHERE
