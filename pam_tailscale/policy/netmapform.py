"""Compiled rules as the control plane writes them into a netmap (tailcfg: SSHRule and its parts): rules.py, reversed.

Of rules that compile.py makes: what none of them has (recorders, a message) is not written. Pure.
"""

import functools
from ipaddress import ip_address
from typing import Any, Final

from pam_tailscale.policy.rules import Action, Rule

_ADDRESSES_MAX: Final = 1 << 16
"""The same ones stand in the rules of thousands of nodes."""


def document(rule: Rule) -> dict[str, Any]:
    """A rule as JSON values. The number of its entry and a check's period stay behind: a netmap has neither."""
    found: dict[str, Any] = {
        "principals": [{"nodeIP": _text(principal.address)} for principal in rule.principals],
        "sshUsers": dict(rule.users),
    }
    if rule.action is not None:
        found["action"] = _action(rule.action)
    if rule.accept_env:
        found["acceptEnv"] = list(rule.accept_env)
    return found


@functools.lru_cache(maxsize=_ADDRESSES_MAX)
def _text(address: bytes) -> str:
    return str(ip_address(address))


def _action(action: Action) -> dict[str, Any]:
    if action.hold_and_delegate:
        return {"holdAndDelegate": action.hold_and_delegate}
    return {
        "accept": action.accept,
        "allowAgentForwarding": action.allow_agent_forwarding,
        "allowLocalPortForwarding": action.allow_local_port_forwarding,
        "allowRemotePortForwarding": action.allow_remote_port_forwarding,
    }
