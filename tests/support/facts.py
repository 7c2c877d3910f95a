"""A host, its tailnet and one login, as values: everything is in order, and a test changes what it is about."""

import dataclasses
from typing import Any

from pam_tailscale.model import (
    Account,
    Connection,
    IPAddress,
    Method,
    Mode,
    Peer,
    Phase,
    Pin,
    Request,
    parse_address,
)
from pam_tailscale.policy.facts import Facts, Knowledge, Limits, RouteBack
from pam_tailscale.policy.rules import Policy, parse_policy

NOW = 1_800_000_000.0
CLIENT = parse_address("100.64.0.7")
SERVER = parse_address("100.64.0.1")
CONTROL_URL = "https://control.example"
INTERFACE = 7

PEER = Peer(
    node_id=7,
    stable_id="n7CNTRL",
    name="laptop.tailnet.example",
    addresses=(CLIENT, parse_address("fd7a:115c:a1e0::7")),
    tags=(),
    user_id=70,
    login="alice@example.com",
    expired=False,
    key_expiry=None,
)
TAGGED = dataclasses.replace(PEER, tags=("tag:ci",), login="tagged-devices")
ALICE = Account("alice", 1001, "/bin/bash", shell_usable=True)
PIN = Pin(CONTROL_URL, "n1CNTRL", "tTAILNET")
LIMITS = Limits(Mode.ENFORCE, allow_root=True, uid_min=1000)
CONNECTION = Connection(CLIENT, 40000, SERVER, 22)
REQUEST = Request("alice", CONNECTION, Method.NONE, Phase.AUTH)

ACCEPT: dict[str, Any] = {
    "accept": True,
    "allowAgentForwarding": True,
    "allowLocalPortForwarding": True,
    "allowRemotePortForwarding": True,
}
REJECT: dict[str, Any] = {"reject": True}
CHECK: dict[str, Any] = {"holdAndDelegate": "https://unused/machine/ssh/action/$SRC_NODE_ID"}
ANYBODY: dict[str, Any] = {"any": True}


def rule(users: object, action: object = ACCEPT, *principals: object, **more: object) -> dict[str, Any]:
    """A rule as it stands in a netmap; without principals it is about the address of PEER."""
    return {"principals": list(principals or [{"nodeIP": str(CLIENT)}]), "sshUsers": users, "action": action} | more


def policy(*rules: object, source: str = "netmap") -> Policy:
    """A policy of these rules."""
    return parse_policy({"rules": list(rules)}, source)


def knowledge(*rules: object, **changes: Any) -> Knowledge:
    """A tailscaled in order, with a policy of these rules; without any, alice gets in."""
    known = Knowledge(
        backend_state="Running",
        version="1.104.5",
        control_url=PIN.control_url,
        node_id=PIN.node_id,
        tailnet_id=PIN.tailnet_id,
        self_addresses=frozenset({SERVER, parse_address("fd7a:115c:a1e0::1")}),
        interface=INTERFACE,
        cached=False,
        policies=(policy(*(rules or (rule({"alice": "alice"}),))),),
    )
    return dataclasses.replace(known, **changes)


def facts(known: Knowledge | None = None, **changes: Any) -> Facts:
    """The facts of a login that is in order."""
    found = Facts(
        knowledge=knowledge() if known is None else known,
        age=0.0,
        pin=PIN,
        account=ALICE,
        route=RouteBack(local=False, interface=INTERFACE),
        peer=PEER,
    )
    return dataclasses.replace(found, **changes)


def request(user: str = "alice", *, client: IPAddress = CLIENT, server: IPAddress = SERVER, **changes: Any) -> Request:
    """A login."""
    asked = dataclasses.replace(REQUEST, user=user, connection=Connection(client, 40000, server, 22))
    return dataclasses.replace(asked, **changes)
