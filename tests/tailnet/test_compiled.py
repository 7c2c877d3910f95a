"""The rules that real nodes receive from a real headscale are those that we compile from the same policy file.

Where headscale and Tailscale's own control plane differ Tailscale is followed; the differences, and nothing else, are
taken out before the two are compared:

- headscale names itself in a check's URL, Tailscale's control plane names nobody: what follows the host counts.
- headscale repeats a tagged node once for each of its tags in every rule, Tailscale where a tag or `autogroup:tagged`
  leads to it: each principal counts once.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.rules import Rule, parse_policy
from pam_tailscale.policy.validate import validate
from pam_tailscale.tailnet.roster import roster
from tests.support.members import OPEN, Members, accept, check, make_policy
from tests.support.tailnet import Node
from tests.support.waiting import wait_until

U1, U2 = "user1@headscale.net", "user2@headscale.net"
MEMBER, TAGGED, SELF, NONROOT = "autogroup:member", "autogroup:tagged", "autogroup:self", "autogroup:nonroot"
LOCALPART = "localpart:*@headscale.net"
GROUPS = {"group:ops": [U1], "group:all": [U1, U2], "group:nobody": []}
MARKER = "marker"

SSH: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "own devices": [accept([MEMBER], [SELF], "root")],
    "own devices, any but root": [accept([MEMBER], [SELF], NONROOT)],
    "own devices, any": [accept([MEMBER], [SELF], NONROOT, "root")],
    "own devices of a group": [accept(["group:ops"], [SELF], "root")],
    "own devices of one": [accept([U2], [SELF], "alice", "bob")],
    "one to a tag": [accept([U1], ["tag:server"], "root")],
    "one to two tags": [accept([U1], ["tag:server", "tag:ci"], "root")],
    "two to a tag": [accept([U1, U2], ["tag:server"], "root")],
    "a group to a tag": [accept(["group:all"], ["tag:server"], "alice")],
    "an empty group": [accept(["group:nobody"], ["tag:server"], "alice")],
    "a person twice": [accept([U1, "group:ops"], ["tag:server"], "alice")],
    "members to what is tagged": [accept([MEMBER], [TAGGED], "alice")],
    "members to members": [accept([MEMBER], [MEMBER], "alice")],
    "a tag to a tag": [accept(["tag:ci"], ["tag:server"], "alice")],
    "a tag to itself": [accept(["tag:server"], ["tag:server"], "alice")],
    "what is tagged to a tag": [accept([TAGGED], ["tag:server"], "alice")],
    "people and tags": [accept([MEMBER, "tag:ci"], ["tag:server"], "alice")],
    "one to their own by name": [accept([U1], [U1], "alice")],
    "names": [accept([U1], ["tag:server"], "alice", "bob", "with space", "*but")],
    "a name that is a number": [accept([U1], ["tag:server"], "0")],
    "a check": [check([U1], ["tag:server"], "root")],
    "a check each time": [check([U1], ["tag:server"], "root", period="always")],
    "accept, then check": [accept([U1], ["tag:server"], "root"), check([U1], ["tag:server"], "root")],
    "checks come first": [
        accept([MEMBER], ["tag:server"], "alice"),
        check([U1], ["tag:server"], "root"),
        accept([U2], ["tag:server"], "root"),
        check([MEMBER], [SELF], "root"),
    ],
    "their own name": [accept([MEMBER], ["tag:server"], LOCALPART)],
    "their own name and root": [accept([MEMBER], ["tag:server"], LOCALPART, "root")],
    "their own name among any": [accept([MEMBER], ["tag:server"], LOCALPART, NONROOT)],
    "their own name on their own": [accept([MEMBER], [SELF], LOCALPART)],
    "their own name of tags": [accept(["tag:ci", U1], ["tag:server"], LOCALPART)],
    "variables": [accept([U1], ["tag:server"], "alice") | {"acceptEnv": ["GIT_*", "TERM"]}],
    "own devices and a tag": [accept([MEMBER], [SELF, "tag:server"], NONROOT)],
}


NAMES = ("srv", "u1a", "u1b", "u2a", "u2b", "ci")
"""The nodes that are there from the first: other tests make more, and take some out of the tailnet."""


def received(node: Node) -> tuple[Rule, ...]:
    """The rules that a node has received."""
    netmap = json.loads(node.ts("debug", "netmap"))
    return parse_policy(netmap.get("SSHPolicy") or {"rules": []}).rules


def has(node: Node, user: str) -> bool:
    """Whether a rule that a node has received names an account."""
    return any(user in rule.users for rule in received(node))


def compared(rules: Iterator[Rule]) -> list[tuple[object, ...]]:
    """What has to be equal."""
    return [
        (frozenset(one.address for one in rule.principals), dict(rule.users), action(rule), rule.accept_env)
        for rule in rules
    ]


def action(rule: Rule) -> object:
    """A check's URL without its host; the period is never sent."""
    assert rule.action is not None
    parts = urlsplit(rule.action.hold_and_delegate)
    return dataclasses.replace(rule.action, hold_and_delegate=f"{parts.path}?{parts.query}", period=None)


def compiled(members: Members, policy: Mapping[str, Any]) -> Compiler:
    """The same policy, for the tailnet as the server sees it."""
    tailnet = dataclasses.replace(roster(members.nodes["srv"].status()), domains=frozenset({"headscale.net"}))
    file = document.read(json.dumps(policy).encode(), "policy.json")
    validate(file, tailnet.domains)
    return Compiler(file, tailnet)


def test_there_are_enough_of_them() -> None:
    """And each is another."""
    assert len({json.dumps(ssh) for ssh in SSH.values()}) == len(SSH) >= 30


@pytest.mark.parametrize("name", SSH)
def test_what_nodes_receive_is_what_is_compiled(members: Members, name: str) -> None:
    """On every node of the tailnet, in the same order."""
    marker = f"{MARKER}-{list(SSH).index(name)}"
    # By it a node shows that what it has is of this policy: on every node, after all that is compared.
    last = accept([MEMBER], [MEMBER, TAGGED], marker)
    policy = make_policy(*SSH[name], last, groups=GROUPS)
    members.tailnet.set_policy(policy)
    try:
        compiler = compiled(members, policy)
        nodes = {node.name: node for node in compiler.tailnet.nodes}
        for node in (members.nodes[name] for name in NAMES):
            wait_until(partial(has, node, marker), 20, f"{node.hostname} has the policy of {name!r}")
            assert compared(iter(received(node))) == compared(iter(compiler.rules_for(nodes[node.name])))
    finally:
        members.tailnet.set_policy(OPEN)
