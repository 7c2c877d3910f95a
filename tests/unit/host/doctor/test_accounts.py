"""The host's accounts."""

from pam_tailscale.host.accounts import parse_passwd
from pam_tailscale.host.doctor.accounts import judge_empty, judge_root, judge_uids
from pam_tailscale.host.doctor.check import Check, State
from pam_tailscale.host.doctor.walking import Walked

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
alice:x:1001:1001::/home/alice:/bin/bash
decoy:x:1002:1002::/home/decoy:
old::1003:1003::/home/old:/bin/sh
"""
ENTRIES = parse_passwd(PASSWD)


def walked(user: str, *results: str) -> Walked:
    """PAM's answers."""
    return Walked(user, tuple(zip(("pam_authenticate", "pam_acct_mgmt"), results, strict=False)))


REFUSED = walked("root", "PAM_AUTH_ERR")
LET_IN = walked("decoy", "PAM_SUCCESS", "PAM_SUCCESS")


def state(check: Check) -> tuple[State, tuple[str, ...]]:
    """How it stands, and whom it is about."""
    return check.state, check.items


def test_they_are_a_warning_where_pam_refuses_them() -> None:
    """And a problem where it does not."""
    refused = [REFUSED, walked("decoy", "PAM_AUTH_ERR")]
    check = judge_empty(["decoy"], refused, switched_on=True)
    assert state(check) == (State.WARNING, ("decoy",))
    assert "it was tried" in check.means
    assert "was not tried" in judge_empty(["decoy", "old"], refused, switched_on=True).means
    assert state(judge_empty(["decoy"], [REFUSED, LET_IN], switched_on=True)) == (State.PROBLEM, ("decoy",))
    assert judge_empty([], [REFUSED], switched_on=True).state is State.OK
    assert "enable would" in judge_empty(["decoy"], [], switched_on=False).means


def test_authentication_alone_lets_nobody_in() -> None:
    """Sshd asks about the account as well."""
    half = walked("decoy", "PAM_SUCCESS", "PAM_PERM_DENIED")
    assert judge_empty(["decoy"], [half], switched_on=True).state is State.WARNING


def test_root() -> None:
    """From an address from which nobody may come in."""
    assert judge_root([REFUSED], "").state is State.OK
    assert judge_root([walked("root", "PAM_SUCCESS", "PAM_SUCCESS")], "").state is State.PROBLEM
    unasked = judge_root([], "no lines")
    assert (unasked.state, unasked.what) == (State.UNKNOWN, "no lines")


def test_uids() -> None:
    """Root's doubles, and each other's."""
    assert [check.state for check in judge_uids(ENTRIES)] == [State.OK, State.OK]
    twins = parse_passwd(PASSWD + "toor:x:0:0::/root:/bin/sh\nalice2:x:1001:1001::/:/bin/sh\n")
    assert [state(check) for check in judge_uids(twins)] == [
        (State.WARNING, ("toor",)),
        (State.WARNING, ("1001: alice, alice2",)),
    ]
