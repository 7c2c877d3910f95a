"""tailscaled's `status` as the people and nodes that a policy file is about.

A node sees those that the tailnet's policy lets it see. What the status does not say stays empty: the roles of people.
"""

from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.tailnet import parse


def roster(raw: parse.Object) -> Tailnet:
    """The tailnet in a whole `status` document (ipnstate.Status; `tailscale status --json` prints it).

    Nodes that another tailnet shares with this one are left out. Raises TailscaledError.
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
    people = tuple(Person(login) for _, login in sorted(logins.items()) if login in owners)
    return Tailnet(people, nodes, domains_of(status.tailnet_name))


def domains_of(tailnet: str) -> frozenset[str] | None:
    """The domains of a tailnet with this name: the name itself, or what follows its @ where it is a person's own.

    None where the name tells none.
    """
    domain = tailnet.rpartition("@")[2]
    return frozenset({domain}) if domain else None
