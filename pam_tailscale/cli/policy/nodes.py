"""Which node of the tailnet is meant by what somebody typed."""

from collections.abc import Iterable, Sequence

import click

from pam_tailscale.model import parse_address
from pam_tailscale.policy.roster import Node, Tailnet


def one_node(tailnet: Tailnet, text: str, option: str, but: Node | None = None) -> Node:
    """The node that is meant. Raises click.BadParameter.

    For a person it is the first of their own with an address; another one than `but`, where they have another.
    """
    person = text in tailnet.person
    found = _own(tailnet, text, but) if person else list(_named(tailnet, text))
    if not found:
        raise click.BadParameter(f"{text!r} is no node and nobody with a node in this tailnet", param_hint=option)
    if len(found) > 1 and not person:
        nodes = ", ".join(f"{node.name} ({_address(node)})" for node in found)
        which = "the whole name" if len({node.name for node in found}) == len(found) else "an address"
        raise click.BadParameter(f"{text!r} could be {nodes}: give {which}", param_hint=option)
    if not found[0].addresses:
        raise click.BadParameter(f"{found[0].name} has no address", param_hint=option)
    return found[0]


def _own(tailnet: Tailnet, login: str, but: Node | None) -> Sequence[Node]:
    """A person's nodes, those first that could log in."""
    return sorted(tailnet.owned.get(login, ()), key=lambda node: (not node.addresses, node is but))


def _named(tailnet: Tailnet, text: str) -> Iterable[Node]:
    try:
        at = tailnet.at.get(parse_address(text))
    except ValueError:
        name = text.removesuffix(".")
        exact = [node for node in tailnet.nodes if node.name == name]
        return exact or [node for node in tailnet.nodes if node.name.partition(".")[0] == name]
    return () if at is None else (at,)


def _address(node: Node) -> str:
    return str(node.addresses[0]) if node.addresses else "no address"
