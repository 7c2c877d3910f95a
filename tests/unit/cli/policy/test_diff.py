"""`policy diff`: what changes for whom, and the exit status for CI."""

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.policy.conftest import POLICY, Write

ALICE, WEB = "alice@example.com", "web.tailnet.example"
NO_CHECK = POLICY.replace('"check", "src"', '"accept", "src"')
LESS = POLICY.replace("autogroup:nonroot", "deploy")


def test_nothing_changes(run: Run, policy: str, write: Write, tailnet: str) -> None:
    """Whatever became of the text."""
    ran = run("policy", "diff", policy, write(POLICY.replace("  //", "//")), "--tailnet", tailnet)
    assert (ran.status, ran.out) == (0, "nobody's access changes\n")


def test_a_check_that_is_lost_is_marked(run: Run, policy: str, write: Write, tailnet: str) -> None:
    """And comes with both rules."""
    ran = run("policy", "diff", policy, write(NO_CHECK), "--tailnet", tailnet)
    assert ran.status == 1
    _, row, last = ran.out.splitlines()
    assert row.split() == (
        ["!", "check", "lost", ALICE, WEB, "root", "check", "12", "h", "(ssh", "1)", "accept", "(ssh", "1)"]
    )
    assert last == "1 grave: root access gained, or a check lost"
    ran = run("policy", "diff", policy, write(NO_CHECK), "--tailnet", tailnet, "--json")
    (change,) = ran.document["changes"]
    assert (change["change"], change["grave"], change["accounts"]) == ("check_lost", True, ["root"])


@pytest.mark.parametrize(
    ("text", "fail_on", "status"),
    [
        (NO_CHECK, "grave", 1),
        (NO_CHECK, "gained", 1),
        (LESS, "any", 1),
        (LESS, "grave", 0),
        ('{"ssh": []}', "any", 1),
        ('{"ssh": []}', "gained", 0),
    ],
)
def test_what_ci_fails_on(
    run: Run, policy: str, write: Write, tailnet: str, text: str, fail_on: str, status: int
) -> None:
    """Whoever reviews every change asks for any; whoever only fears some, for these."""
    assert run("policy", "diff", policy, write(text), "--tailnet", tailnet, "--fail-on", fail_on).status == status


def test_a_file_that_is_refused(run: Run, policy: str, write: Write, tailnet: str) -> None:
    """Is no policy to compare with."""
    ran = run("policy", "diff", policy, write("{"), "--tailnet", tailnet)
    assert (ran.status, ran.out) == (3, "")
    assert f"{Path(policy).parent}/other.hujson:1:2: " in ran.err
