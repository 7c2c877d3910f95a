"""`policy matrix`: the rows as a table, CSV, JSON and a page."""

import csv
import io
import json
from pathlib import Path

import pytest

from pam_tailscale.host.doctor import ask
from pam_tailscale.policy.rules import parse_policy
from pam_tailscale.tailnet.localapi import LocalAPI
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


def test_who_and_what_nobody_knows(run: Run, write: Write, tailnet: str) -> None:
    """They stand there as the policy calls them, and that they do is said."""
    path = write(
        POLICY.replace(
            '"alice@example.com"], "dst": ["tag:web"], "users": ["root"]',
            '"autogroup:admin"], "dst": ["tag:new"], "users": ["root"]',
        ).replace('"tagOwners": {', '"tagOwners": {"tag:new": [], ')
    )
    ran = run("policy", "matrix", path, "--tailnet", tailnet, "--csv")
    assert ran.out.splitlines()[1] == "autogroup:admin,tag:new,root,check,43200,1,5"
    assert ran.err == (
        f"pam-tailscale: {path}: autogroup:admin (ssh 1) counts for nobody who is known: say who has the role, with "
        "--role admin=LOGIN; whoever has it may have to pass a check (ssh 1) before anything that is told here\n"
    )


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


@pytest.mark.parametrize(
    "arguments", [(), ("--live", "FILE"), ("--live", "--html"), ("--live", "--domain", "example.com")]
)
def test_a_file_or_this_node(run: Run, policy: str, arguments: tuple[str, ...]) -> None:
    """One of the two."""
    given = [policy if argument == "FILE" else argument for argument in arguments]
    assert run("policy", "matrix", *given).status == 2


def test_live(run: Run, tailnet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules that this node has, and who of its tailnet they are about."""
    status = json.loads(Path(tailnet).read_text())
    raw = {"principals": [{"nodeIP": "100.64.0.2"}], "sshUsers": {"*": "=", "root": ""}, "action": {"accept": True}}
    monkeypatch.setattr(LocalAPI, "status_document", lambda _: status)
    monkeypatch.setattr(ask, "policy", lambda *_: parse_policy({"rules": [raw]}))
    ran = run("policy", "matrix", "--live")
    assert (ran.status, ran.out.splitlines()[1].split()) == (
        0,
        ["bob@example.com", "any", "but", "root", "accept", "netmap", "1"],
    )
    ran = run("policy", "matrix", "--live", "--csv")
    assert ran.out.splitlines()[1] == "bob@example.com,phone.tailnet.example,autogroup:nonroot,accept,1"
    ran = run("policy", "matrix", "--live", "--json")
    assert ran.document["rows"][0]["nodes"] == ["phone.tailnet.example"]


def test_live_where_nobody_can(run: Run, tailnet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is said as well."""
    status = json.loads(Path(tailnet).read_text())
    monkeypatch.setattr(LocalAPI, "status_document", lambda _: status)
    monkeypatch.setattr(ask, "policy", lambda *_: parse_policy({"rules": []}))
    assert run("policy", "matrix", "--live").out == "nobody can log in anywhere\n"
