"""A tailnet held in memory, and its JSON as tailscaled sends it (names and nesting of tailcfg, ipn, ipnstate, netmap).

Change the objects, then call `Tailnet.changed()`: answers are encoded once and kept until then.
"""

import itertools
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

Object = dict[str, Any]

STATES: Final = ("NoState", "InUseOtherUser", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting", "Running")
CONTROL_URL: Final = "https://control.tailnet.example"
TAGGED: Final = "tagged-devices"

_INITIAL_STATE, _INITIAL_PREFS, _INITIAL_NETMAP = 2, 4, 8
_HISTORY = 1000
_FIRST_ID = 2**53 + 101  # beyond what a JSON parser that reads numbers as doubles keeps


@dataclass(slots=True)
class Node:
    """One node. Ids that are 0 or empty are given when it joins a tailnet."""

    name: str
    addresses: tuple[str, ...]
    login: str = ""
    tags: tuple[str, ...] = ()
    expired: bool = False
    key_expiry: str = ""
    """RFC 3339; empty for a key that does not expire."""
    node_id: int = 0
    stable_id: str = ""
    cap_map: dict[str, list[object]] = field(default_factory=dict)
    """App capabilities that whois reports for it."""


class Tailnet:
    """A tailnet as the tailscaled of one of its nodes knows it. Everything public may be changed; then call changed().

    Args:
        own: the node on which this tailscaled runs.
        peers: all others.
        rules: the SSH policy's rules as on the wire; None for a netmap without SSHPolicy.
    """

    def __init__(self, own: Node, peers: Iterable[Node] = (), rules: list[Any] | None = None) -> None:
        self.own = own
        self.peers = list(peers)
        self.rules = rules
        self.version = "1.104.5"
        self.state = "Running"
        self.tun = True
        self.cached = False
        self.debug = True
        """False for a tailscaled built without its debug endpoint."""
        self.operator_uid = -1
        self.health: list[str] = []
        self.name = "tailnet.example"
        self.stable_id = "tExampleCNTRL"
        """Empty as with headscale."""
        self.prefs: Object = _default_prefs()
        self.policy: object = None
        """If not None, the netmap's SSHPolicy in place of the one made of `rules`."""
        self.generation = 0
        self._ids = itertools.count(_FIRST_ID)
        self._users: dict[str, int] = {}
        self._answers: dict[str, bytes] = {}
        self._whois: dict[str, bytes | None] = {}
        self._by_address: dict[str, Node] = {}
        self._notifies: dict[int, bytes] = {}
        self._told: tuple[str, str] = ("", "")
        self._condition = threading.Condition()
        self._refresh()

    @property
    def modern(self) -> bool:
        """From 1.103 the bus carries no netmap any more."""
        major, minor = (int(number) for number in self.version.split(".")[:2])
        return (major, minor) >= (1, 103)

    @property
    def capability(self) -> int:
        """tailcfg.CapabilityVersion of the versions that are played."""
        return 148 if self.modern else 142

    def changed(self) -> None:
        """Take what was changed into force and tell the watchers of the bus."""
        with self._condition:
            self._refresh()
            self.generation += 1
            self._notifies[self.generation] = self._notify()
            self._notifies.pop(self.generation - _HISTORY, None)
            self._condition.notify_all()

    def wake(self) -> None:
        """Let every wait_for_change() return, because the server stops."""
        with self._condition:
            self._condition.notify_all()

    def wait_for_change(self, seen: int) -> tuple[int, bytes]:
        """The next message of the bus after generation `seen`; no message when woken for another reason."""
        with self._condition:
            if self.generation == seen:
                self._condition.wait()
            if self.generation == seen:
                return seen, b""
            return seen + 1, self._notifies[seen + 1]

    def encoded(self, what: str) -> bytes:
        """The answer to `status`, with or without `peers`, to `prefs` or for the `netmap`."""
        with self._condition:
            if what not in self._answers:
                make = {
                    "status": self.status,
                    "peers": self.status_with_peers,
                    "prefs": lambda: self.prefs,
                    "netmap": self.netmap,
                }[what]
                indent = None if what == "netmap" else "\t"
                separators = (",", ":") if what == "netmap" else None
                text = json.dumps(make(), indent=indent, separators=separators, ensure_ascii=False)
                self._answers[what] = text.encode() + b"\n"
            return self._answers[what]

    def whois(self, address: str) -> bytes | None:
        """The whois answer for an address in its canonical form; None where no node has it."""
        if address not in self._whois:
            node = self._by_address.get(address)
            text = None if node is None else json.dumps(self.whois_answer(node), indent="\t", ensure_ascii=False)
            self._whois[address] = None if text is None else text.encode()
        return self._whois[address]

    def initial_notify(self, mask: int) -> bytes:
        """The first message of a watch of the bus (ipn/backend.go, NotifyWatchOpt)."""
        with self._condition:
            notify: Object = {"Version": self.version, "ErrMessage": None, "LoginFinished": None}
            notify["State"] = STATES.index(self.state) if mask & _INITIAL_STATE else None
            notify["Prefs"] = self.prefs if mask & _INITIAL_PREFS else None
            if not self.modern:
                notify["NetMap"] = self.netmap() if mask & _INITIAL_NETMAP and self.has_netmap else None
            return _line(notify)

    @property
    def has_netmap(self) -> bool:
        """A node that is logged out has none."""
        return self.state not in ("NoState", "NeedsLogin")

    def node(self, node: Node) -> Object:
        """A tailcfg.Node."""
        prefixes = [f"{address}/{128 if ':' in address else 32}" for address in node.addresses]
        document: Object = {
            "ID": node.node_id,
            "StableID": node.stable_id,
            "Name": f"{node.name}.{self.name}.",
            "User": self.user_id(node),
            "Key": self._node_key(node),
            "Machine": f"mkey:{node.node_id:064x}",
            "DiscoKey": f"discokey:{node.node_id:064x}",
            "Addresses": prefixes,
            "AllowedIPs": prefixes,
            "Endpoints": ["192.0.2.10:41641", "198.51.100.10:41641", "[2001:db8::10]:41641"],
            "HomeDERP": 1,
            "Hostinfo": _hostinfo(node),
            "Created": "2026-05-01T12:34:56.123456789Z",
            "Cap": self.capability,
            "Online": True,
            "ComputedName": node.name,
            "ComputedNameWithHost": node.name,
        }
        if node.tags:
            document["Tags"] = list(node.tags)
        if node.expired:
            document["Expired"] = True
        if node.key_expiry:
            document["KeyExpiry"] = node.key_expiry
        return document

    def user_id(self, node: Node) -> int:
        """The id of the node's user."""
        return self._users[TAGGED if node.tags else node.login]

    def whois_answer(self, node: Node) -> Object:
        """An apitype.WhoIsResponse."""
        login = TAGGED if node.tags else node.login
        name = "Tagged Devices" if node.tags else login
        profile = {"ID": self.user_id(node), "LoginName": login, "DisplayName": name}
        return {"Node": self.node(node), "UserProfile": profile, "CapMap": node.cap_map or None}

    def status(self) -> Object:
        """An ipnstate.Status without peers."""
        own, up = self.own, self.has_netmap
        this: Object = {
            "ID": own.stable_id if up else "",
            "NodeID": own.node_id if up else 0,
            "HostName": own.name,
            "DNSName": f"{own.name}.{self.name}." if up else "",
            "OS": "linux",
            "UserID": self.user_id(own) if up else 0,
            "TailscaleIPs": list(own.addresses) if up else None,
        }
        if own.tags and up:
            this["Tags"] = list(own.tags)
        suffix = self.name if up else ""
        tailnet = {"Name": self.name, "StableID": self.stable_id, "MagicDNSSuffix": suffix, "MagicDNSEnabled": True}
        user = self.user_id(own)
        login = TAGGED if own.tags else own.login
        return {
            "Version": self.version,
            "TUN": self.tun,
            "BackendState": self.state,
            "AuthURL": "",
            "TailscaleIPs": this["TailscaleIPs"],
            "Self": this,
            "Health": self.health or None,
            "MagicDNSSuffix": suffix,
            "CurrentTailnet": tailnet if up else None,
            "Peer": None,
            "User": {str(user): {"ID": user, "LoginName": login, "DisplayName": login}} if up else None,
        }

    def status_with_peers(self) -> Object:
        """An ipnstate.Status as it comes when nobody says that peers are not wanted."""
        status = self.status()
        if not self.has_netmap:
            return status
        users = {str(number): {"ID": number, "LoginName": login} for login, number in self._users.items()}
        return status | {"Peer": {self._node_key(peer): self._peer_status(peer) for peer in self.peers}, "User": users}

    def _peer_status(self, node: Node) -> Object:
        prefixes = self.node(node)["Addresses"]
        status: Object = {
            "ID": node.stable_id,
            "PublicKey": self._node_key(node),
            "HostName": node.name,
            "DNSName": f"{node.name}.{self.name}.",
            "OS": "linux",
            "UserID": self.user_id(node),
            "TailscaleIPs": list(node.addresses),
            "AllowedIPs": prefixes,
            "Online": True,
        }
        return status | ({"Tags": list(node.tags)} if node.tags else {}) | ({"Expired": True} if node.expired else {})

    @staticmethod
    def _node_key(node: Node) -> str:
        return f"nodekey:{node.node_id:064x}"

    def netmap(self) -> Object:
        """A netmap.NetworkMap, with peers."""
        document: Object = {
            "SelfNode": self.node(self.own),
            "NodeKey": self._node_key(self.own),
            "MachineKey": f"mkey:{self.own.node_id:064x}",
            "Peers": [self.node(peer) for peer in self.peers],
            "DNS": {"Domains": [self.name], "Proxied": True},
            "PacketFilter": [],
            "PacketFilterRules": [{"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]}],
            "SSHPolicy": self.policy if self.policy is not None else self._policy(),
            "CollectServices": False,
            "DERPMap": {"Regions": {}},
            "TKAEnabled": False,
            "TKAHead": "",
            "Domain": self.name,
            "DomainAuditLogID": "",
            "UserProfiles": {str(number): {"ID": number, "LoginName": login} for login, number in self._users.items()},
        }
        return ({"Cached": True} if self.cached else {}) | document

    def _policy(self) -> Object | None:
        return None if self.rules is None else {"rules": self.rules}

    def _notify(self) -> bytes:
        notify: Object = {"Version": self.version, "ErrMessage": None, "LoginFinished": None}
        notify |= {"State": None, "Prefs": None}
        state, prefs = self._told
        self._told = (self.state, json.dumps(self.prefs))
        if self._told[0] != state:
            notify["State"] = STATES.index(self.state)
        if self._told[1] != prefs:
            notify["Prefs"] = self.prefs
        return _line(notify | {"SelfChange": self.node(self.own)})

    def _refresh(self) -> None:
        for node in (self.own, *self.peers):
            node.node_id = node.node_id or next(self._ids)
            node.stable_id = node.stable_id or f"n{node.node_id}CNTRL"
            self._users.setdefault(TAGGED if node.tags else node.login, _FIRST_ID + len(self._users))
        self._by_address = {address: node for node in (self.own, *self.peers) for address in node.addresses}
        self._answers.clear()
        self._whois = {}
        if not self.generation:
            self._told = (self.state, json.dumps(self.prefs))


def nodes_rule(nodes: Iterable[Node], users: dict[str, str], action: Object | None = None, **fields: object) -> Object:
    """A rule as a control plane sends it: principals are the nodes' addresses. Without `action` it accepts."""
    principals = [{"nodeIP": address} for node in nodes for address in node.addresses]
    return {"principals": principals, "sshUsers": users, "action": action or accept()} | fields


def accept(**fields: object) -> Object:
    """The action of a rule that accepts, with the forwardings that a control plane's own rules allow."""
    allowed = {"allowAgentForwarding": True, "allowLocalPortForwarding": True, "allowRemotePortForwarding": True}
    return {"accept": True} | allowed | fields


def large_tailnet(nodes: int = 10_000, rules: int = 1_000, principals: int = 20) -> Tailnet:
    """A big organisation: `nodes` peers of a tenth as many people, and rules of `principals` nodes each.

    Only the last rule accepts the first peer (100.64.1.0, person0@example.com): as any user but root.
    """
    own = Node("server", ("100.64.0.1", "fd7a:115c:a1e0::1"), tags=("tag:server",))
    peers = [_numbered(number, nodes) for number in range(nodes)]
    others = itertools.cycle(peers[1:])
    spread = [nodes_rule(itertools.islice(others, principals), {f"user{number}": "="}) for number in range(rules - 1)]
    return Tailnet(own, peers, [*spread, nodes_rule(peers[:principals], {"*": "=", "root": ""})])


def _numbered(number: int, nodes: int) -> Node:
    offset = number + 256
    v4 = f"100.{64 + (offset >> 16)}.{offset >> 8 & 255}.{offset & 255}"
    login = f"person{number % max(1, nodes // 10)}@example.com"
    return Node(f"device-{number}", (v4, f"fd7a:115c:a1e0::{offset:x}"), login=login)


def _hostinfo(node: Node) -> Object:
    return {
        "IPNVersion": "1.104.5-tExample-gExample",
        "OS": "linux",
        "OSVersion": "6.12.48+deb13-amd64",
        "Distro": "debian",
        "DistroVersion": "13",
        "Hostname": node.name,
        "GoArch": "amd64",
        "Userspace": False,
        "Services": [{"Proto": proto, "Port": 45678} for proto in ("peerapi4", "peerapi6")],
        "NetInfo": {"MappingVariesByDestIP": False, "WorkingIPv6": True, "WorkingUDP": True, "PreferredDERP": 1},
    }


def _default_prefs() -> Object:
    return {
        "ControlURL": CONTROL_URL,
        "RouteAll": False,
        "CorpDNS": True,
        "RunSSH": False,
        "WantRunning": True,
        "LoggedOut": False,
        "ShieldsUp": False,
        "AdvertiseTags": None,
        "Hostname": "",
        "AdvertiseRoutes": None,
        "NetfilterMode": 2,
        "Config": None,
    }


def _line(document: Object) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
