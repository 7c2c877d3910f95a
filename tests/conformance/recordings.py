"""Recorded answers of the control plane, and ours to the same policy for the same tailnet.

What the recordings hold, and what of it counts, is in tests/data/conformance/README.md.
"""

import dataclasses
import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy import document, sshtests
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.rules import Rule, parse_policy
from pam_tailscale.policy.validate import validate

ACCEPTED: Final = 200
TESTS_FAILED: Final = "test(s) failed"
"""The control plane's message where an `sshTests` section is not kept."""

_REAL_NAME: Final = re.compile("passkey", re.IGNORECASE)
"""The tailnet's domain, for which the recorder put _PUBLISHED_NAME into the policies, but not into the messages."""
_PUBLISHED_NAME: Final = "example.com"


@dataclass(frozen=True, slots=True)
class Answer:
    """What becomes of a policy: a refusal, or rules."""

    refusal: str | None = None
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    """By node name, in their order; comparable, which `_comparable` makes them."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A policy, the tailnet that it is for, and what the control plane answered."""

    policy: bytes
    tailnet: Tailnet
    answer: Answer


def read(text: str) -> Recording:
    """Read a recording. Raises KeyError or ValueError where it is none."""
    recorded = json.loads(text)
    policy = recorded["policy"]
    logins = {user["name"]: user["email"] for user in recorded["users"]}
    tailnet = Tailnet(
        tuple(Person(login) for login in logins.values()),
        tuple(_node(name, node, logins) for name, node in recorded["nodes"].items()),
        frozenset({recorded["tailnet"].rpartition("@")[2]}),
    )
    written = policy if isinstance(policy, str) else json.dumps(policy, indent=1, ensure_ascii=False)
    return Recording(written.encode(), tailnet, _recorded_answer(recorded, tailnet))


def _node(name: str, node: Mapping[str, Any], logins: Mapping[str, str]) -> Node:
    addresses = tuple(ipaddress.ip_interface(address).ip for address in node["Addresses"])
    owner = "" if node["owner"] is None else logins[node["owner"]]
    return Node(name, addresses, tuple(node["Tags"] or ()), owner, node["StableID"])


def _recorded_answer(recorded: Mapping[str, Any], tailnet: Tailnet) -> Answer:
    response = recorded["response"]
    if response["code"] != ACCEPTED:
        if not response["message"]:
            raise ValueError("a refusal without a message proves nothing")
        return Answer(refusal=_as_published(response["message"]))
    found: Mapping[str, Any] = recorded["ssh_policy"]
    if unknown := found.keys() - {node.name for node in tailnet.nodes}:
        raise ValueError(f"rules for what is no node: {sorted(unknown)}")
    rules = {node.name: parse_policy({"rules": found.get(node.name)}).rules for node in tailnet.nodes}
    return Answer(rules={name: _comparable(received) for name, received in rules.items()})


def _as_published(message: str) -> str:
    """A message with the tailnet's published name: the recorder's replacement in the policy, in the same case."""

    def published(match: re.Match[str]) -> str:
        return _PUBLISHED_NAME.upper() if match[0].isupper() else _PUBLISHED_NAME

    return _REAL_NAME.sub(published, message)


def _comparable(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules in order; the order of principals, and what only one of both sides knows, made the same.

    Only we know the number of a rule's entry and a check's period; the wire has neither.
    """
    return tuple(
        dataclasses.replace(
            rule,
            number=0,
            principals=tuple(sorted(rule.principals, key=repr)),
            action=None if rule.action is None else dataclasses.replace(rule.action, period=None),
        )
        for rule in rules
    )


def ours(recording: Recording) -> Answer:
    """What we make of a recording's policy."""
    try:
        policy = document.read(recording.policy, "policy")
        validate(policy, recording.tailnet.domains)
    except PolicyFileError as err:
        return Answer(refusal=str(err))
    compiler = Compiler(policy, recording.tailnet)
    if failed := [result for result in sshtests.run(compiler) if not result.passed]:
        return Answer(refusal=f"{TESTS_FAILED}: {failed}")
    return Answer(rules={node.name: _comparable(compiler.rules_for(node)) for node in recording.tailnet.nodes})


def disagreement(recording: Recording) -> str:
    """What is different between both answers; empty where nothing is."""
    theirs, own = recording.answer, ours(recording)
    if theirs.refusal is None and own.refusal is not None:
        return f"accepted there, and here refused: {own.refusal}"
    if theirs.refusal is not None:
        if own.refusal is None:
            return f"refused there, and here accepted: {theirs.refusal}"
        return "" if theirs.refusal in own.refusal else f"refused there: {theirs.refusal}\nhere: {own.refusal}"
    for name, rules in theirs.rules.items():
        if own.rules[name] != rules:
            return "\n".join([f"rules of {name} there:", *map(str, rules), "here:", *map(str, own.rules[name])])
    return ""
