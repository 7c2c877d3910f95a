"""Who can log in on a node, by the rules it has received."""

from typing import Any

from pam_tailscale.policy.live import csv_rows, document, live
from pam_tailscale.policy.rules import Policy, parse_policy
from pam_tailscale.policy.selectors import NONROOT
from tests.support.tailnets import ALICE, BOB, TAILNET, WEB, compiled

CHECK = {"action": "check", "src": [ALICE], "dst": ["tag:web"], "users": ["root"]}
ANY = {"action": "accept", "src": ["autogroup:member"], "dst": ["tag:web"], "users": ["autogroup:nonroot"]}
NAMED = {"action": "accept", "src": [BOB, "tag:db"], "dst": ["tag:web"], "users": ["deploy", "root"]}


def received(*entries: dict[str, Any]) -> Policy:
    """What the node `web` receives."""
    return compiled(ssh=entries).policy_for(WEB)


def test_by_rule_and_by_who() -> None:
    """A person's nodes together; what is named where any is given is listed once."""
    rows = live(received(CHECK, ANY, NAMED), TAILNET, "web", 0.0)
    assert [(row.identities, row.accounts, row.action, row.rule.number) for row in rows] == [
        ((ALICE,), ("root",), "check", 1),
        ((ALICE, BOB, "carol@example.org"), (NONROOT,), "accept", 2),
        ((BOB,), ("root",), "accept", 3),
        (("tag:db", "tag:web,tag:db"), ("root", "deploy"), "accept", 3),
    ]


def test_the_node_itself_is_left_out() -> None:
    """No host lets in its own connections."""
    rule = NAMED | {"src": ["tag:web"]}
    (row,) = live(received(rule), TAILNET, "web", 0.0)
    assert [node.name for node in row.nodes] == ["both"]


def test_a_rule_that_has_expired_gives_nothing() -> None:
    """From its moment on."""
    raw = {
        "rules": [
            {
                "principals": [{"any": True}],
                "sshUsers": {"*": "="},
                "action": {"accept": True},
                "ruleExpires": "2027-01-15T08:00:00Z",
            }
        ]
    }
    assert live(parse_policy(raw), TAILNET, "web", 2e9) == []
    assert len(live(parse_policy(raw), TAILNET, "web", 1e9)) == 1


def test_what_rejects_gives_nothing() -> None:
    """Nor does what comes after it."""
    reject = {"principals": [{"any": True}], "sshUsers": {"*": "="}, "action": {"reject": True}}
    accept = {"principals": [{"any": True}], "sshUsers": {"*": "="}, "action": {"accept": True}}
    assert live(parse_policy({"rules": [reject, accept]}), TAILNET, "web", 0.0) == []


def test_documents() -> None:
    """For spreadsheets, one by one, and for programs."""
    rows = live(received(CHECK), TAILNET, "web", 0.0)
    assert list(csv_rows(rows)) == [(ALICE, "laptop", "root", "check", "1"), (ALICE, "phone", "root", "check", "1")]
    assert document(rows)["rows"] == [
        {
            "identities": (ALICE,),
            "nodes": ["laptop", "phone"],
            "accounts": ["root"],
            "any_but_root": False,
            "action": "check",
            "rule": 1,
        }
    ]
