"""Compiled rules as the control plane writes them into a netmap (tailcfg: SSHRule and its parts): rules.py, reversed.

Of rules that compile.py makes: what no policy file can say (recorders, a message) is not written. Pure.
"""

from ipaddress import ip_address
from typing import Any

from pam_tailscale.policy.rules import Action, Rule


def document(rule: Rule) -> dict[str, Any]:
    """A rule as JSON values. The number of its entry and a check's period stay behind: a netmap has neither."""
    found: dict[str, Any] = {
        "principals": [{"nodeIP": str(ip_address(principal.address))} for principal in rule.principals],
        "sshUsers": dict(rule.users),
    }
    if rule.action is not None:
        found["action"] = _action(rule.action)
    if rule.accept_env:
        found["acceptEnv"] = list(rule.accept_env)
    return found


def _action(action: Action) -> dict[str, Any]:
    if action.hold_and_delegate:
        return {"holdAndDelegate": action.hold_and_delegate}
    return {
        "accept": action.accept,
        "allowAgentForwarding": action.allow_agent_forwarding,
        "allowLocalPortForwarding": action.allow_local_port_forwarding,
        "allowRemotePortForwarding": action.allow_remote_port_forwarding,
    }
