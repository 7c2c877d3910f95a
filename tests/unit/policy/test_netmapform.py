"""Compiled rules as a netmap has them."""

import dataclasses
import json
from typing import Any

from hypothesis import given

from pam_tailscale.policy import document, netmapform
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.roster import Tailnet
from pam_tailscale.policy.rules import Rule, parse_policy
from tests.support.any_policy import policies, tailnets


def of_the_wire(rule: Rule) -> Rule:
    """Without what a netmap does not have."""
    action = None if rule.action is None else dataclasses.replace(rule.action, period=None)
    return dataclasses.replace(rule, number=0, action=action)


@given(policies(), tailnets())
def test_a_node_reads_what_was_compiled(policy: dict[str, Any], tailnet: Tailnet) -> None:
    """By way of JSON."""
    compiler = Compiler(document.read(json.dumps(policy).encode(), "policy"), tailnet)
    for node in tailnet.nodes:
        rules = compiler.rules_for(node)
        written = json.dumps({"rules": [netmapform.document(rule) for rule in rules]})
        received = parse_policy(json.loads(written)).rules
        assert [*map(of_the_wire, received)] == [*map(of_the_wire, rules)]
