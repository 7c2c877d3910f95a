"""Plans of the proof for tests."""

import dataclasses
from ipaddress import ip_address
from typing import Any

from pam_tailscale.host.proving.trial import Plan

OWN = ip_address("100.64.0.1")
OWN_V6 = ip_address("fd7a:115c:a1e0::1")
ALICE = ip_address("100.64.0.2")
ALICE_V6 = ip_address("fd7a:115c:a1e0::2")

PLAN = Plan(
    before={},
    after={},
    interface="tailscale0",
    ifindex=7,
    own=(OWN, OWN_V6),
    accept=("alice", ALICE),
    deny=("bob", ALICE),
    ports=(22,),
    key_in_addition=False,
)


def plan(**changes: Any) -> Plan:
    """The usual plan with some of it changed."""
    return dataclasses.replace(PLAN, **changes)
