"""What is not known is said, with the entries that hang on it."""

import json
from typing import Any

from pam_tailscale.cli.policy.doubts import doubts
from pam_tailscale.policy import document
from pam_tailscale.policy.roster import Person, Tailnet

BOSS, CHECKED = {"src": ["autogroup:admin"], "action": "accept"}, {"src": ["autogroup:auditor"], "action": "check"}
TAILNET = Tailnet((Person("alice@example.com"),), ())


def said(tailnet: Tailnet, *entries: dict[str, Any]) -> list[str]:
    """The lines about a policy of these entries."""
    ssh = [{"dst": ["autogroup:self"], "users": ["root"], **entry} for entry in entries]
    return list(doubts(document.read(json.dumps({"ssh": ssh}).encode(), "policy"), tailnet))


def test_roles() -> None:
    """A check may come before all else; where someone has the role there is nothing to say."""
    assert said(TAILNET, BOSS, CHECKED, BOSS) == [
        "autogroup:admin (ssh 1, 3) counts for nobody who is known: say who has the role, with --role admin=LOGIN",
        (
            "autogroup:auditor (ssh 2) counts for nobody who is known: say who has the role, with --role auditor=LOGIN;"
            " whoever has it may have to pass a check (ssh 2) before anything that is told here"
        ),
    ]
    both = Tailnet((Person("alice@example.com", frozenset({"admin", "auditor"})),), ())
    assert said(both, BOSS, CHECKED) == []


def test_postures() -> None:
    """Only the control plane knows whether they hold."""
    assert said(TAILNET, {"src": ["alice@example.com"], "action": "accept", "srcPosture": ["posture:x"]}) == [
        "ssh 1 counts only for devices with a posture: here it is taken to count for all"
    ]
