"""The group: its commands, and that none of them needs an agent."""

import pytest

from pam_tailscale.cli.policy.group import policy
from tests.unit.cli.conftest import Run


@pytest.mark.parametrize("name", sorted(policy.commands))
def test_every_command_has_help(run: Run, name: str) -> None:
    """That ends with what it exits with, or says what it shows."""
    ran = run("policy", name, "--help")
    assert ran.status == 0
    assert "FILE" in ran.out or "OLD" in ran.out


def test_the_commands() -> None:
    """No fewer."""
    assert sorted(policy.commands) == ["check", "compile", "diff", "explain", "matrix", "test"]
