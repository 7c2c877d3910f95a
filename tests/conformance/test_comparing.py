"""The comparison can fail: what is altered in a recording is seen, and a directory without recordings is no success."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import recordings

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "conformance"
NODE = "beedrill"
"""A node with tag:server."""


def recorded(name: str = "ssh-d2") -> Any:
    """A recording as JSON; this one lets three people in by the names of their logins."""
    return json.loads((DATA / f"{name}.json").read_text())


def disagreement(recording: Any) -> str:
    """What is different in it."""
    return recordings.disagreement(recordings.read(json.dumps(recording)))


def swap_rules(rules: list[Any]) -> None:
    """Change the order of two."""
    rules[0], rules[1] = rules[1], rules[0]


def repeat_principal(rules: list[Any]) -> None:
    """Name a node twice."""
    rules[0]["principals"].append(rules[0]["principals"][0])


def take_principal(rules: list[Any]) -> None:
    """Forget one."""
    del rules[0]["principals"][0]


def turn_principals(rules: list[Any]) -> None:
    """Name them in another order, which means the same."""
    for rule in rules:
        rule["principals"].reverse()


def add_empty(rules: list[Any]) -> None:
    """Write out what is empty, which means the same."""
    rules[0] |= {"acceptEnv": [], "ruleExpires": None}
    rules[0]["action"]["holdAndDelegate"] = ""


SEEN: list[Callable[[list[Any]], object]] = [
    swap_rules,
    repeat_principal,
    take_principal,
    list.pop,
    list.clear,
    lambda rules: rules[0]["sshUsers"].update(root="root"),
    lambda rules: rules[0].pop("sshUsers"),
    lambda rules: rules[0].update(acceptEnv=["LANG"]),
    lambda rules: rules[0].update(ruleExpires="2030-01-01T00:00:00Z"),
    lambda rules: rules[0]["action"].update(accept=False),
    lambda rules: rules[0]["action"].update(allowAgentForwarding=False),
    lambda rules: rules[0]["action"].update(message="hello"),
    lambda rules: rules[0]["action"].update(holdAndDelegate="https://unused"),
]


@pytest.mark.parametrize("alter", SEEN)
def test_other_rules_are_seen(alter: Callable[[list[Any]], object]) -> None:
    """For one node among fifteen."""
    recording = recorded()
    assert disagreement(recording) == ""
    alter(recording["ssh_policy"][NODE])
    assert disagreement(recording).startswith(f"rules of {NODE} there:")


@pytest.mark.parametrize("alter", [turn_principals, add_empty])
def test_what_means_the_same_is_the_same(alter: Callable[[list[Any]], object]) -> None:
    """The order of principals, and what is empty."""
    recording = recorded()
    alter(recording["ssh_policy"][NODE])
    assert disagreement(recording) == ""


def test_a_node_without_rules_may_be_absent() -> None:
    """And one that should have some may not."""
    recording = recorded()
    assert recording["ssh_policy"].pop("weedle") == []
    assert disagreement(recording) == ""
    del recording["ssh_policy"][NODE]
    assert disagreement(recording)


def test_other_answers_are_seen() -> None:
    """Refused for accepted, accepted for refused, refused for another reason."""
    recording = recorded()
    recording["response"] = {"code": 400, "message": "users must be specified"}
    assert disagreement(recording) == "refused there, and here accepted: users must be specified"
    recording = recorded("ssh-users-null")
    recording["response"] = {"code": 200, "message": None}
    assert "accepted there, and here refused" in disagreement(recording)
    recording["response"] = {"code": 400, "message": "action must be specified"}
    assert "refused there: action must be specified" in disagreement(recording)


def test_failing_ssh_tests_refuse() -> None:
    """With the control plane's words."""
    recording = recorded("sshtest-user-root-only")
    assert disagreement(recording) == ""
    recording["policy"]["sshTests"][0]["deny"] = ["root"]
    assert "test(s) failed" in disagreement(recording)


@pytest.mark.parametrize(
    "alter",
    [
        lambda recording: recording["response"].update(code=400),
        lambda recording: recording["ssh_policy"].update(elsewhere=[]),
        lambda recording: recording["nodes"][NODE].update(owner="nobody"),
        lambda recording: recording.pop("ssh_policy"),
    ],
)
def test_what_is_no_recording_is_not_compared(alter: Callable[[Any], object]) -> None:
    """A refusal without a message, rules for nobody, an owner who is not in the tailnet."""
    recording = recorded()
    alter(recording)
    with pytest.raises((ValueError, KeyError)):
        disagreement(recording)


def test_the_real_name_is_the_published_one() -> None:
    """In the same case; other names stay."""
    recording = recorded("ssh-e1")
    assert disagreement(recording) == ""
    recording["policy"]["ssh"][0]["users"] = ["localpart:*@example.net"]
    assert "refused there: EXAMPLE.COM is not associated" in disagreement(recording)
    recording["response"]["message"] = "[ssh] passkey is not associated"
    assert "refused there: [ssh] example.com is not associated" in disagreement(recording)


def test_a_policy_may_be_text() -> None:
    """As it was given, with its comments."""
    recording = recorded()
    recording["policy"] = "// who may log in\n" + json.dumps(recording["policy"])
    assert disagreement(recording) == ""


def run(directory: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The tests of the recordings in a directory."""
    tests = ROOT / "tests" / "conformance" / "test_recordings.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), str(tests)]
    return subprocess.run(
        [*command, "--conformance-dir", str(directory)], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_a_directory_without_recordings_fails(tmp_path: Path) -> None:
    """Nothing compared is no agreement."""
    (tmp_path / "README.md").write_text("no recordings yet")
    done = run(tmp_path)
    assert done.returncode == 1
    assert "has no recordings" in done.stdout
    assert "1 failed" in done.stdout


def test_a_file_that_is_added_is_compared(tmp_path: Path) -> None:
    """Whatever its name; from the directory in which pytest is called."""
    (tmp_path / "new.json").write_text(json.dumps(recorded()))
    done = run(tmp_path)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True)
    altered = recorded()
    altered["ssh_policy"][NODE].pop()
    (tmp_path / "another.json").write_text(json.dumps(altered))
    done = run(Path(tmp_path.name), cwd=tmp_path.parent)
    assert "test_answer[another]" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
