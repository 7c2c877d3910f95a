"""Passes: one connection's, for one demand, for a moment."""

import dataclasses
from typing import Any

import pytest

from pam_tailscale.check.passes import ENTRIES_MAX, KEEP, PassTable
from pam_tailscale.model import Connection, Demand
from tests.support.facts import CONNECTION, PEER

DEMAND = Demand(PEER, "alice", CONNECTION, "https://unused/check", 3600.0)
OTHERS: list[dict[str, Any]] = [
    {"peer": dataclasses.replace(PEER, login="bob@example.com")},
    {"peer": dataclasses.replace(PEER, stable_id="n8CNTRL")},
    {"user": "root"},
    {"delegate": ""},
    {"period": 0.0},
    {"period": None},
    {"connection": dataclasses.replace(CONNECTION, client_port=40001)},
    {"connection": dataclasses.replace(CONNECTION, server_port=2222)},
    {"connection": dataclasses.replace(CONNECTION, client=CONNECTION.server, server=CONNECTION.client)},
]


@pytest.fixture
def table() -> PassTable:
    """DEMAND has been passed at 100."""
    made = PassTable()
    made.grant(DEMAND, 100.0)
    return made


def at_port(port: int) -> Connection:
    """A connection of the same person."""
    return dataclasses.replace(CONNECTION, client_port=port)


def test_nobody_has_passed_at_first() -> None:
    """An empty table holds nothing, and forgets nothing."""
    table = PassTable()
    table.forget(CONNECTION)
    table.forget_person(PEER.login)
    assert not table.holds(DEMAND, 0.0)


@pytest.mark.parametrize(
    ("later", "holds"), [(0.0, True), (KEEP, True), (KEEP + 0.1, False)], ids=["at once", "at the end", "after it"]
)
def test_a_pass_ends_with_its_time(table: PassTable, later: float, holds: bool) -> None:  # noqa: FBT001 (a row)
    """A login is complete by then, or gone."""
    assert table.holds(DEMAND, 100.0 + later) is holds


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: repr(change)[:50])
def test_a_pass_is_for_just_its_demand(table: PassTable, change: dict[str, Any]) -> None:
    """Not for another person, node, account, rule or connection."""
    assert not table.holds(dataclasses.replace(DEMAND, **change), 100.0)


def test_what_a_peer_is_called_does_not_matter(table: PassTable) -> None:
    """A node may be renamed, or its key renewed, in the middle of a login."""
    renamed = dataclasses.replace(PEER, name="other.tailnet.example", key_expiry=1.0)
    assert table.holds(dataclasses.replace(DEMAND, peer=renamed), 100.0)


def test_a_later_pass_of_a_connection_takes_the_place_of_the_one_before(table: PassTable) -> None:
    """With its own demand and its own time."""
    table.grant(dataclasses.replace(DEMAND, user="root"), 200.0)
    assert not table.holds(DEMAND, 200.0)
    assert table.holds(dataclasses.replace(DEMAND, user="root"), 200.0 + KEEP)


def test_a_complete_login_leaves_no_pass(table: PassTable) -> None:
    """The numbers of its connection may come again; other connections keep theirs."""
    other = dataclasses.replace(DEMAND, connection=at_port(1))
    table.grant(other, 100.0)
    table.forget(CONNECTION)
    assert not table.holds(DEMAND, 100.0)
    assert table.holds(other, 100.0)


def test_forgetting_a_person_takes_all_their_passes(table: PassTable) -> None:
    """On all nodes and connections, and nobody else's."""
    second = dataclasses.replace(DEMAND, peer=dataclasses.replace(PEER, stable_id="n8CNTRL"), connection=at_port(1))
    bobs = dataclasses.replace(DEMAND, peer=dataclasses.replace(PEER, login="bob@example.com"), connection=at_port(2))
    for one in (second, bobs):
        table.grant(one, 100.0)
    table.forget_person(PEER.login)
    assert [table.holds(one, 100.0) for one in (DEMAND, second, bobs)] == [False, False, True]


def test_there_are_not_more_passes_than_have_room() -> None:
    """The oldest goes first; one that was granted anew is not the oldest."""
    table = PassTable()
    demands = [dataclasses.replace(DEMAND, connection=at_port(port)) for port in range(ENTRIES_MAX + 1)]
    for one in [*demands[:-1], demands[0], demands[-1]]:
        table.grant(one, 0.0)
    assert table.holds(demands[0], 0.0)
    assert not table.holds(demands[1], 0.0)
    assert all(table.holds(one, 0.0) for one in demands[2:])


def test_a_person_is_forgotten_however_they_are_written() -> None:
    """Upper case means nothing in a login."""
    table = PassTable()
    table.grant(DEMAND, 0.0)
    table.forget_person(DEMAND.person.upper())
    assert not table.holds(DEMAND, 0.0)
