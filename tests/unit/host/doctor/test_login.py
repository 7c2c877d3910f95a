"""One login: does PAM do what the agent says?"""

from typing import Any

import pytest

from pam_tailscale.host.doctor.check import State
from pam_tailscale.host.doctor.login import Login, judge, why_not_walk
from pam_tailscale.host.doctor.walking import Walked

IN = Walked("alice", (("pam_authenticate", "PAM_SUCCESS"), ("pam_acct_mgmt", "PAM_SUCCESS")))
OUT = Walked("alice", (("pam_authenticate", "PAM_AUTH_ERR"),), ("tailscale: no",))


def told(decision: str = "allow", check: Any = None) -> dict[str, Any]:
    """The agent's document, as far as it matters here."""
    return {"decision": decision, "reason": "accepted", "check": check}


@pytest.mark.parametrize(
    ("decision", "walked", "state"),
    [
        ("allow", IN, State.OK),
        ("deny", OUT, State.OK),
        ("deny", IN, State.PROBLEM),
        ("allow", OUT, State.PROBLEM),
    ],
    ids=["both let in", "both refuse", "PAM lets in", "PAM refuses"],
)
def test_agent_and_pam(decision: str, walked: Walked, state: State) -> None:
    """A refusal that the policy means is in order."""
    check = judge(Login(told(decision), "", walked, ""))
    assert check.state is state
    assert walked.code in check.what


def test_a_check_is_not_started() -> None:
    """By nobody but a login: also where it has been passed, since that may end before PAM is asked."""
    assert why_not_walk(told("check"))
    assert why_not_walk(told("allow", check={"by": "oidc"}))
    assert why_not_walk(told("allow")) == ""
    assert why_not_walk(told("deny")) == ""
    check = judge(Login(told("check"), "", None, why_not_walk(told("check"))))
    assert check.state is State.OK
    assert "nobody but a login may start one" in check.what


def test_what_is_not_known() -> None:
    """The agent is down, or PAM was not asked."""
    assert judge(Login(None, "nobody answers", None, "")).state is State.UNKNOWN
    assert judge(Login(told(), "", None, "no lines")).state is State.UNKNOWN


def test_document() -> None:
    """What cannot be shown is a part of it."""
    document = Login(told("deny"), "", OUT, "").document
    assert document["pam"] == {
        "lets_in": False,
        "steps": [{"function": "pam_authenticate", "result": "PAM_AUTH_ERR"}],
        "person_reads": ["tailscale: no"],
    }
    assert document["explanation"]["decision"] == "deny"
    assert any("session" in one for one in document["left_out"])
    assert Login(None, "x", None, "y").document["pam"] is None
