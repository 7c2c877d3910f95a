"""Who can log in where: the same as asking for every pair of nodes and every account."""

import json
from typing import Any

import pytest
from hypothesis import given

from pam_tailscale.policy import document as policy_document
from pam_tailscale.policy.access import Account, Standing, Wide
from pam_tailscale.policy.matrix import Row, csv_rows, document, lines, matrix
from pam_tailscale.policy.roster import Person
from tests.support.policies import TAILNET, Answer, Login, entries, every_answer, policy
from tests.support.tailnets import ALICE, BOB

DEV_TO_WEB = {"action": "accept", "src": ["group:dev"], "dst": ["tag:web"], "users": ["deploy"]}
ALL_TO_SELF = {
    "action": "check",
    "src": ["autogroup:member"],
    "dst": ["autogroup:self"],
    "users": ["autogroup:nonroot", "root"],
}


def is_about(row: Row, login: Login) -> bool:
    """Whether a row speaks of this node as source and that one as where it logs in."""
    source = login.source.identity if not login.source.tags else ",".join(sorted(login.source.tags))
    if source not in row.who.names():
        return False
    own = not login.node.tags and login.node.owner == login.source.owner and not login.source.tags
    return any(
        login.node in place.nodes and (place.standing is Standing.OWN) is (own and login.node.owner in row.who.logins)
        for place in row.where.places
    )


def said(rows: list[Row], login: Login) -> Answer | None:
    """What the rows say of a login; each account that they give by name has one row, and so has any."""
    by_name: set[Account] = {login.account}
    if not login.source.tags and Person(login.source.owner).localpart == login.account:
        by_name.add(Wide.OWN)
    about = [row for row in rows if is_about(row, login)]
    named = [row for row in about if by_name & {*row.accounts}]
    general = [row for row in about if Wide.ANY in row.accounts and login.account != "root"]
    assert len(named) <= 1
    assert len(general) <= 1
    row = next(iter((*named, *general)), None)
    return None if row is None else Answer(row.entry.number, row.period, exact=bool(named))


@given(entries)
def test_it_says_what_evaluation_says(ssh: list[dict[str, Any]]) -> None:
    """Of every pair of nodes and every account: which entry, with which check, and whether by the account's name."""
    compiler = policy(*ssh)
    rows = matrix(compiler)
    for login, answer in every_answer(compiler):
        assert said(rows, login) == answer, login


@given(entries)
def test_the_csv_has_every_login_once(ssh: list[dict[str, Any]]) -> None:
    """Written out, the rows are the same logins, and no others: no node logs in on itself."""
    compiler = policy(*ssh)
    found = list(csv_rows(compiler, matrix(compiler)))
    assert len({row[:3] for row in found}) == len(found)
    written = {(who, where, account): int(rule) for who, where, account, _, _, rule, _ in found}
    pairs = {
        (",".join(sorted(source.tags)) or source.owner, node.name)
        for source in TAILNET.nodes
        for node in TAILNET.nodes
        if source is not node
    }
    assert {(who, where) for who, where, _ in written} <= pairs
    for login, answer in every_answer(compiler):
        source = ",".join(sorted(login.source.tags)) or login.source.owner
        by_name = written.get((source, login.node.name, login.account))
        general = written.get((source, login.node.name, "autogroup:nonroot")) if login.account != "root" else None
        assert (by_name or general) == (answer.rule if answer else None), login


def test_who_the_same_entries_name_is_one_row() -> None:
    """Four people's rows would say nothing more."""
    (row,) = matrix(policy(DEV_TO_WEB))
    assert list(row.who.names()) == [ALICE, BOB]
    assert (len(row.who), row.who.logins, row.who.tags) == (2, [ALICE, BOB], [])
    assert [node.name for node in row.where.nodes] == ["web", "web2", "both"]
    assert (row.accounts, row.period, row.where.own) == (("deploy",), None, False)


def test_own_devices_are_no_pairs() -> None:
    """However many people there are."""
    (row,) = matrix(policy(ALL_TO_SELF))
    assert row.where.own
    assert row.where.nodes == ()
    assert (row.accounts, row.period) == (("root", Wide.ANY), 12 * 3600)


def test_an_entry_that_another_one_makes_pointless_has_no_row() -> None:
    """The check comes first, wherever it stands."""
    check = DEV_TO_WEB | {"action": "check", "users": ["autogroup:nonroot"]}
    assert [row.entry.number for row in matrix(policy(DEV_TO_WEB, check))] == [2]


def test_csv_rows() -> None:
    """Period in seconds, empty where there is none."""
    compiler = policy(DEV_TO_WEB | {"src": [BOB]}, ALL_TO_SELF | {"src": [ALICE], "checkPeriod": "1h"})
    found = list(csv_rows(compiler, matrix(compiler)))
    assert found[0] == (BOB, "web", "deploy", "accept", "", "1", "1")
    assert (ALICE, "laptop", "autogroup:nonroot", "check", "3600", "2", "1") in found
    assert {row[1] for row in found if row[0] == ALICE} == {"laptop", "phone"}


def test_document() -> None:
    """Nothing in it is lost as JSON."""
    compiler = policy(DEV_TO_WEB, ALL_TO_SELF | {"src": ["group:dev"]})
    found = document(compiler, matrix(compiler))
    assert json.loads(json.dumps(found)) == found
    assert found["rows"][0] == {
        "people": [ALICE, BOB],
        "tags": [],
        "nodes": ["web", "web2", "both"],
        "own_devices": False,
        "accounts": ["deploy"],
        "any_but_root": False,
        "own_name": False,
        "action": "accept",
        "period": None,
        "rule": 1,
        "line": 1,
    }
    assert (found["rows"][1]["any_but_root"], found["rows"][1]["own_devices"]) == (True, True)


ENTRY = '{"action": "accept", "src": [], "dst": [], "users": ["a\u2028b"]}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", ()),
        ('{"ssh": []}', ()),
        (f'{{"ssh": [{ENTRY}]}}', (1,)),
        (f'{{\n// one\n"SSH": [ // two\n{ENTRY}, {ENTRY},\n\n/* {{ \n */ {ENTRY},]}}', (4, 4, 7)),
        (f'{{"groups": {{"group:\u2028": []}},\r\n"ssh":\r\n[\r\n{ENTRY}\r\n,{ENTRY}]}}', (4, 5)),
        (f'{{"ssh": [{{\n"action":\n"accept", "users": ["a"]}},\n{ENTRY}]}}', (1, 4)),
    ],
)
def test_lines(text: str, expected: tuple[int, ...]) -> None:
    """Where entries begin, as an editor counts lines."""
    assert lines(policy_document.read(text.encode(), "policy")) == expected
