"""What an accepting rule is not enough for."""

import dataclasses
from typing import Any

import pytest

from pam_tailscale.model import Account, Reason
from pam_tailscale.policy.evaluate import Outcome
from pam_tailscale.policy.facts import Problem
from pam_tailscale.policy.limits import is_nologin, limit, unenforced
from pam_tailscale.policy.rules import parse_action, parse_rule
from tests.support.facts import ACCEPT, ALICE, CHECK, LIMITS, rule

GIT = Account("git", 104, "/bin/sh", shell_usable=True)
ROOT = Account("root", 0, "/bin/bash", shell_usable=True)
TOOR = Account("toor", 0, "/bin/bash", shell_usable=True)


def limited(account: Account, *, user: str = "", exact: bool = False, action: Any = ACCEPT) -> Problem | None:
    """What stands against a login to the account by a rule that maps to `user`."""
    accepting = parse_rule(rule({"*": "="}, action), 4)
    outcome = Outcome(Reason.ACCEPTED, accepting, "netmap", user or account.name, exact)
    return limit(outcome, account, LIMITS)


def reason(problem: Problem | None) -> Reason | None:
    """Its reason."""
    return problem.reason if problem else None


@pytest.mark.parametrize(
    ("account", "exact", "expected"),
    [
        (ALICE, False, None),
        (ALICE, True, None),
        (ROOT, False, None),
        (ROOT, True, None),
        (GIT, True, None),
        (GIT, False, Reason.SYSTEM_ACCOUNT),
        (TOOR, False, Reason.SYSTEM_ACCOUNT),
        (TOOR, True, None),
        (dataclasses.replace(ALICE, uid=999), False, Reason.SYSTEM_ACCOUNT),
        (dataclasses.replace(ALICE, uid=1000), False, None),
    ],
)
def test_a_system_account_must_be_named(account: Account, exact: bool, expected: Reason | None) -> None:  # noqa: FBT001 (a column)
    """`*` is about people; root is what a rule's own word for it decides."""
    assert reason(limited(account, exact=exact)) is expected


def test_another_name_is_refused_and_said() -> None:
    """Sshd cannot change the account; the administrator reads which one the rule means."""
    problem = limited(ALICE, user="deploy")
    assert reason(problem) is Reason.RULE_MAPS_USER
    assert problem is not None
    assert "rule 4" in problem.detail
    assert "'deploy'" in problem.detail


@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false", "/usr/bin/false", "nologin"])
def test_nobody_logs_in_where_the_shell_says_so(shell: str) -> None:
    """Not by its exact name either: sshd would forward ports for it."""
    account = dataclasses.replace(GIT, shell=shell)
    assert is_nologin(account)
    assert reason(limited(account, exact=True)) is Reason.NOLOGIN_ACCOUNT


@pytest.mark.parametrize("shell", ["/bin/bash", "/usr/bin/git-shell", "/opt/nologin/sh", "/bin/false2"])
def test_other_shells_let_people_in(shell: str) -> None:
    """Only the last part of the path counts."""
    assert not is_nologin(dataclasses.replace(ALICE, shell=shell))


UNENFORCED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "all allowed": (ACCEPT, ()),
    "forwarding withheld": ({"accept": True}, ()),
    "duration": (ACCEPT | {"sessionDuration": 1}, ("sessionDuration",)),
    "negative duration": (ACCEPT | {"sessionDuration": -1}, ("sessionDuration",)),
    "recorders": (ACCEPT | {"recorders": ["100.64.0.9:80"]}, ("recorders",)),
    "recording failure": (ACCEPT | {"onRecordingFailure": {"NotifyURL": "u"}}, ("recorders",)),
    "a check carries no permissions": (CHECK, ()),
    "a check with a duration": (CHECK | {"sessionDuration": 1}, ("sessionDuration",)),
}


@pytest.mark.parametrize(("action", "found"), UNENFORCED.values(), ids=UNENFORCED.keys())
def test_what_cannot_be_enforced_refuses(action: dict[str, Any], found: tuple[str, ...]) -> None:
    """And the administrator reads what it is."""
    parsed = parse_rule(rule({}, action), 1).action
    assert parsed is not None
    assert unenforced(parsed) == found
    problem = limited(ALICE, action=action)
    assert reason(problem) is (Reason.ATTRIBUTE_NOT_ENFORCED if found else None)
    assert all(problem is not None and name in problem.detail for name in found)


def test_a_command_that_no_key_can_hold_refuses() -> None:
    """It would leave its quotes, or its line."""
    action = dataclasses.replace(parse_action(ACCEPT), command="id")
    assert unenforced(action) == ()
    (found,) = unenforced(dataclasses.replace(action, command="id\nssh-ed25519 AAAA"))
    assert found.startswith("a command")


def test_what_the_person_is_told_comes_first() -> None:
    """A name that maps elsewhere is refused as that, whatever else is wrong: the person must not learn of the rest."""
    nologin = Account("git", 104, "/usr/sbin/nologin", shell_usable=True)
    assert reason(limited(nologin, user="deploy", action={"accept": True})) is Reason.RULE_MAPS_USER


def test_only_the_outcome_of_a_rule_can_be_limited() -> None:
    """Anything else is a mistake of the caller."""
    with pytest.raises(ValueError, match="rule with an action"):
        limit(Outcome(Reason.NO_RULE), ALICE, LIMITS)
