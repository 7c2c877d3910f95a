"""Addresses and what they print as."""

import dataclasses
import ipaddress
from typing import Any

import pytest

from pam_tailscale.model import Connection, Decision, Demand, Reason, Verdict, in_tailnet, join_port, parse_address
from tests.support.facts import CONNECTION, PEER, TAGGED


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("100.64.0.7", "100.64.0.7"),
        ("::ffff:100.64.0.7", "100.64.0.7"),
        ("::FFFF:6440:7", "100.64.0.7"),
        ("fd7a:115c:a1e0::7", "fd7a:115c:a1e0::7"),
        ("FD7A:115C:A1E0:0::7", "fd7a:115c:a1e0::7"),
        ("::1", "::1"),
    ],
)
def test_addresses_are_unmapped(text: str, address: str) -> None:
    """An IPv4 address is one however the kernel shows it."""
    assert parse_address(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "alice",
        "100.64.0",
        "100.64.0.07",
        "100.64.0.7 ",
        "100.64.0.7:22",
        "[fd7a::7]",
        "fe80::1%eth0",
        "fd7a:115c:a1e0::7%1",
        "100.64.0.7/32",
        "1684275207",
        "\u0661.1.1.1",
        "100.64.0.7\0",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """So is one with a scope id: no tailnet address has one."""
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("100.64.0.0", True),
        ("100.127.255.255", True),
        ("100.63.255.255", False),
        ("100.128.0.0", False),
        ("fd7a:115c:a1e0::", True),
        ("fd7a:115c:a1e0:ffff::1", True),
        ("fd7a:115c:a1e1::", False),
        ("127.0.0.1", False),
        ("::1", False),
    ],
)
def test_the_ranges_of_a_tailnet(text: str, inside: bool) -> None:  # noqa: FBT001 (a column of the table)
    """100.64.0.0/10 and fd7a:115c:a1e0::/48."""
    assert in_tailnet(parse_address(text)) is inside


def test_ports_are_joined_as_urls_have_them() -> None:
    """IPv6 in brackets."""
    assert join_port(parse_address("100.64.0.7"), 22) == "100.64.0.7:22"
    assert join_port(parse_address("fd7a::7"), 22) == "[fd7a::7]:22"
    connection = Connection(parse_address("fd7a::7"), 1, parse_address("100.64.0.1"), 22)
    assert str(connection) == "[fd7a::7]:1 to 100.64.0.1:22"


def test_an_identity_is_a_person_or_tags() -> None:
    """Never the login that all tagged nodes share."""
    assert PEER.identity == "alice@example.com"
    assert TAGGED.identity == "tag:ci"


def test_only_allow_is_allowed() -> None:
    """No other value could be read as yes."""
    allowed = [verdict for verdict in Verdict if Decision(verdict, Reason.ACCEPTED, "x").allowed]
    assert allowed == [Verdict.ALLOW]


DEMAND = Demand(PEER, "alice", CONNECTION, "https://unused/", period=None)


def test_a_demand_is_a_persons_on_a_node() -> None:
    """By the login and the node's stable id, which no other node has."""
    assert (DEMAND.person, DEMAND.key) == (PEER.login, (PEER.login, PEER.stable_id))


@pytest.mark.parametrize(
    "change",
    [
        {"user": "root"},
        {"delegate": "https://other/"},
        {"period": 0.0},
        {"peer": dataclasses.replace(PEER, login="bob@example.com")},
        {"peer": dataclasses.replace(PEER, stable_id="n8CNTRL")},
    ],
    ids=["account", "rule", "period", "person", "node"],
)
def test_the_answer_to_one_demand_is_not_that_to_another(change: dict[str, Any]) -> None:
    """All but the connection, and what may change of a node, has to be the same."""
    assert not DEMAND.like(dataclasses.replace(DEMAND, **change))


def test_demands_that_differ_by_their_connection_are_alike() -> None:
    """And by what a node may change: its name, its addresses, its key's expiry."""
    other = dataclasses.replace(
        DEMAND,
        connection=dataclasses.replace(CONNECTION, client_port=1),
        peer=dataclasses.replace(PEER, name="renamed", addresses=(), key_expiry=1.0),
    )
    assert DEMAND.like(other)
