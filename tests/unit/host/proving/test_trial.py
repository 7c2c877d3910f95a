"""Which logins are tried, how their ends are read, and what is made of them."""

import itertools
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from pam_tailscale.host.effective import parse
from pam_tailscale.host.proving.trial import (
    CLOSED,
    DECOY,
    ELSEWHERE,
    NO_ANSWER,
    NOT_TRIED,
    PROBE,
    REFUSED,
    Attempt,
    Ending,
    Key,
    Outcome,
    Plan,
    Typed,
    Variant,
    attempts,
    is_refused,
    judge,
    let_in_by,
    read_ending,
    taken,
    target_for,
    unchanged,
)
from pam_tailscale.model import in_tailnet
from tests.unit.host.proving.plans import ALICE, ALICE_V6, OWN, OWN_V6, PLAN, plan

PLANS = {
    "usual": PLAN,
    "over IPv6": plan(accept=("alice", ALICE_V6), deny=("bob", ALICE_V6)),
    "IPv6 alone": plan(own=(OWN_V6,), accept=None, deny=None),
    "key in addition": plan(key_in_addition=True),
    "nobody": plan(accept=None, deny=None),
    "several ports": plan(ports=(22, 2222, 2223)),
    "two peers": plan(deny=("alice", ip_address("100.64.0.3"))),
}
every_plan = pytest.mark.parametrize("given", PLANS.values(), ids=PLANS)

USUAL = attempts(PLAN, any_key=True)
BATCH = next(attempt for attempt in USUAL if attempt.account == "alice")
NOTHING_SHOWN = USUAL[0]
TYPED = next(attempt for attempt in USUAL if attempt.typed is Typed.WRONG and "password" in attempt.methods)


def as_expected(given: Plan) -> dict[Attempt, Ending]:
    """Endings of a proof that holds."""
    before = Ending("let in by password")
    tried = attempts(given, any_key=True)
    return {attempt: Ending(attempt.expected) if attempt.expected else before for attempt in tried}


class TestAttempts:
    @every_plan
    def test_sshds_side_can_tell_which_connection_is_which(self, given: Plan) -> None:
        """By the client's address and the port, it knows the files that its sshd is to see."""
        ways: dict[object, set[object]] = {}
        for attempt in attempts(given, any_key=True):
            seen = ways.setdefault((attempt.source, attempt.port), set())
            seen.add((attempt.variant, attempt.without_none))
        assert [seen for seen in ways.values() if len(seen) > 1] == []

    @every_plan
    def test_both_ends_are_of_one_network(self, given: Plan) -> None:
        """A tailnet address connects to the node's own, another one to the host's other address."""
        for attempt in attempts(given, any_key=True):
            assert attempt.source.version == attempt.target.version
            assert in_tailnet(attempt.source) is in_tailnet(attempt.target)
            assert in_tailnet(attempt.target) is (attempt.target in given.own)
            assert attempt.source not in (*given.own, ELSEWHERE)

    @every_plan
    def test_what_is_tried_from_elsewhere_after_was_tried_before(self, given: Plan) -> None:
        """Else there would be nothing to compare with."""
        tried = attempts(given, any_key=True)
        before = {attempt.name for attempt in tried if attempt.variant is Variant.BEFORE}
        assert {attempt.name for attempt in tried if not attempt.expected} == before
        after = [one.name for one in tried if one.variant is Variant.AFTER and not one.expected]
        assert sorted(after) == sorted(before)

    @every_plan
    def test_names_are_unique(self, given: Plan) -> None:
        """An administrator can tell which login failed."""
        names = [(attempt.variant, attempt.name) for attempt in attempts(given, any_key=True)]
        assert len(set(names)) == len(names)

    @pytest.mark.parametrize("variant", [Variant.AFTER, Variant.MODULE_GONE])
    @every_plan
    def test_outsiders_try_everything_over_the_tailnet(self, given: Plan, variant: Variant) -> None:
        """The empty password, and the right key and password, by every method there is."""
        tried = [one for one in attempts(given, any_key=True) if one.variant is variant and one.target != ELSEWHERE]
        outsiders = {(one.account, one.typed, one.key, one.expected) for one in tried if one.account in (DECOY, PROBE)}
        assert outsiders == {
            (DECOY, Typed.EMPTY, Key.NONE, REFUSED),
            (PROBE, Typed.RIGHT, Key.OWN, REFUSED),
        }
        assert {one.methods for one in tried if one.account in (DECOY, PROBE)} == {
            ("publickey", "keyboard-interactive", "password")
        }

    def test_outsiders_come_from_where_somebody_is_let_in(self) -> None:
        """The peer must not be enough; and where nobody is let in, from where somebody is refused."""
        assert {one.source for one in USUAL if one.account == DECOY and one.variant is Variant.AFTER} >= {ALICE}
        other = ip_address("100.64.0.9")
        tried = attempts(plan(accept=None, deny=("bob", other)), any_key=True)
        assert {one.source for one in tried if one.account == DECOY and one.target == OWN} >= {other}

    def test_whom_the_policy_lets_in_is_tried_at_every_port(self) -> None:
        """A Match block may be about one of them."""
        tried = attempts(plan(ports=(22, 2222)), any_key=True)
        assert [one.port for one in tried if one.account == "alice"] == [22, 2222, 2223]
        assert [one.expected for one in tried if one.account == "alice"] == [
            let_in_by("none"),
            let_in_by("none"),
            let_in_by("publickey"),
        ]

    def test_without_a_key_the_helper_is_not_tried(self) -> None:
        """Nothing is expected of a login that cannot be made."""
        tried = attempts(PLAN, any_key=False)
        assert not any(attempt.without_none for attempt in tried)

    def test_where_a_key_is_asked_for_as_well_none_is_counted_and_not_enough(self) -> None:
        """And no helper is asked."""
        alice = [one for one in attempts(plan(key_in_addition=True), any_key=True) if one.account == "alice"]
        assert [(one.expected, one.key, one.without_none) for one in alice] == [
            ("refused after a partial success by none", Key.ANY, False)
        ]

    def test_whom_the_policy_refuses_has_the_right_password(self) -> None:
        """That nobody needs to know: it is one of the stage's."""
        (bob,) = (one for one in USUAL if one.account == "bob")
        assert (bob.typed, bob.expected, bob.variant) == (Typed.RIGHT, REFUSED, Variant.AFTER)

    def test_a_peer_whose_family_the_node_does_not_have_is_a_mistake(self) -> None:
        """Nobody could connect."""
        assert target_for(PLAN, ALICE_V6) == OWN_V6
        with pytest.raises(ValueError, match="could connect"):
            target_for(plan(own=(OWN,)), ALICE_V6)


_GREETING = "Warning: Permanently added '100.64.0.1' (ED25519) to the list of known hosts.\r\n"
_IN = 'Authenticated to 100.64.0.1 ([100.64.0.1]:22) using "none".\r\n'
_PARTLY = 'Authenticated using "none" with partial success.\r\n'
_DENIED = "alice@100.64.0.1: Permission denied (publickey,password).\r\n"
_TOO_MANY = "Received disconnect from 100.64.0.1 port 22:2: Too many authentication failures\r\n"
_CLOSED = "Connection closed by 100.64.0.1 port 22\r\n"


class TestReadEnding:
    @pytest.mark.parametrize(
        ("status", "said", "text"),
        [
            (0, _IN, "let in by none"),
            (1, _IN, "let in by none"),
            (254, _IN, "let in by none, but its session failed"),
            (255, _IN, "let in by none, but its session failed"),
            (None, _IN, "let in by none, but its session failed"),
            (0, _PARTLY + _IN.replace("none", "publickey"), "let in by publickey"),
            (255, _DENIED, REFUSED),
            (255, _TOO_MANY, REFUSED),
            (255, _PARTLY + _DENIED, "refused after a partial success by none"),
            (255, _CLOSED, CLOSED),
            (255, "", CLOSED),
            (0, "", CLOSED),
            (255, "Permission denied, please try again.\r\n" + _CLOSED, CLOSED),
            (None, "", NO_ANSWER),
            (None, "Permission denied, please try again.\r\n", NO_ANSWER),
        ],
    )
    def test_what_ssh_says(self, status: int | None, said: str, text: str) -> None:
        """A login counts as let in only by ssh's word and with a session; what merely broke is no refusal."""
        assert read_ending(BATCH, status, _GREETING + said).text == text

    def test_what_sshd_would_still_take_counts_for_one_attempt_alone(self) -> None:
        """Over the tailnet nobody compares it, and after a password it is not always known."""
        assert read_ending(NOTHING_SHOWN, 255, _DENIED).text == "refused (publickey,password)"
        assert read_ending(TYPED, 255, _DENIED).text == REFUSED

    def test_the_lines_are_kept(self) -> None:
        """For whoever has to find out why."""
        assert read_ending(BATCH, 255, f"{_GREETING}\r\n{_CLOSED}").said == (_GREETING.strip(), _CLOSED.strip())


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        (f"Failed password for {PROBE} from 192.0.2.5 port 40646 ssh2", True),
        (f"Failed none for {PROBE} from 192.0.2.5 port 40646 ssh2", False),
        (f"Failed publickey for {PROBE} from 192.0.2.5 port 40646 ssh2", False),
        (f"Accepted password for {PROBE} from 192.0.2.5 port 40646 ssh2", False),
        (f"Connection from 192.0.2.5: Failed password for {PROBE}", False),
    ],
)
def test_sshds_log_tells_earlier_than_the_client(line: str, *, refused: bool) -> None:
    """Once the last of its methods has failed nothing else can come."""
    assert is_refused(TYPED, [f"Connection from 192.0.2.5 for {PROBE}", line]) is refused


def test_a_prompt_answered_wrongly_is_known_by_its_name_in_the_log() -> None:
    """For keyboard-interactive sshd says which device it asked."""
    attempt = next(one for one in USUAL if one.methods == ("keyboard-interactive",))
    assert is_refused(attempt, [f"Failed keyboard-interactive/pam for {PROBE} from 192.0.2.4 port 1 ssh2"])


def test_what_types_nothing_is_waited_for() -> None:
    """It is answered at once, and what sshd offers is to be heard."""
    assert not is_refused(NOTHING_SHOWN, [f"Failed none for {PROBE} from 192.0.2.2 port 1 ssh2"])


class TestJudge:
    @every_plan
    def test_what_comes_out_as_expected_is_well(self, given: Plan) -> None:
        """Every attempt but those before makes one outcome."""
        endings = as_expected(given)
        outcomes = judge(given, endings)
        assert [one for one in outcomes if not one.ok] == []
        after = [attempt for attempt in endings if attempt.variant is not Variant.BEFORE]
        not_tried = [one for one in outcomes if one.found == NOT_TRIED]
        assert len(outcomes) == 1 + len(after) + len(not_tried)
        assert len(not_tried) == (given.accept is None) + (given.deny is None)

    @every_plan
    def test_no_attempt_may_come_to_anything_else(self, given: Plan) -> None:
        """Whichever it is, and whatever it came to, its outcome is not well, and says what was seen."""
        good = as_expected(given)
        others = (REFUSED, CLOSED, NO_ANSWER, "let in by none", "let in by publickey", "let in by hostbased")
        for attempt, text in itertools.product(good, others):
            if text == good[attempt].text:
                continue
            bad = [one for one in judge(given, good | {attempt: Ending(text, ("why",))}) if not one.ok]
            assert bad, (attempt, text)
            if attempt.variant is not Variant.BEFORE:
                assert [(one.found, one.detail) for one in bad] == [(text, "why")]

    @pytest.mark.parametrize("text", [CLOSED, NO_ANSWER])
    def test_a_sshd_that_never_answers_proves_nothing(self, text: str) -> None:
        """Before and after look alike then."""
        endings = {
            attempt: ending if attempt.expected else Ending(text) for attempt, ending in as_expected(PLAN).items()
        }
        (bad,) = (one for one in judge(PLAN, endings) if not one.ok)
        assert bad.found == "none"

    def test_the_helper_that_could_not_be_tried_is_named(self) -> None:
        """With everything else as it should be, and nothing passed over in silence."""
        endings = {one: ending for one, ending in as_expected(PLAN).items() if not one.without_none}
        outcomes = judge(PLAN, endings)
        assert [one for one in outcomes if not one.ok] == []
        assert [one.expected for one in outcomes if one.found == NOT_TRIED] == ["let in by publickey"]

    def test_a_long_story_is_shown_from_its_end(self) -> None:
        """What ssh, sshd and PAM said last."""
        ending = Ending(CLOSED, tuple(map(str, range(100))))
        (bad,) = (one for one in judge(PLAN, as_expected(PLAN) | {BATCH: ending}) if not one.ok)
        assert bad.detail.splitlines()[-1] == "99"
        assert len(bad.detail.splitlines()) < 20


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("usepam yes\nport 22\n", "usepam yes\nport 22\n", "no setting changes"),
        ("usepam no\n", "usepam yes\n", "changes: usepam"),
        ("usepam yes\n", "usepam yes\nallowusers alice\n", "changes: allowusers"),
        ("allowusers alice\nallowusers bob\n", "allowusers alice\n", "changes: allowusers"),
        ("persourcepenaltyexemptlist none\n", "persourcepenaltyexemptlist 100.64.0.0/10\n", "no setting changes"),
        ("PerSourcePenaltyExemptList none\n", "persourcepenaltyexemptlist 100.64.0.0/10\n", "no setting changes"),
    ],
)
def test_no_setting_may_change_from_elsewhere(before: str, after: str, found: str) -> None:
    """But the list that names addresses of the tailnet alone."""
    outcome = unchanged(parse(before), parse(after))
    assert outcome.found == found
    assert outcome.ok is (found == "no setting changes")
    assert bool(outcome.detail) is not outcome.ok


def test_a_configuration_that_is_not_taken() -> None:
    """The detail is what sshd has against it."""
    assert taken() == Outcome("sshd takes the new configuration", "yes", "yes", "")
    assert not taken("line 1: Bad configuration option").ok
    assert "line 1" in taken("line 1: Bad configuration option").detail


def test_what_was_not_tried_speaks_against_nothing() -> None:
    """Anything else than what was expected does."""
    ok: Callable[[str], bool] = lambda found: Outcome("a", "let in by none", found, "").ok  # noqa: E731
    assert ok(NOT_TRIED)
    assert ok("let in by none")
    assert not ok("let in by publickey")
    assert not ok("")
