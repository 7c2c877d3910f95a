"""A row: what it makes of facts and answers."""

from pam_tailscale.host.answers import Answers
from pam_tailscale.host.preconditions.row import Action, Finding, Row, joined
from tests.support.host_facts import healthy

FACTS = healthy()


def row(seen: str, action: Action = Action.ASK) -> Row:
    """A row that sees this."""
    return Row(
        "some",
        action,
        lambda _: seen,
        "it means",
        "mend it",
        "--repin",
        lambda answers: "as you said" if answers.repin else "",
    )


def test_nothing_seen_is_no_finding() -> None:
    """Whatever was answered."""
    assert row("").judge(FACTS, Answers()) is None
    assert row("").judge(FACTS, Answers(repin=True)) is None


def test_what_was_seen_becomes_a_finding() -> None:
    """With the row's own words."""
    assert row("seen").judge(FACTS, Answers()) == Finding("some", Action.ASK, "seen", "it means", "mend it", "--repin")


def test_an_answer_makes_it_a_handle() -> None:
    """That says so in place of what it meant, and leaves nothing to be done."""
    assert row("seen").judge(FACTS, Answers(repin=True)) == Finding(
        "some", Action.HANDLE, "seen", "as you said", "", "--repin"
    )


def test_a_row_without_an_answer_hears_none() -> None:
    """Nothing that is refused can be answered away."""
    refused = Row("some", Action.REFUSE, lambda _: "seen", "it means", "mend it")
    finding = refused.judge(FACTS, Answers(repin=True, replace_edits=True, no_other_way=True))
    assert finding is not None
    assert finding.action is Action.REFUSE


def test_a_row_for_some_answers_only() -> None:
    """It is not even looked at with others."""
    some = Row("some", Action.REFUSE, lambda _: "seen", "it means", "mend", only=lambda answers: answers.repin)
    assert some.judge(FACTS, Answers()) is None
    assert some.judge(FACTS, Answers(repin=True)) is not None


def test_several_things_become_one_text() -> None:
    """And none becomes nothing."""
    assert joined(["a", "b"]) == "a; b"
    assert joined([]) == ""
