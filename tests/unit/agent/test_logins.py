"""Logins under a check rule: what each method and phase comes to, and that nobody gets in without evidence."""

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from pam_tailscale import wire
from pam_tailscale.agent.checking import Checking
from pam_tailscale.agent.gather import Gatherer
from pam_tailscale.agent.journal import Journal
from pam_tailscale.agent.logins import Logins
from pam_tailscale.agent.server import Channel
from pam_tailscale.check.flow import Passed, Refused, Trouble
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.check.passes import KEEP
from pam_tailscale.model import Connection, Decision, Method, Mode, Phase, Reason, Request, Verdict
from pam_tailscale.policy.facts import Facts, Limits
from pam_tailscale.policy.rules import Policy, Rule
from tests.support.checks import PAGE, ScriptedProvider, Shim, hold
from tests.support.facts import ACCEPT, CHECK, LIMITS, PEER, facts, knowledge, request, rule

CHECKED = facts(knowledge(rule({"*": "="}, CHECK)))
NONE = request(interface=7)
KEYBOARD = dataclasses.replace(NONE, method=Method.KEYBOARD)
KEY = dataclasses.replace(NONE, method=Method.PUBLICKEY, interface=None, key="AAAAC3")
ACCOUNT = dataclasses.replace(NONE, method=Method.UNKNOWN, phase=Phase.ACCOUNT)
SESSION = dataclasses.replace(NONE, method=Method.UNKNOWN, phase=Phase.SESSION, key=KEY.key)


class Desk:
    """An agent's logins, with a provider that does as it is told."""

    def __init__(self, store: Path) -> None:
        self.found: Facts = CHECKED
        self.limits: Limits = LIMITS
        self.provider = ScriptedProvider()
        self.written: list[tuple[Decision, str]] = []
        self.local = SqliteStore(store)
        self.checking = Checking(self.provider, self.local, scope="scope", period=3600.0)
        self.logins = Logins(
            cast("Gatherer", self),
            cast("Journal", self),
            lambda: self.limits,
            self.checking,
            2,
            lambda url: f"[{url}]\n",
        )
        self.logins.room.start()
        self._shims: list[Shim] = []

    def gather(self, request: Request) -> Facts:
        """As the gatherer does."""
        assert request.user == "alice"
        return self.found

    def write(self, decision: Decision, request: Request, milliseconds: float, provider: str) -> None:
        """As the journal does."""
        assert milliseconds >= 0
        assert request.user == "alice"
        self.written.append((decision, provider))

    def ask(self, login: Request) -> Shim:
        """Ask as a shim does."""
        shim = Shim()
        self._shims.append(shim)
        channel = Channel(shim.agents)
        self.logins.answer(login, channel)
        if not channel.kept:
            shim.agents.close()
        return shim

    def verdict(self, login: Request) -> str:
        """The word a shim gets, all at once."""
        heard = self.ask(login).hear()
        while heard[wire.KEY_ANSWER] == wire.ANSWER_INFO:
            heard = self._shims[-1].hear()
        return heard[wire.KEY_VERDICT]

    @property
    def reason(self) -> Reason:
        """Why the last decision came out as it did."""
        return self.written[-1][0].reason

    def close(self) -> None:
        """End all of it."""
        self.logins.room.stop()
        self.local.close()
        for shim in self._shims:
            shim.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """In order; nobody has passed a check."""
    made = Desk(tmp_path / "checks.db")
    yield made
    made.close()


@pytest.mark.parametrize("login", [NONE, KEY], ids=["none", "publickey"])
def test_a_method_that_cannot_show_a_page_is_told_that_a_check_is_needed(desk: Desk, login: Request) -> None:
    """At once, without beginning one: BatchMode and scripts must not send anybody anywhere."""
    assert desk.verdict(login) == "check"
    assert desk.reason is Reason.CHECK_NEEDED
    assert desk.written[-1][1] == "oidc"
    assert "begin" not in desk.provider.questions


def test_a_person_is_sent_to_the_page_and_let_in_once_they_approved(desk: Desk) -> None:
    """Prompt, Enter, approval, and then account and session of the same connection."""
    shim = desk.ask(KEYBOARD)
    prompt = shim.hear()
    assert prompt[wire.KEY_ANSWER] == wire.ANSWER_PROMPT
    assert prompt[wire.KEY_TEXT].startswith(f"open {PAGE}\n[{PAGE}]\nPress Enter")
    shim.press_enter()
    desk.provider.approve(Passed("welcome"))
    assert (shim.hear()[wire.KEY_TEXT], shim.hear()[wire.KEY_VERDICT]) == ("welcome", "allow")
    assert desk.reason is Reason.CHECK_PASSED
    assert [desk.verdict(login) for login in (ACCOUNT, SESSION)] == ["allow", "allow"]
    provider, moment = desk.local.last_passed(PEER.login, PEER.stable_id) or ("", 0.0)
    assert provider == "oidc"
    assert abs(moment - time.time()) < 60


def test_what_is_remembered_here_lets_in_without_asking_anybody(desk: Desk) -> None:
    """By each method, and again in each phase: evidence that is forgotten in between counts no more."""
    desk.provider.recalled = Passed(authenticated=1.0)
    for login in (NONE, ACCOUNT, SESSION):
        assert desk.verdict(login) == "allow"
    assert set(desk.provider.questions) == {"recall"}
    assert desk.verdict(NONE) == "allow"
    desk.provider.recalled = None
    assert desk.verdict(ACCOUNT) == "deny"


def test_what_is_remembered_elsewhere_lets_in_without_a_prompt(desk: Desk) -> None:
    """At `none`, so also in BatchMode."""
    desk.provider.asked = Passed()
    assert desk.verdict(NONE) == "allow"
    assert desk.verdict(ACCOUNT) == "allow"


@pytest.mark.parametrize("login", [ACCOUNT, SESSION], ids=["account", "session"])
def test_without_a_passed_check_there_is_no_account(desk: Desk, login: Request) -> None:
    """Whatever sshd has taken for a method that succeeded; and nobody is asked there."""
    assert desk.verdict(login) == "deny"
    assert desk.reason is Reason.CHECK_NEEDED
    assert set(desk.provider.questions) == {"recall"}


def passed(desk: Desk) -> None:
    """The usual connection passes its check."""
    desk.provider.asked = Passed()
    assert desk.verdict(NONE) == "allow"
    desk.provider.asked = None


@pytest.mark.parametrize(
    "change",
    [
        {"client_port": 40001},
        {"server_port": 2222},
    ],
    ids=str,
)
def test_a_pass_is_one_connections(desk: Desk, change: dict[str, Any]) -> None:
    """Another one of the same person has to pass its own, or find evidence."""
    passed(desk)
    other = dataclasses.replace(ACCOUNT, connection=dataclasses.replace(ACCOUNT.connection, **change))
    assert desk.verdict(other) == "deny"


def test_a_pass_is_for_the_rule_it_was_given_for(desk: Desk) -> None:
    """A policy that changed in between asks anew; one that accepts now lets in."""
    passed(desk)
    desk.found = facts(knowledge(rule({"*": "="}, {"holdAndDelegate": "https://unused/other"})))
    assert desk.verdict(ACCOUNT) == "deny"
    desk.found = facts(knowledge(rule({"*": "="}, ACCEPT)))
    assert desk.verdict(ACCOUNT) == "allow"


def test_a_pass_is_for_the_person_it_was_given_to(desk: Desk) -> None:
    """The address may have been given to somebody else's node meanwhile."""
    passed(desk)
    others: list[dict[str, Any]] = [{"login": "bob@example.com"}, {"stable_id": "n8CNTRL"}]
    for other in others:
        desk.found = dataclasses.replace(CHECKED, peer=dataclasses.replace(PEER, **other))
        assert desk.verdict(ACCOUNT) == "deny"


def test_a_pass_ends_with_the_session(desk: Desk) -> None:
    """The connection's numbers may come again."""
    passed(desk)
    assert [desk.verdict(login) for login in (ACCOUNT, SESSION, ACCOUNT)] == ["allow", "allow", "deny"]


def test_a_pass_ends_with_its_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then sshd has asked for the account, which it does at once."""
    passed(desk)
    later = time.monotonic() + KEEP + 1
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert desk.verdict(ACCOUNT) == "deny"


def test_forgetting_voids_a_pass_and_ends_the_waiting(desk: Desk) -> None:
    """Of this person, and of nobody else."""
    passed(desk)
    shim = desk.ask(KEYBOARD)
    shim.hear()
    desk.logins.forget("bob@example.com")
    assert desk.verdict(ACCOUNT) == "allow"
    desk.logins.forget(PEER.login)
    assert desk.verdict(ACCOUNT) == "deny"
    shim.press_enter()
    assert shim.hear()[wire.KEY_VERDICT] == "deny"


REFUSED = {
    "rejected": (
        Refused(Reason.CHECK_REJECTED, "for the administrator", "ask bob"),
        "ask bob\ntailscale: tailnet policy does not permit",
    ),
    "wrong person": (Refused(Reason.CHECK_WRONG_PERSON, "mallory"), "tailscale: tailnet policy does not permit"),
    "unavailable": (Trouble("down"), "tailscale: this host cannot ask"),
}


@pytest.mark.parametrize(("answer", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_a_refusal_is_told_once_with_its_reason_in_the_journal(
    desk: Desk, answer: Refused | Trouble, text: str
) -> None:
    """What the administrator reads is not what the person reads."""
    desk.provider.begun = answer
    heard = desk.ask(KEYBOARD).hear()
    assert heard[wire.KEY_VERDICT] == "deny"
    assert heard[wire.KEY_TEXT].startswith(text)
    decision, _ = desk.written[-1]
    assert decision.detail == answer.detail
    assert decision.detail not in heard[wire.KEY_TEXT]
    assert heard[wire.KEY_ID] == decision.id


def test_who_waits_beyond_the_bound_is_told_where_to_go(desk: Desk) -> None:
    """And holds no place of sshd's."""
    waiting = [desk.ask(dataclasses.replace(KEYBOARD, connection=_from_port(port))) for port in (1, 2)]
    for shim in waiting:
        shim.hear()
    heard = desk.ask(KEYBOARD).hear()
    assert heard[wire.KEY_VERDICT] == "deny"
    assert PAGE in heard[wire.KEY_TEXT]
    assert desk.reason is Reason.CHECK_BUSY


def _from_port(port: int) -> Connection:
    return dataclasses.replace(KEYBOARD.connection, client_port=port)


def test_one_method_a_connection_holds_for_checks_too(desk: Desk) -> None:
    """The policy does not satisfy two required methods because one of them was a check."""
    passed(desk)
    desk.provider.asked = Passed()
    assert desk.verdict(KEY) == "deny"
    assert desk.reason is Reason.SECOND_METHOD


def test_a_key_is_asked_about_twice_and_passes_once(desk: Desk) -> None:
    """Sshd asks without the signature and with it: the second is no second check, and lets in no other method."""
    desk.provider.asked = Passed()
    assert desk.verdict(KEY) == "allow"
    desk.provider.asked = None
    assert desk.verdict(KEY) == "allow"
    assert desk.provider.questions.count("ask") == 1
    assert desk.verdict(NONE) == "check"
    assert desk.verdict(ACCOUNT) == "allow"


def test_a_host_that_observes_asks_nobody(desk: Desk) -> None:
    """It says what would have been asked."""
    desk.limits = dataclasses.replace(LIMITS, mode=Mode.OBSERVE)
    observed = dataclasses.replace(SESSION, mode=Mode.OBSERVE)
    assert desk.verdict(observed) == "check"
    assert desk.written[-1][0].verdict is Verdict.CHECK
    desk.provider.recalled = Passed()
    assert desk.verdict(observed) == "allow"
    assert set(desk.provider.questions) == {"recall"}


def test_strangers_ask_nobody(desk: Desk) -> None:
    """Steps 0 to 5 come first."""
    desk.found = dataclasses.replace(CHECKED, peer=None)
    for login in (NONE, KEYBOARD, KEY):
        assert desk.verdict(login) == "deny"
    assert desk.provider.questions == []


def test_the_log_says_who_was_shown_a_page_and_not_which(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The page's address is as good as the code in it."""
    desk.provider.begun = hold("the-ticket")
    with caplog.at_level("INFO"):
        desk.ask(KEYBOARD).hear()
    assert f"check=shown id={'' if not desk.written else desk.written[-1][0].id}" in caplog.text
    assert repr(PEER.login) in caplog.text
    assert PAGE not in caplog.text
    assert "the-ticket" not in caplog.text


NO_AGENT = ACCEPT | {"allowAgentForwarding": False}
LIMITED = facts(knowledge(rule({"*": "="}, NO_AGENT)))
FREE = facts(knowledge(rule({"*": "="}, ACCEPT)))
OPTIONS = "restrict,port-forwarding,pty"


def let_in_by_key(desk: Desk) -> None:
    """As sshd asks: without the signature and with it."""
    for _ in range(2):
        heard = desk.ask(KEY).hear()
        assert (heard[wire.KEY_VERDICT], heard[wire.KEY_OPTIONS]) == ("limited", OPTIONS)


def test_a_key_is_let_in_behind_the_options_of_its_rule(desk: Desk) -> None:
    """Account and session then hear the usual word, once each."""
    desk.found = LIMITED
    let_in_by_key(desk)
    assert desk.written[-1][0].verdict is Verdict.ALLOW
    for login in (ACCOUNT, SESSION):
        heard = desk.ask(login).hear()
        assert heard[wire.KEY_VERDICT] == "allow"
        assert wire.KEY_OPTIONS not in heard
    assert desk.verdict(SESSION) == "deny"


@pytest.mark.parametrize("login", [NONE, KEYBOARD], ids=["none", "keyboard-interactive"])
def test_a_method_that_cannot_limit_is_refused_and_says_which_can(desk: Desk, login: Request) -> None:
    """And the key is let in on the same connection."""
    desk.found = LIMITED
    heard = desk.ask(login).hear()
    assert heard[wire.KEY_VERDICT] == "deny"
    assert heard[wire.KEY_TEXT].startswith("tailscale: your rule lets you in by key alone")
    assert desk.reason is Reason.METHOD_CANNOT_LIMIT
    assert "allowAgentForwarding withheld" in desk.written[-1][0].detail
    assert desk.verdict(ACCOUNT) == "deny"
    let_in_by_key(desk)
    assert desk.verdict(ACCOUNT) == "allow"


@pytest.mark.parametrize("login", [NONE, KEYBOARD, KEY], ids=["none", "keyboard-interactive", "publickey"])
def test_a_rule_without_limits_is_answered_as_ever(desk: Desk, login: Request) -> None:
    """No option, and no other word, by any method."""
    desk.found = FREE
    heard = desk.ask(login).hear()
    assert (heard[wire.KEY_VERDICT], set(heard)) == (
        "allow",
        {wire.KEY_ANSWER, wire.KEY_VERDICT, wire.KEY_ID, wire.KEY_TEXT},
    )
    assert desk.written[-1][0].detail == ""
    assert [desk.verdict(later) for later in (ACCOUNT, SESSION)] == ["allow", "allow"]


@pytest.mark.parametrize("first", [NONE, KEYBOARD, KEY], ids=["none", "keyboard-interactive", "publickey"])
@pytest.mark.parametrize("later", [ACCOUNT, SESSION], ids=["account", "session"])
def test_limits_that_come_during_a_login_refuse_it(desk: Desk, first: Request, later: Request) -> None:
    """Sshd was told of none: the person logs in anew."""
    desk.found = FREE
    assert desk.verdict(first) == "allow"
    desk.found = LIMITED
    assert desk.verdict(later) == "deny"
    assert desk.reason is Reason.METHOD_CANNOT_LIMIT
    assert "policy has changed" in desk.written[-1][0].detail


def test_what_our_methods_have_not_let_in_is_not_limited(desk: Desk) -> None:
    """A key that sshd accepts by itself, as with `enable --methods with-key`: nobody knows its options."""
    desk.found = LIMITED
    assert desk.verdict(dataclasses.replace(ACCOUNT, earlier=("none",))) == "deny"
    assert desk.verdict(ACCOUNT) == "deny"
    assert desk.reason is Reason.METHOD_CANNOT_LIMIT


def test_a_host_that_observes_says_what_the_policy_says(desk: Desk) -> None:
    """It enforces nothing, and the line in its journal names what would be withheld."""
    desk.limits = dataclasses.replace(LIMITS, mode=Mode.OBSERVE)
    desk.found = LIMITED
    assert desk.verdict(dataclasses.replace(SESSION, mode=Mode.OBSERVE)) == "allow"
    assert "by key alone" in desk.written[-1][0].detail


def checked(**changes: Any) -> Facts:
    """Whoever is to pass a check is let in without a terminal; only our own sources have such rules."""
    known = CHECKED.knowledge
    wire_rule: Rule = known.policies[0].rules[0]
    assert wire_rule.action is not None
    limited = dataclasses.replace(wire_rule, action=dataclasses.replace(wire_rule.action, pty=False, **changes))
    return dataclasses.replace(CHECKED, knowledge=dataclasses.replace(known, policies=(Policy("grants", (limited,)),)))


def test_a_check_is_passed_at_the_prompt_and_the_login_comes_by_key(desk: Desk) -> None:
    """The prompt itself cannot let in within limits; what was passed there is remembered."""
    desk.found = checked()
    assert desk.verdict(NONE) == "check"
    assert desk.verdict(KEY) == "check"
    shim = desk.ask(KEYBOARD)
    shim.hear()
    shim.press_enter()
    desk.provider.approve(Passed("welcome"))
    heard = shim.hear()
    assert heard[wire.KEY_VERDICT] == "deny"
    assert heard[wire.KEY_TEXT].startswith("tailscale: your rule lets you in by key alone")
    assert desk.verdict(ACCOUNT) == "deny"
    desk.provider.recalled = Passed(authenticated=1.0)
    assert desk.verdict(NONE) == "deny"
    assert desk.ask(KEY).hear()[wire.KEY_OPTIONS] == "restrict,agent-forwarding,port-forwarding"
    assert "pty withheld" in desk.written[-1][0].detail
    assert desk.verdict(ACCOUNT) == "allow"


def test_a_check_that_nothing_remembers_cannot_be_limited(desk: Desk) -> None:
    """The person would pass it again and again, and never get in: they are told at once."""
    desk.found = checked()
    desk.checking = dataclasses.replace(desk.checking, period=0.0)
    desk.logins._checking = desk.checking
    for login in (NONE, KEYBOARD, KEY):
        assert desk.verdict(login) == "deny"
        assert desk.reason is Reason.ATTRIBUTE_NOT_ENFORCED
    assert "begin" not in desk.provider.questions
    desk.found = CHECKED
    assert desk.verdict(NONE) == "check"
