"""`policy compile`: the rules of one node, and of all."""

import json

from pam_tailscale.policy.rules import parse_policy
from tests.unit.cli.conftest import Run


def test_each_node_has_a_line(run: Run, policy: str, tailnet: str) -> None:
    """Nodes that receive no rule, too."""
    ran = run("policy", "compile", policy, "--tailnet", tailnet)
    found = {line["node"]: parse_policy(line["sshPolicy"]).rules for line in map(json.loads, ran.out.splitlines())}
    assert (ran.status, ran.err) == (0, "")
    assert {name: len(rules) for name, rules in found.items()} == {
        "laptop.tailnet.example": 0,
        "phone.tailnet.example": 0,
        "web.tailnet.example": 2,
        "web.other.example": 0,
    }
    check, accept = found["web.tailnet.example"]
    assert check.users == {"root": "root"}
    assert accept.users == {"*": "=", "root": ""}


def test_one_node(run: Run, policy: str, tailnet: str) -> None:
    """By its address."""
    ran = run("policy", "compile", policy, "--to", "100.64.0.3", "--tailnet", tailnet)
    assert [json.loads(line)["node"] for line in ran.out.splitlines()] == ["web.tailnet.example"]
    assert run("policy", "compile", policy, "--to", "nothing", "--tailnet", tailnet).status == 2
