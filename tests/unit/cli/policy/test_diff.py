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


def entry(action: str, source: str, destination: str = "tag:web", users: str = "root", more: str = "") -> str:
    """One of `ssh`."""
    return f'{{"action": "{action}", "src": ["{source}"], "dst": ["{destination}"], "users": ["{users}"]{more}}}'


def section(*entries: str) -> str:
    """A policy of these."""
    owners = '"tagOwners": {"tag:web": [], "tag:new": []}, "groups": {"group:new": ["dave@example.com"]}'
    return f'{{{owners}, "ssh": [{", ".join(entries)}]}}'


@pytest.mark.parametrize(
    ("added", "who", "where"),
    [
        (entry("accept", "autogroup:admin"), "autogroup:admin", WEB),
        (entry("accept", "carol@example.com"), "carol@example.com", WEB),
        (entry("accept", "group:new"), "dave@example.com", WEB),
        (entry("accept", ALICE, "tag:new"), ALICE, "tag:new"),
    ],
    ids=["a role", "a person without a node", "a group of one whom nobody knows", "a tag that no node has"],
)
def test_who_and_what_nobody_knows(
    run: Run, write: Write, tmp_path: Path, tailnet: str, added: str, who: str, where: str
) -> None:
    """What they gain fails as what others do: it will be theirs as soon as they are there."""
    old = tmp_path / "old.hujson"
    old.write_text(section())
    for fail_on in ("any", "gained", "grave"):
        ran = run("policy", "diff", old, write(section(added)), "--tailnet", tailnet, "--fail-on", fail_on)
        assert ran.status == 1
    row = ran.out.splitlines()[1].split()
    assert row[:4] == ["!", "gained", who, where]


@pytest.mark.parametrize("fail_on", ["any", "gained", "grave"])
def test_what_cannot_be_compared_fails(run: Run, write: Write, tmp_path: Path, tailnet: str, fail_on: str) -> None:
    """If alice is admin she had to pass a check, and has not any more; if the posture did not hold, she gains it."""
    old = tmp_path / "old.hujson"
    accept = entry("accept", ALICE)
    for text, name, others in (
        (section(entry("check", "autogroup:admin"), accept), "autogroup:admin", 1),
        (section(entry("accept", ALICE, more=', "srcPosture": ["posture:x"]')), "srcPosture posture:x", 0),
    ):
        old.write_text(text)
        asked = ("policy", "diff", old, write(section(accept)), "--tailnet", tailnet, "--fail-on", fail_on)
        ran = run(*asked)
        assert ran.status == 1
        assert ran.out.splitlines()[-1] == f"not compared: what hangs on {name}"
        ran = run(*asked, "--json")
        assert (ran.status, ran.document["not_compared"], len(ran.document["changes"])) == (1, [name], others)


def test_a_known_role_is_compared(run: Run, write: Write, tmp_path: Path, tailnet: str) -> None:
    """Then nothing is left to guess."""
    old = tmp_path / "old.hujson"
    old.write_text(section(entry("check", "autogroup:admin"), entry("accept", ALICE)))
    asked = ("policy", "diff", old, write(section(entry("accept", ALICE))), "--tailnet", tailnet, "--fail-on", "grave")
    assert run(*asked, "--role", "admin=bob@example.com").status == 0
    ran = run(*asked, "--role", f"admin={ALICE}", "--json")
    assert (ran.status, ran.document["not_compared"]) == (1, [])
    assert [change["change"] for change in ran.document["changes"]] == ["check_lost"]
