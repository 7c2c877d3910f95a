"""Who and what is in a tailnet."""

from ipaddress import ip_address

import pytest

from pam_tailscale.policy.roster import Node, Person, Tailnet
from tests.support.tailnets import ALICE, BOB, BOTH, CAROL, DB, LAPTOP, PHONE, TAILNET, WEB, node


@pytest.mark.parametrize(
    ("login", "localpart", "domain"),
    [
        ("alice@example.com", "alice", "example.com"),
        ("alice@x@example.com", "alice@x", "example.com"),
        ("@example.com", "", "example.com"),
        ("alice@", "alice", ""),
        ("alice", "", ""),
        ("", "", ""),
    ],
)
def test_parts_of_a_login_name(login: str, localpart: str, domain: str) -> None:
    """What is before and after the last @; a name without one has neither."""
    assert (Person(login).localpart, Person(login).domain) == (localpart, domain)


def test_who_a_node_is() -> None:
    """Its owner, or its tags, and never both."""
    assert (LAPTOP.identity, BOTH.identity) == (ALICE, "tag:web,tag:db")
    assert node(9, "odd", "tag:web", owner=ALICE).identity == "tag:web"


def test_what_is_whose() -> None:
    """By login name, tag and address, in the tailnet's order."""
    assert TAILNET.owned[ALICE] == (LAPTOP, PHONE)
    assert TAILNET.tagged == {"tag:web": (WEB, BOTH), "tag:db": (DB, BOTH)}
    assert TAILNET.person[BOB].login == BOB
    assert TAILNET.at[ip_address("fd7a:115c:a1e0::5")] is WEB
    assert TAILNET.at[ip_address("100.64.0.5")] is WEB


def test_a_node_with_tags_belongs_to_nobody() -> None:
    """Even where a record of it names who put the tags on."""
    tagged = node(9, "odd", "tag:web", owner=CAROL)
    assert Tailnet((Person(CAROL),), (tagged,)).owned == {}


def test_equal_tailnets_are_equal() -> None:
    """By what they hold; what is derived does not count."""
    assert Tailnet((Person(ALICE),), (LAPTOP,)) == Tailnet((Person(ALICE),), (LAPTOP,))
    assert Tailnet((), (Node("n", ()),)) != Tailnet((), ())
    assert "owned" not in repr(TAILNET)
