"""Nodes by name, address and person."""

import click
import pytest

from pam_tailscale.cli.policy.nodes import one_node
from tests.support.tailnets import LAPTOP, TAILNET, WEB


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
