"""`doctor`: on one screen what is wrong, and an exit status that says whether anything is."""

import os
from typing import Any

import pytest

from pam_tailscale.cli import doctor as command
from pam_tailscale.host.doctor.check import Check, State, ok, problem, unknown, warning
from pam_tailscale.host.doctor.examine import Report, Wish
from pam_tailscale.host.doctor.halves import Switched
from pam_tailscale.host.doctor.login import Login
from pam_tailscale.host.doctor.walking import Walked
from pam_tailscale.model import parse_address
from tests.unit.cli.conftest import Run

BAD = problem("pam-half", "it is missing", "nobody asks", "pam-tailscale enable")
DARK = unknown("units", "no systemd", "look there")
NOTED = warning("shared-accounts", "shared", "one is the other", "see", [f"a{number}" for number in range(10)])
FINE = ok("drop-in", "as written")
TOLD = {
    "user": "alice",
    "from": "100.64.0.2:0",
    "node": "laptop",
    "identity": "alice@example.com",
    "decision": "deny",
    "reason": "no_rule",
    "detail": "no rule",
}


def finds(monkeypatch: pytest.MonkeyPatch, *checks: Check, login: Login | None = None) -> list[Wish | None]:
    """What `examine` answers; what it was asked is noted."""
    asked: list[Wish | None] = []

    def examine(wish: Wish | None) -> Report:
        asked.append(wish)
        return Report(Switched.ON, checks, login)

    monkeypatch.setattr(command, "examine", examine)
    return asked


def lines(text: str) -> list[str]:
    """Without blanks at their ends, and without empty ones."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_problems_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with what it means and what mends it; what is in order is only counted."""
    finds(monkeypatch, FINE, NOTED, DARK, BAD)
    ran = run("doctor")
    assert (ran.status, ran.err) == (1, "")
    assert lines(ran.out) == [
        "This host is on: over the tailnet its policy is to decide",
        "problem: pam-half: it is missing",
        "    means  nobody asks",
        "    mend   pam-tailscale enable",
        "unknown: units: no systemd",
        "    mend   look there",
        "warning: shared-accounts: shared",
        *(f"    - a{number}" for number in range(8)),
        "    - and 2 more: see --json",
        "    means  one is the other",
        "    mend   see",
        "problems: 1, not seen: 1, warnings: 1, in order: 1",
    ]


@pytest.mark.parametrize(
    ("checks", "status"),
    [([FINE], 0), ([FINE, NOTED], 0), ([DARK, NOTED], 3), ([DARK, BAD], 1)],
    ids=["in order", "warnings", "not seen", "problem"],
)
def test_exit_status(run: Run, monkeypatch: pytest.MonkeyPatch, checks: list[Check], status: int) -> None:
    """The same with --json."""
    finds(monkeypatch, *checks)
    assert run("doctor").status == status
    ran = run("doctor", "--json")
    assert (ran.status, ran.document["in_order"]) == (status, status == 0)


def test_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything, in the same order."""
    asked = finds(monkeypatch, FINE, BAD)
    document = run("doctor", "--json").document
    assert set(document) == {"switched", "in_order", "checks", "login"}
    assert (document["switched"], document["login"]) == ("on", None)
    assert [one["name"] for one in document["checks"]] == ["pam-half", "drop-in"]
    assert asked == [None]


def test_a_login(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the agent says, what PAM does, and what that cannot show."""
    walked = Walked("alice", (("pam_authenticate", "PAM_AUTH_ERR"),), ("tailscale: no",))
    asked = finds(monkeypatch, FINE, login=Login(TOLD, "", walked, ""))
    ran = run("doctor", "alice", "--from", "[fd7a:115c:a1e0::2]:7")
    assert asked == [Wish("alice", parse_address("fd7a:115c:a1e0::2"), 7)]
    shown = dict(line.split(None, 1) for line in lines(ran.out)[1:6])
    assert shown["login"] == "alice from 100.64.0.2:0 laptop"
    assert shown["agent"] == "deny: no_rule"
    assert shown["PAM"] == "pam_authenticate PAM_AUTH_ERR"
    assert "pam_open_session" in ran.out
    document = run("doctor", "alice", "--from", "100.64.0.2", "--json").document
    assert document["login"]["pam"]["lets_in"] is False


def test_a_login_that_was_not_walked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says why, also where the agent says nothing."""
    finds(monkeypatch, login=Login(TOLD, "", None, "its rule asks for a check"))
    assert "not asked: its rule asks for a check" in run("doctor", "alice", "--from", "100.64.0.2").out
    finds(monkeypatch, login=Login(None, "x", None, "the agent does not explain it"))
    assert "not asked: the agent does not explain it" in run("doctor", "alice", "--from", "100.64.0.2").out


@pytest.mark.parametrize(
    "arguments",
    [["alice"], ["--from", "100.64.0.2"], ["alice", "--from", "nowhere"], ["alice", "bob", "--from", "100.64.0.2"]],
    ids=["no address", "no account", "no such address", "two accounts"],
)
def test_wrong_usage(run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """Nothing is looked at."""
    asked = finds(monkeypatch, FINE)
    assert run("doctor", *arguments).status == 2
    assert asked == []


def test_not_root(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says so, and cannot tell."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ran = run("doctor")
    assert ran.status == 3
    assert "sudo pam-tailscale doctor" in ran.out
    assert run("doctor", "--json").document["switched"] is None


@pytest.mark.parametrize("text", ["[red]x", "\x1b[2J", "a\nproblem: b"])
def test_what_was_seen_is_no_markup(run: Run, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Names of nodes and files come from anywhere."""
    finds(monkeypatch, warning("relaying-nodes", text, text, text, [text]))
    ran = run("doctor")
    assert "\x1b" not in ran.out
    assert len(lines(ran.out)) == 6
    assert ran.out.count(text.replace("\x1b", "\\x1b").replace("\n", "\\n")) == 4


def test_every_state_and_switch_has_its_words() -> None:
    """One that is new must not end in an error."""
    tables: list[dict[Any, Any]] = [command._STYLES, command._WORDS]
    assert all(set(table) == set(State) for table in tables)
    assert set(command._SWITCHED) == {*Switched, None}
