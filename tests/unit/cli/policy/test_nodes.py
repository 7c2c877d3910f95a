"""Nodes by name, address and person."""

import click
import pytest

from pam_tailscale.cli.policy.nodes import one_node
from pam_tailscale.policy.roster import Node, Tailnet
from tests.support.tailnets import ALICE, DB, LAPTOP, PHONE, TABLET, TAILNET, WEB, node


def test_by_name_address_and_person() -> None:
    """A person's is the first of their own."""
    for text in (LAPTOP.name, f"{LAPTOP.name}.", str(LAPTOP.addresses[0]), LAPTOP.owner):
        assert one_node(TAILNET, text, "--from") == LAPTOP
    assert one_node(TAILNET, WEB.name, "--to") == WEB


@pytest.mark.parametrize("text", ["nothing", "100.64.99.99", "nobody@example.com", ""])
def test_nobody_is_meant(text: str) -> None:
    """Wrong usage, not a refusal."""
    with pytest.raises(click.BadParameter, match="is no node and nobody with a node"):
        one_node(TAILNET, text, "--from")


def test_a_person_comes_from_another_node_than_where_they_go() -> None:
    """Where they have another that has an address."""
    assert one_node(TAILNET, ALICE, "--from", but=LAPTOP) is PHONE
    assert one_node(TAILNET, ALICE, "--from", but=PHONE) is LAPTOP
    assert one_node(TAILNET, TABLET.owner, "--from", but=TABLET) is TABLET
    dark = Node("dark", (), (), ALICE)
    assert one_node(Tailnet(TAILNET.people, (dark, LAPTOP)), ALICE, "--from", but=LAPTOP) is LAPTOP


def test_two_nodes_of_one_name() -> None:
    """Are told apart by address, and none is picked."""
    twin = node(9, WEB.name, "tag:web")
    tailnet = Tailnet((), (WEB, DB, twin))
    with pytest.raises(
        click.BadParameter, match=r"could be web \(100\.64\.0\.5\), web \(100\.64\.0\.9\): give an address"
    ):
        one_node(tailnet, WEB.name, "--to")
    assert one_node(tailnet, str(twin.addresses[0]), "--to") is twin
