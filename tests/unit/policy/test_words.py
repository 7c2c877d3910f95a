"""What the person reads: few forms, one line, nothing that a terminal acts on."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.model import Decision, Demand, Reason, Verdict
from pam_tailscale.policy.words import (
    BY_KEY,
    HOLD_SHOWN,
    REFUSAL_SHOWN,
    USER_SHOWN,
    person_text,
    printable,
    prompt_text,
    quoted,
)
from pam_tailscale.wire import PROMPT_MAX, TEXT_MAX
from tests.support.facts import CONNECTION, PEER

PASSING = "tailscale: this host cannot ask the tailnet's policy at the moment, try again later (decision ab12)"
NO = 'tailscale: tailnet policy does not permit you to SSH as user "alice" (decision ab12)'
MAPPED = 'tailscale: log in as "deploy" (decision ab12)'
FORMS = {Reason.RULE_MAPS_USER: MAPPED, Reason.METHOD_CANNOT_LIMIT: f"{BY_KEY} (decision ab12)"}
"""What is said only to people whom a rule accepts."""

ABOUT_THE_HOST = {
    Reason.AGENT_STARTING,
    Reason.MODE_MISMATCH,
    Reason.TAILSCALED_UNREACHABLE,
    Reason.TAILSCALED_NOT_ROOT,
    Reason.TAILSCALED_NOT_RUNNING,
    Reason.NETMAP_CACHED,
    Reason.KNOWLEDGE_STALE,
    Reason.NOT_PINNED,
    Reason.PIN_DAMAGED,
    Reason.PIN_MISMATCH,
    Reason.OPERATOR,
    Reason.STATE_CHANGED,
    Reason.POLICY_UNAVAILABLE,
    Reason.NARROW_DAMAGED,
    Reason.CHECK_UNAVAILABLE,
    Reason.CHECK_BUSY,
    Reason.INTERNAL_ERROR,
}


def denied(reason: Reason, mapped: str = "deploy", told: Reason | None = None) -> Decision:
    """A refusal with everything that must not be shown."""
    return Decision(
        Verdict.DENY,
        reason,
        "ab12",
        detail="for the administrator",
        rule=3,
        source="netmap",
        message="of the rule",
        mapped_user=mapped,
        told=told,
    )


@pytest.mark.parametrize("reason", [one for one in Reason if one is not Reason.ACCEPTED], ids=lambda one: one.value)
def test_every_refusal_has_one_of_few_forms(reason: Reason) -> None:
    """With the id that finds the decision; nothing of the reason itself."""
    expected = PASSING if reason in ABOUT_THE_HOST else FORMS.get(reason, NO)
    assert person_text(denied(reason), "alice") == expected


def test_who_is_let_in_by_key_reads_that_and_how() -> None:
    """A person without a key has to make one, and any will do."""
    assert "by key" in BY_KEY
    assert "any key will do" in BY_KEY
    assert "ssh-keygen" in BY_KEY


def after_a_check(message: str, verdict: Verdict = Verdict.DENY) -> Decision:
    """The decision about a login whose check was begun."""
    demand = Demand(PEER, "alice", CONNECTION, "https://unused/", None)
    return dataclasses.replace(denied(Reason.CHECK_REJECTED), message=message, verdict=verdict, demand=demand)


def test_a_refused_check_says_what_its_provider_says() -> None:
    """In front of the usual form, bounded, and nothing in it that a terminal obeys."""
    assert person_text(after_a_check("ask bob\x1b[2J\n"), "alice") == f"ask bob\ufffd[2J\n{NO}"
    assert person_text(after_a_check(""), "alice") == NO
    assert person_text(after_a_check("m" * 5000), "alice") == "m" * REFUSAL_SHOWN + f"\n{NO}"
    wide = person_text(after_a_check("\u6f22" * 5000), "alice")
    assert wide == "\u6f22" * (REFUSAL_SHOWN // 3) + f"\n{NO}"
    assert len(wide.encode()) <= TEXT_MAX


def test_a_check_that_is_needed_is_no_refusal() -> None:
    """The method that can pass it comes next: a text would be shown after that had succeeded."""
    assert person_text(after_a_check("of the rule", Verdict.CHECK), "alice") == ""


def test_a_prompt_says_where_to_go_and_what_enter_does() -> None:
    """With the id that finds the check; nothing in it that a terminal obeys."""
    enter = "Press Enter now, or after approving (check ab12): "
    assert prompt_text("open https://a\x07\n\n", "", "ab12") == f"open https://a\ufffd\n{enter}"
    assert prompt_text("open", "##\n##\n", "ab12") == f"open\n##\n##\n{enter}"


def test_a_prompt_without_a_page_says_that() -> None:
    """A control plane may hold a login without a word."""
    assert prompt_text("\n", "", "ab12").startswith(
        "tailscale: this login needs a check, and whoever asks for it names no page"
    )


@pytest.mark.parametrize("letter", ["m", "\u2588", "\N{GRINNING FACE}"])
def test_a_prompt_fits_the_protocol(letter: str) -> None:
    """What the provider says is cut; a QR code that does not fit is left out, and never a part of one."""
    prompt = prompt_text(letter * 9000, "x" * 9000, "ab12")
    assert prompt.startswith(letter * HOLD_SHOWN + "\nPress")
    assert len(prompt.encode()) <= PROMPT_MAX
    assert "x" not in prompt


@pytest.mark.parametrize(
    ("told", "expected"), [(Reason.RULE_MAPS_USER, MAPPED), (Reason.STATE_CHANGED, PASSING), (None, NO)]
)
def test_an_account_that_is_missing_reads_like_one_that_is_not(told: Reason | None, expected: str) -> None:
    """The decision may say by which reason the person is told."""
    assert person_text(denied(Reason.ACCOUNT_UNKNOWN, told=told), "alice") == expected


def test_an_accepted_login_shows_the_rules_message() -> None:
    """Or nothing."""
    accepted = Decision(Verdict.ALLOW, Reason.ACCEPTED, "ab12", message="be\nkind\x1b[31m")
    assert person_text(accepted, "alice") == "be\nkind\N{REPLACEMENT CHARACTER}[31m"
    assert person_text(Decision(Verdict.ALLOW, Reason.ACCEPTED, "ab12"), "alice") == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", '""'),
        ("alice", '"alice"'),
        ("jos\u00e9", '"jos\u00e9"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("a\nb\r\t", '"a\\nb\\r\\t"'),
        ("\x1b]0;x\x07", '"\\x1b]0;x\\x07"'),
        ("\x9b31m", '"\\x9b31m"'),
        ("a\u202eb\u2066c", '"a\\u202eb\\u2066c"'),
        ("a\u200bb\ufeff", '"a\\u200bb\\ufeff"'),
        ("a\u2028b", '"a\\u2028b"'),
        ("\udcff", '"\\udcff"'),
        ("\ud800", '"\\ud800"'),
        ("%s%n", '"%s%n"'),
        ("a" * USER_SHOWN, '"' + "a" * USER_SHOWN + '"'),
        ("a" * (USER_SHOWN + 1), '"' + "a" * USER_SHOWN + '…"'),
    ],
)
def test_quoted(text: str, shown: str) -> None:
    """Names come from strangers: control characters, bidi marks and invisible ones are escaped, long ones cut."""
    assert quoted(text) == shown


@given(st.text(st.characters(), max_size=300))
def test_a_quoted_text_is_one_printable_line_in_one_pair_of_quotes(text: str) -> None:
    """Whatever the text."""
    inside = quoted(text)[1:-1]
    assert inside.isprintable()
    assert '"' not in inside.replace("\\\\", "").replace('\\"', "")
    assert len(inside) <= (USER_SHOWN + 1) * 10


@given(st.text(st.characters(), max_size=300))
def test_a_printable_text_has_lines_and_nothing_else(text: str) -> None:
    """A message of the policy may have several."""
    assert printable(text).replace("\n", "").isprintable()


@given(st.text(st.characters(), max_size=300), st.sampled_from(sorted(Reason, key=str)))
def test_a_refusal_is_one_line(user: str, reason: Reason) -> None:
    """Also for a name with line ends."""
    assert person_text(denied(reason, mapped=user), user).isprintable()
