"""The table as a whole: each row applies where it should and nowhere else, says what to do, and answers are heard."""

import dataclasses

import pytest

from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.preconditions import ROWS, Action, judge, wanted
from pam_tailscale.host.version import OpenSSH
from tests.support.host_facts import BOOKWORM, STOCK, TRIXIE, healthy, with_config, with_host, with_sshd
from tests.unit.host.preconditions.cases import CASES, Case


def test_every_row_has_a_case() -> None:
    """In the table's order."""
    assert list(CASES) == [row.name for row in ROWS]


@pytest.mark.parametrize("openssh", [BOOKWORM, TRIXIE], ids=str)
def test_nothing_is_in_the_way_of_a_healthy_host(openssh: OpenSSH) -> None:
    """So that it needs no question at all."""
    assert judge(healthy(openssh), Answers()) == ()


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=list(CASES))
def test_a_row_applies(name: str, case: Case) -> None:
    """With its action, what was seen, and what comes of it."""
    found = {finding.row: finding for finding in judge(case.facts, case.answers)}
    assert name in found
    finding = found[name]
    assert finding.action is case.action
    assert case.says in finding.what
    assert finding.means
    assert not finding.means.endswith(".")
    if finding.action is not Action.HANDLE:
        assert finding.mend


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=list(CASES))
def test_a_row_applies_alone(name: str, case: Case) -> None:
    """One fault is not reported as three, but for what really comes of it."""
    others = {finding.row for finding in judge(case.facts, case.answers)} - {name}
    assert others <= {
        "no_keys_allowed": {"several_methods"},
        "command_line": {"own_exempt_list"},
    }.get(name, set())


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=list(CASES))
def test_what_is_asked_can_be_answered_and_by_nothing_else(name: str, case: Case) -> None:
    """An answer makes the row a HANDLE that says so; every other answer leaves it as it is."""
    row = next(row for row in ROWS if row.name == name)
    everything = Answers(
        repin=True,
        allow_root=True,
        methods=Methods.REPLACE,
        no_other_way=True,
        cut_me_off=True,
        confined_sshd=True,
        replace_edits=True,
    )
    if case.answered is None:
        assert row.action is not Action.ASK
        after = row.judge(case.facts, dataclasses.replace(everything, methods=case.answers.methods))
        assert after is not None
        assert after.action is row.action
        return
    answer = row.judge(case.facts, case.answered)
    assert answer is not None
    assert answer.action is Action.HANDLE
    assert answer.means.endswith("as you said")
    others = {field.name: getattr(everything, field.name) for field in dataclasses.fields(Answers)}
    for name_of_answer in (field.name for field in dataclasses.fields(Answers) if getattr(case.answered, field.name)):
        assert row.flag == "--" + name_of_answer.replace("_", "-")
        others[name_of_answer] = None if name_of_answer == "methods" else False
    unanswered = row.judge(case.facts, Answers(**others))
    assert unanswered is not None
    assert unanswered.action is row.action


def test_names_are_not_taken_twice() -> None:
    """They are an interface: programs look for them in `--json`."""
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))


# What the files are made of


def test_a_healthy_host_wants_nothing_special() -> None:
    """The numbers of the helper's account, and the version."""
    found = wanted(healthy(), Answers())
    assert (found.openssh, found.keys_uid, found.keys_gid) == (OpenSSH(10, 0), 998, 997)
    assert (found.exempt, found.methods, found.allow_root) == ((), None, True)


def test_the_exempt_list_is_the_administrators() -> None:
    """The first one that is in force, without its `none`."""
    text = "PerSourcePenaltyExemptList 192.0.2.0/24,2001:db8::/32\nPerSourcePenaltyExemptList 198.51.100.0/24\n"
    assert wanted(with_config(healthy(), STOCK + text), Answers()).exempt == ("192.0.2.0/24", "2001:db8::/32")
    assert wanted(with_config(healthy(), STOCK + "PerSourcePenaltyExemptList none\n"), Answers()).exempt == ()


@pytest.mark.parametrize("methods", list(Methods))
def test_an_answer_about_methods_counts_only_where_it_was_asked(methods: Methods) -> None:
    """Otherwise an option that was given once would add a demand that nobody has made."""
    facts = with_config(healthy(), STOCK + "AuthenticationMethods publickey,password\n")
    assert wanted(facts, Answers(methods=methods)).methods is methods
    assert wanted(healthy(), Answers(methods=methods)).methods is None


@pytest.mark.parametrize(
    ("said", "own", "answered", "allowed"),
    [
        ("no", None, False, False),
        ("forced-commands-only", None, False, False),
        ("NO", None, False, False),
        ("prohibit-password", None, False, True),
        ("yes", None, False, True),
        ("no", None, True, True),
        ("no", True, False, True),
        ("no", False, False, True),
    ],
)
def test_root(said: str, own: bool | None, answered: bool, allowed: bool) -> None:  # noqa: FBT001
    """The agent is told to keep root out where sshd_config does, unless its own file or an answer says otherwise."""
    facts = with_config(healthy(allow_root=own), STOCK + f"PermitRootLogin {said}\n")
    assert wanted(facts, Answers(allow_root=answered)).allow_root is allowed


@pytest.mark.parametrize("facts", [with_sshd(healthy(), openssh=None), with_host(healthy(), keys_user=None)])
def test_nothing_is_made_of_facts_that_are_refused(facts: object) -> None:
    """A version or an account that is not known is not guessed."""
    with pytest.raises(ValueError, match="refuse"):
        wanted(facts, Answers())  # type: ignore[arg-type]
