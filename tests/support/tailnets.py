"""A small tailnet, and policies compiled for it, for the tests of what a policy file means."""

import json
from ipaddress import ip_address
from typing import Any

from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.validate import validate

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.org"


def node(number: int, name: str, *tags: str, owner: str = "") -> Node:
    """A node with both addresses."""
    addresses = ip_address(f"100.64.0.{number}"), ip_address(f"fd7a:115c:a1e0::{number:x}")
    return Node(name, addresses, tags, owner, f"n{number}")


LAPTOP, PHONE = node(1, "laptop", owner=ALICE), node(2, "phone", owner=ALICE)
DESKTOP, TABLET = node(3, "desktop", owner=BOB), node(4, "tablet", owner=CAROL)
WEB, DB, BOTH = node(5, "web", "tag:web"), node(6, "db", "tag:db"), node(7, "both", "tag:web", "tag:db")
TAILNET = Tailnet(
    (Person(ALICE, frozenset({"admin"})), Person(BOB), Person(CAROL)),
    (LAPTOP, PHONE, DESKTOP, TABLET, WEB, DB, BOTH),
    frozenset({"example.com"}),
)
OWNERS = {"tag:web": [ALICE], "tag:db": [ALICE]}


def compiled(tailnet: Tailnet = TAILNET, **sections: Any) -> Compiler:
    """A policy with these sections, valid, for a tailnet."""
    policy = document.read(json.dumps({"tagOwners": OWNERS} | sections).encode(), "policy")
    validate(policy, tailnet.domains)
    return Compiler(policy, tailnet)
