"""Which node of the tailnet is meant by what somebody typed."""

from collections.abc import Iterable

import click

from pam_tailscale.model import parse_address
from pam_tailscale.policy.roster import Node, Tailnet


def one_node(tailnet: Tailnet, text: str, option: str) -> Node:
    """The node that is meant; for a person the first of their own. Raises click.BadParameter."""
    found = list(_named(tailnet, text))
    if not found:
        raise click.BadParameter(f"{text!r} is no node and nobody with a node in this tailnet", param_hint=option)
    if len({node.name for node in found}) > 1 and text not in tailnet.person:
        names = ", ".join(node.name for node in found)
        raise click.BadParameter(f"{text!r} could be {names}: give the whole name", param_hint=option)
    if not found[0].addresses:
        raise click.BadParameter(f"{found[0].name} has no address", param_hint=option)
    return found[0]


def _named(tailnet: Tailnet, text: str) -> Iterable[Node]:
    if text in tailnet.person:
        return tailnet.owned.get(text, ())
    try:
        at = tailnet.at.get(parse_address(text))
    except ValueError:
        name = text.removesuffix(".")
        exact = [node for node in tailnet.nodes if node.name == name]
        return exact or [node for node in tailnet.nodes if node.name.partition(".")[0] == name]
    return () if at is None else (at,)
