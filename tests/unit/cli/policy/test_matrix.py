"""`policy matrix`: the rows as a table, CSV, JSON and a page."""

import csv
import io

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.policy.conftest import POLICY, Write

ALICE, WEB = "alice@example.com", "web.tailnet.example"


def test_a_table(run: Run, policy: str, tailnet: str) -> None:
    """A row for each rule that gives something."""
    ran = run("policy", "matrix", policy, "--tailnet", tailnet)
    assert ran.status == 0
    assert [line.split() for line in ran.out.splitlines()[1:]] == [
        [ALICE, WEB, "root", "check", "12", "h", "ssh", "1"],
        [ALICE, WEB, "any", "but", "root", "accept", "ssh", "2"],
    ]


def test_csv(run: Run, policy: str, tailnet: str) -> None:
    """With the line of the rule in the file."""
    ran = run("policy", "matrix", policy, "--tailnet", tailnet, "--csv")
    assert list(csv.reader(io.StringIO(ran.out))) == [
        ["who", "where", "account", "action", "period", "rule", "line"],
        [ALICE, WEB, "root", "check", "43200", "1", "5"],
        [ALICE, WEB, "autogroup:nonroot", "accept", "", "2", "6"],
    ]


def test_what_a_spreadsheet_would_execute(run: Run, write: Write, tailnet: str) -> None:
    """Names of accounts can be anything."""
    path = write(POLICY.replace("autogroup:nonroot", "=cmd()"))
    ran = run("policy", "matrix", path, "--tailnet", tailnet, "--csv")
    assert [row[2] for row in csv.reader(io.StringIO(ran.out))] == ["account", "root", "'=cmd()"]


def test_json(run: Run, policy: str, tailnet: str) -> None:
    """The same for programs."""
    ran = run("policy", "matrix", policy, "--tailnet", tailnet, "--json")
    assert [(row["people"], row["nodes"], row["rule"], row["period"]) for row in ran.document["rows"]] == [
        ([ALICE], [WEB], 1, 43200.0),
        ([ALICE], [WEB], 2, None),
    ]


def test_html(run: Run, policy: str, tailnet: str) -> None:
    """One document, which names what it shows."""
    ran = run("policy", "matrix", policy, "--tailnet", tailnet, "--html")
    assert ran.status == 0
    assert ran.out.lower().startswith("<!doctype html>")
    assert ALICE in ran.out


def test_nobody(run: Run, write: Write, tailnet: str) -> None:
    """Is said."""
    ran = run("policy", "matrix", write("{}"), "--tailnet", tailnet)
    assert (ran.status, ran.out) == (0, "nobody can log in anywhere\n")


@pytest.mark.parametrize("formats", [("--json", "--csv"), ("--csv", "--html")])
def test_one_format(run: Run, policy: str, tailnet: str, formats: tuple[str, ...]) -> None:
    """At a time."""
    assert run("policy", "matrix", policy, "--tailnet", tailnet, *formats).status == 2
