"""tailscaled's `status` as the people and nodes that a policy file is about.

A node sees those that the tailnet's policy lets it see. What the status does not say stays empty: the roles of people.
"""

from typing import Final

from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.tailnet import parse

_NOBODY: Final = "tagged-devices"
"""The login name of whom nodes with tags belong to, in Tailscale's control plane and in headscale."""


def roster(raw: parse.Object) -> Tailnet:
    """The tailnet in a whole `status` document (ipnstate.Status; `tailscale status --json` prints it).

    People without a node are people of it, too. Nodes that another tailnet shares with this one are left out, as are
    their people. Raises TailscaledError.
    """
    status = parse.status(raw)
    logins = parse.logins(raw)
    nodes = tuple(
        Node(
            name=one.name,
            addresses=one.addresses,
            tags=one.tags,
            owner="" if one.tags else logins.get(one.user_id, ""),
            stable_id=one.stable_id,
        )
        for one in parse.nodes(raw)
    )
    owners = {node.owner for node in nodes if node.owner}
    foreign = {peer.user_id for peer in parse.peers(raw)} - {one.user_id for one in parse.nodes(raw)}
    people = tuple(
        Person(login)
        for number, login in sorted(logins.items())
        if login in owners or (number not in foreign and login != _NOBODY)
    )
    return Tailnet(people, nodes, domains_of(status.tailnet_name))


def domains_of(tailnet: str) -> frozenset[str] | None:
    """The domains of a tailnet with this name: the name itself, or what follows its @ where it is a person's own.

    None where the name tells none.
    """
    domain = tailnet.rpartition("@")[2].lower()
    return frozenset({domain}) if domain else None
