"""Rules as rows."""

import pytest

from pam_tailscale.cli.rules import rule_rows

RULE = {
    "source": "netmap",
    "rule": 2,
    "action": "accept",
    "users": {},
    "why": "matches",
    "not_enforced": [],
    "unknown_fields": [],
}


@pytest.mark.parametrize(
    ("users", "text"),
    [
        ({"*": "=", "root": ""}, "* but root"),
        ({"*": "=", "root": "root"}, "*, root"),
        ({"deploy": "deploy", "root": ""}, "deploy"),
        ({"ops": "deploy"}, "ops as deploy"),
        ({"root": ""}, ""),
    ],
)
def test_accounts(users: dict[str, str], text: str) -> None:
    """An account that is excepted is named only where it would be meant otherwise."""
    assert list(rule_rows([RULE | {"users": users}])) == [["netmap 2", "accept", text, "matches"]]


def test_what_stands_in_the_way_is_said() -> None:
    """Beside what became of the rule."""
    odd = RULE | {"not_enforced": ["recorders"], "withheld": ["pty withheld"], "unknown_fields": ["novel"]}
    assert next(iter(rule_rows([odd])))[3] == (
        "matches; demands what cannot be enforced: recorders; by key alone: pty withheld; has unknown fields: novel"
    )
