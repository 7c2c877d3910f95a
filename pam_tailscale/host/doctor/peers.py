"""The nodes of the tailnet that lend their identity to others, by tailscaled's own status. Pure.

Whoever may use such a node is, for a host, that node (design section 11): a subnet router or an exit node that does not
keep the source address, an app connector, a node of somebody else's tailnet.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pam_tailscale.errors import TailscaledError
from pam_tailscale.host.doctor.check import Check, ok, unknown, warning
from pam_tailscale.model import IPAddress, parse_address

_EVERYWHERE = frozenset({"0.0.0.0/0", "::/0"})
_APP_CONNECTORS = "tailscale.com/app-connectors"
"""The node attribute that says which tags are connectors (tailscale, appc)."""
_ANY = "*"
_MULLVAD = "tag:mullvad-exit-node"
"""Exit nodes for sale, hundreds of them; nothing can come from them that nobody asked for."""


@dataclass(frozen=True, slots=True)
class Node:
    """A peer (ipnstate, PeerStatus)."""

    stable_id: str
    name: str
    """MagicDNS name without the final dot."""
    login: str
    tags: tuple[str, ...]
    addresses: tuple[IPAddress, ...]
    routes: tuple[str, ...] = ()
    """What it routes to beside its own addresses."""
    exit_node: bool = False
    shared_in: bool = False
    """It is of another tailnet, or of somebody to whom a node of this one is shared."""
    expired: bool = False

    @property
    def identity(self) -> str:
        """Login name, or the tags joined by commas."""
        return ",".join(self.tags) if self.tags else self.login


@dataclass(frozen=True, slots=True)
class Tailnet:
    """All peers, and which tags are app connectors' by the policy."""

    nodes: tuple[Node, ...]
    connectors: frozenset[str] = frozenset()


def read(raw: Mapping[str, Any]) -> Tailnet:
    """What `status` says with its peers. Raises TailscaledError for a shape that is not known."""
    try:
        users = {str(number): str(user["LoginName"]) for number, user in (raw.get("User") or {}).items()}
        suffix = str((raw.get("CurrentTailnet") or {}).get("MagicDNSSuffix") or "")
        nodes = [_node(peer, users, suffix) for peer in (raw.get("Peer") or {}).values()]
        connectors = _connectors((raw.get("Self") or {}).get("CapMap") or {})
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise TailscaledError(f"tailscaled's status names peers in a way that is not understood ({err!r})") from err
    ordinary = (node for node in nodes if _MULLVAD not in node.tags)
    return Tailnet(tuple(sorted(ordinary, key=lambda node: node.name)), connectors)


def _node(peer: Mapping[str, Any], users: Mapping[str, str], suffix: str) -> Node:
    own = tuple(parse_address(text) for text in peer.get("TailscaleIPs") or ())
    prefixes = [str(text) for name in ("AllowedIPs", "PrimaryRoutes") for text in peer.get(name) or ()]
    hosts = {f"{address}/{address.max_prefixlen}" for address in own}
    name = str(peer["DNSName"]).removesuffix(".")
    foreign = bool(suffix) and not name.endswith(f".{suffix}")
    return Node(
        stable_id=str(peer["ID"]),
        name=name or str(peer.get("HostName", "")),
        login=users.get(str(peer["UserID"]), ""),
        tags=tuple(map(str, peer.get("Tags") or ())),
        addresses=own,
        routes=tuple(dict.fromkeys(prefix for prefix in prefixes if prefix not in hosts | _EVERYWHERE)),
        exit_node=bool(peer.get("ExitNodeOption")) or not _EVERYWHERE.isdisjoint(prefixes),
        shared_in=bool(peer.get("ShareeNode") or peer.get("AltSharerUserID")) or foreign,
        expired=bool(peer.get("Expired")),
    )


def _connectors(capabilities: Mapping[str, Any]) -> frozenset[str]:
    """Tags of app connectors, of every app that the policy names."""
    apps = capabilities.get(_APP_CONNECTORS) or ()
    return frozenset(str(tag) for app in apps for tag in (app.get("connectors") or ()))


def judge(tailnet: Tailnet) -> list[Check]:
    """Nodes that relay others, and nodes of others."""
    return [_relays(tailnet), _shared_in(tailnet.nodes)]


def _relays(tailnet: Tailnet) -> Check:
    name = "relaying-nodes"
    found = [
        f"{node.name} ({node.identity}): {', '.join(how)}"
        for node in tailnet.nodes
        if (how := list(_how(node, tailnet)))
    ]
    if not found:
        return ok(
            name, "no peer routes for others, as far as tailscaled says; what one relays by itself cannot be seen"
        )
    means = "whoever may send through one of them may come to this host as it: whoever may use X is X"
    mend = "let no ssh rule be about them, or see that they keep source addresses (--snat-subnet-routes=false)"
    return warning(name, "nodes that route for others", means, mend, found)


def _how(node: Node, tailnet: Tailnet) -> Iterator[str]:
    if node.routes:
        yield "routes " + ", ".join(node.routes[:4]) + (" and more" if len(node.routes) > 4 else "")  # noqa: PLR2004
    if node.exit_node:
        yield "exit node"
    if tailnet.connectors & {*node.tags, *([_ANY] if node.routes else [])}:
        yield "app connector"


def _shared_in(nodes: Sequence[Node]) -> Check:
    name = "shared-in-nodes"
    found = [f"{node.name} ({node.identity or 'unknown'})" for node in nodes if node.shared_in]
    if not found:
        return ok(name, "no node of another tailnet is among the peers")
    means = (
        "who they are is what another tailnet says: a rule about everybody, or about a login name, may be about them"
    )
    return warning(name, "nodes of another tailnet", means, "see that no ssh rule lets them in which should not", found)


def not_seen(why: str) -> list[Check]:
    """The same checks where tailscaled does not tell."""
    return [unknown(name, why, "tailscale status") for name in ("relaying-nodes", "shared-in-nodes")]


def by_identity(nodes: Iterable[Node]) -> Mapping[str, Sequence[Node]]:
    """The nodes of each person, and of each set of tags, without those whose key has expired."""
    found: defaultdict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        if node.addresses and node.identity and not node.expired:
            found[node.identity].append(node)
    return found
