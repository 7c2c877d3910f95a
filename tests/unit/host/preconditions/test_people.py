"""Preconditions about people, beyond the one case for each row that test_table.py has."""

import dataclasses

import pytest

from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Answer, Facts, HostAddress, Unknown
from pam_tailscale.host.preconditions import Action, judge
from tests.support.host_facts import (
    LAN0,
    TAILSCALE0,
    address,
    healthy,
    sockets,
    with_host,
    with_session,
    with_sshd,
)

HOST = healthy()
NO_WAY = with_host(HOST, ways_in=())


def rows(facts: Facts) -> dict[str, Action]:
    """The rows that apply."""
    return {finding.row: finding.action for finding in judge(facts, Answers())}


def with_addresses(*texts: str) -> Facts:
    """A host with these addresses on its LAN and none else but the tailnet's."""
    own = tuple(HostAddress(TAILSCALE0, one) for one in HOST.tailscaled.addresses)
    return with_host(HOST, addresses=(*own, *(HostAddress(LAN0, address(text)) for text in texts)))


def test_sshd_on_the_tailnet_alone() -> None:
    """A key helps nobody then; loopback is no way from elsewhere either."""
    facts = with_sshd(HOST, sockets=sockets("100.64.0.1", "fd7a:115c:a1e0::1", "127.0.0.1"))
    assert rows(facts) == {"no_other_way": Action.ASK}


@pytest.mark.parametrize("texts", [(), ("127.0.0.1", "::1"), ("fe80::1",), ("169.254.1.1",)])
def test_a_host_that_nobody_else_reaches(texts: tuple[str, ...]) -> None:
    """Loopback and link-local addresses are no way in."""
    assert rows(with_addresses(*texts)) == {"no_other_way": Action.ASK}


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "10.0.0.1", "fd00::1"])
def test_a_host_that_others_reach(text: str) -> None:
    """A public address or a private one."""
    assert rows(with_addresses(text)) == {}


def test_a_session_from_elsewhere_proves_a_way() -> None:
    """However it was let in."""
    assert rows(with_session(NO_WAY, client="192.0.2.7")) == {}


@pytest.mark.parametrize("client", ["192.0.2.7", "100.64.0.2"])
def test_a_session_that_is_closed_proves_nothing(client: str) -> None:
    """A terminal that outlived it may have been opened from anywhere since, over the tailnet, too."""
    facts = with_session(NO_WAY, client=client, is_open=False)
    assert rows(facts) == {"no_other_way": Action.ASK, "cut_off_unknown": Action.ASK}
    told = {finding.row: finding.what for finding in judge(facts, Answers())}
    assert "closed" in told["cut_off_unknown"]


def test_a_session_over_the_tailnet_proves_nothing() -> None:
    """It is the very way that may fail."""
    facts = with_session(NO_WAY, answer=Answer("allow", "accepted", "", can_tell=True))
    assert rows(facts) == {"no_other_way": Action.ASK}


def test_the_console_proves_a_way() -> None:
    """Whoever sits there."""
    assert rows(with_host(NO_WAY, console=True)) == {}


def test_who_is_let_in_is_asked_nothing() -> None:
    """Over the tailnet with an accepting rule, or a check that counts."""
    for reason in ("accepted", "check_passed"):
        assert rows(with_session(HOST, answer=Answer("allow", reason, "", can_tell=True))) == {}


def test_what_is_not_known_of_the_own_session_is_asked() -> None:
    """An agent that does not answer is no yes."""
    facts = with_session(HOST, answer=Unknown("the answer", "no agent"))
    assert rows(facts) == {"cut_off_unknown": Action.ASK}


@pytest.mark.parametrize("reason", ["not_pinned", "pin_mismatch", "pin_damaged"])
def test_before_the_pin_the_policy_cannot_be_asked(reason: str) -> None:
    """It is asked again by the same run, once the host is pinned."""
    facts = with_session(HOST, answer=Answer("deny", reason, "", can_tell=True))
    assert rows(facts) == {"asked_after_pinning": Action.HANDLE}


def test_the_answer_is_about_the_own_session_alone() -> None:
    """To be cut off is not to have no other way in."""
    facts = dataclasses.replace(with_session(NO_WAY, answer=Answer("deny", "no_rule", "", can_tell=True)))
    found = {finding.row: finding.action for finding in judge(facts, Answers(cut_me_off=True))}
    assert found == {"no_other_way": Action.ASK, "cut_off": Action.HANDLE}
