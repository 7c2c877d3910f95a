"""`enable`: options become answers, reports become text, documents and exit statuses."""

import pytest

from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.preconditions import Action, Finding
from pam_tailscale.host.report import Report
from tests.unit.cli.conftest import Coming, Run

QUESTION = Finding("methods", Action.ASK, "several methods", "one identity would be two", "choose", "--methods")
NOTE = Finding("several_ports", Action.HANDLE, "ports 22 and 2222", "both are asked", "", "")
ON = Report(on=True, changed=True, diff="--- a\n+++ b\n", findings=(NOTE,))


def test_every_option_is_an_answer(run: Run, coming_to: Coming) -> None:
    """One for each question, and none of them given by --yes."""
    switched = coming_to(ON)
    assert run("enable", "--yes").status == 0
    options = ["--repin", "--allow-root", "--no-other-way", "--cut-me-off", "--confined-sshd", "--replace-edits"]
    assert run("enable", *options, "--methods", "with-key", "--dry-run").status == 0
    assert run("enable", "--refresh").status == 0
    everything = Answers(
        repin=True,
        allow_root=True,
        methods=Methods.WITH_KEY,
        no_other_way=True,
        cut_me_off=True,
        confined_sshd=True,
        replace_edits=True,
    )
    assert switched.ran == [
        (Answers(), {"dry_run": False, "refresh": False}),
        (everything, {"dry_run": True, "refresh": False}),
        (Answers(), {"dry_run": False, "refresh": True}),
    ]


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (ON, "On: over the tailnet its policy decides."),
        (Report(on=True, changed=False), "Already on: nothing to change."),
        (Report(on=False, changed=False), "It is not switched on here: nothing to refresh."),
    ],
)
def test_what_it_says(run: Run, coming_to: Coming, report: Report, says: str) -> None:
    """In one last line."""
    coming_to(report)
    ran = run("enable")
    assert (ran.status, ran.out.splitlines()[-1], ran.err) == (0, says, "")


def test_what_stands_in_the_way_is_said_with_its_option(run: Run, coming_to: Coming) -> None:
    """Exit status 1: nothing is changed."""
    coming_to(Report(on=False, changed=False, findings=(QUESTION, NOTE), problem="not switched on"))
    ran = run("enable", "--yes")
    assert ran.status == 1
    assert "methods: several methods" in ran.out
    assert "one identity would be two" in ran.out
    assert "If you mean it: --methods" in ran.out
    assert ran.err == "pam-tailscale: not switched on\n"


def test_the_document(run: Run, coming_to: Coming) -> None:
    """For programs; they ask nothing and are asked nothing."""
    switched = coming_to(ON)
    document = run("enable", "--json").document
    assert (document["on"], document["changed"], document["problem"]) == (True, True, "")
    assert document["findings"] == [
        {
            "row": "several_ports",
            "action": "handle",
            "what": "ports 22 and 2222",
            "means": "both are asked",
            "mend": "",
            "flag": "",
        }
    ]
    assert switched.person.quiet
    assert not switched.person.yes
