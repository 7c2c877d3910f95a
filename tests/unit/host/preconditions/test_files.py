"""Preconditions about files, beyond the one case for each row that test_table.py has."""

import dataclasses

import pytest

from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Facts, HostFile, Program, Unknown, Written
from pam_tailscale.host.preconditions import Action, judge
from tests.support.host_facts import BOOKWORM, healthy, with_host, with_pam

NEW, OLD = healthy(), healthy(BOOKWORM)
SERVICE = "/etc/pam.d/sshd"


def rows(facts: Facts, answers: Answers | None = None) -> dict[str, tuple[Action, str]]:
    """The rows that apply."""
    return {finding.row: (finding.action, finding.what) for finding in judge(facts, answers or Answers())}


def test_everything_that_is_not_known_is_told() -> None:
    """In one finding."""
    facts = dataclasses.replace(NEW, unknown=(Unknown("a", "because"), Unknown("b", "for that")))
    assert rows(facts) == {"unknown": (Action.REFUSE, "a: because; b: for that")}


def test_files_as_they_were_written_are_no_finding() -> None:
    """So that a second run asks nothing."""
    files = (HostFile("/a", "", Written.AS_WRITTEN), HostFile("/b", "", Written.NOT_OURS))
    assert rows(dataclasses.replace(NEW, files=files)) == {}


@pytest.mark.parametrize(
    ("written", "row"), [(Written.ALTERED, "own_file_altered"), (Written.BY_OTHERS, "own_file_by_others")]
)
def test_our_lines_in_the_service_count_before_98_alone(written: Written, row: str) -> None:
    """From 9.8 on nothing of ours stands in that file."""
    service = HostFile(SERVICE, "", written)
    assert list(rows(with_pam(OLD, service=service))) == [row]
    assert rows(with_pam(NEW, service=service)) == {}


def test_an_edit_that_is_replaced_does_not_excuse_a_file_of_others() -> None:
    """The answer is about ours."""
    facts = dataclasses.replace(NEW, files=(HostFile("/x", "", Written.BY_OTHERS),))
    assert rows(facts, Answers(replace_edits=True))["own_file_by_others"][0] is Action.REFUSE


@pytest.mark.parametrize("edited", [False, None])
def test_a_service_that_is_not_known_to_be_edited_is_no_finding(edited: bool | None) -> None:  # noqa: FBT001
    """Where dpkg does not say, nothing is made up."""
    assert rows(with_pam(NEW, is_edited=edited)) == {}


def test_each_program_and_account_is_told() -> None:
    """One reinstallation mends them all."""
    facts = with_host(NEW, keys_user=None, agent_user=None)
    facts = dataclasses.replace(facts, programs=(Program("/a", "is no program"), Program("/b", ""), Program("/c", "x")))
    found = rows(facts)
    assert found["program_broken"][1] == "/a is no program; /c x"
    assert found["user_missing"][1] == "there is no account pam-tailscale-keys; there is no account pam-tailscale"
