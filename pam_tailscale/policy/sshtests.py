"""The `sshTests` section of a policy file: runs its tests against the compiled rules. Pure."""

import enum
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from pam_tailscale.model import Reason
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import SSHTest
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Policy
from pam_tailscale.policy.selectors import MEMBER, SELF, TAGGED, Kind, Selector
from pam_tailscale.policy.selectors import parse as selector


class Wanted(enum.Enum):
    """What a test says of an account."""

    ACCEPT = "accept"
    """Everybody it names gets in, with or without a check."""
    CHECK = "check"
    """They get in after a check."""
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one thing that a test says."""

    test: int
    """Number of the test, from 1."""
    source: str
    destination: str
    """The node's name, or the test's own text where that names no node."""
    user: str
    wanted: Wanted | None
    """None: the test says nothing, or is about nobody."""
    found: str
    """`accept`, `check`, `deny`, or why it could not be told."""
    rule: int | None = None
    """Number of the `ssh` entry that decided."""
    section: str = "sshTests"
    """Where the test stands."""
    by: str = ""
    """Of a test about the network: the entry of `acls` or `grants` that decided."""

    @property
    def passed(self) -> bool:
        """Whether the policy does what the test says."""
        if self.wanted is Wanted.ACCEPT:
            return self.found in ("accept", "check")
        return self.wanted is not None and self.found == self.wanted.value


def run(compiler: Compiler) -> Iterator[Result]:
    """Run every test; what is said of several nodes and accounts is a result for each."""
    policies: dict[str, Policy] = {}
    for test in compiler.policy.ssh_tests:
        yield from _run(compiler, test, policies)


def _run(compiler: Compiler, test: SSHTest, policies: dict[str, Policy]) -> Iterator[Result]:
    sources = tuple(node for node in _sources(compiler, selector(test.source)) if node.addresses)
    if not sources:
        yield Result(test.number, test.source, "", "", None, "src is no node of the tailnet")
        return
    said = {Wanted.ACCEPT: test.accept, Wanted.DENY: test.deny, Wanted.CHECK: test.check}
    if not any(said.values()):
        yield Result(test.number, test.source, "", "", None, "it says nothing: accept, check or deny is missing")
        return
    for destination in dict.fromkeys(test.destinations):
        nodes = tuple(_destinations(compiler, destination, sources))
        if not nodes:
            yield Result(test.number, test.source, destination.text, "", None, "dst is no node of the tailnet")
        for node in nodes:
            if node.name not in policies:
                policies[node.name] = compiler.policy_for(node)
            for wanted, users in said.items():
                for user in users:
                    yield _judge(test, sources, node, policies[node.name], wanted, user)


def _judge(test: SSHTest, sources: tuple[Node, ...], node: Node, policy: Policy, wanted: Wanted, user: str) -> Result:
    """What the policy says; of several nodes that could connect the first for which the test fails."""
    result = Result(test.number, test.source, node.name, user, wanted, "an account's name cannot be empty")
    if not user:
        return result
    for source in sources:
        query = Query(source.addresses[0], source.stable_id, source.owner, user, None, tagged=bool(source.tags))
        outcome = evaluate([policy], query, 0.0)
        found = _WORDS.get(outcome.reason, "deny")
        rule = outcome.rule.number if outcome.rule is not None else None
        result = Result(test.number, test.source, node.name, user, wanted, found, rule)
        if not result.passed:
            break
    return result


_WORDS = {Reason.ACCEPTED: "accept", Reason.CHECK_NEEDED: "check"}


def _sources(compiler: Compiler, source: Selector) -> Iterator[Node]:
    tailnet = compiler.tailnet
    if source.kind is Kind.TAG:
        yield from tailnet.tagged.get(source.text, ())
    elif source.kind in (Kind.ADDRESS, Kind.NAME):
        yield from _at(compiler, source)
    else:
        for login in compiler.logins_of(source):
            yield from tailnet.owned.get(login, ())


def _destinations(compiler: Compiler, destination: Selector, sources: tuple[Node, ...]) -> Iterator[Node]:
    tailnet = compiler.tailnet
    if destination.kind is Kind.TAG:
        yield from tailnet.tagged.get(destination.text, ())
    elif destination.kind is Kind.PERSON:
        yield from tailnet.owned.get(destination.text, ())
    elif destination.text == SELF:
        for login in dict.fromkeys(source.owner for source in sources if not source.tags):
            yield from tailnet.owned.get(login, ())
    elif destination.text in (MEMBER, TAGGED):
        yield from (node for node in tailnet.nodes if bool(node.tags) is (destination.text == TAGGED))
    else:
        # An IPv6 address names no node here, although an IPv4 one does [recorded].
        yield from (node for node in _at(compiler, destination) if ":" not in destination.text)


def _at(compiler: Compiler, place: Selector) -> Iterator[Node]:
    text = compiler.policy.hosts.get(place.text, place.text)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return
    node = compiler.tailnet.at.get(network.network_address) if network.num_addresses == 1 else None
    if node is not None:
        yield node
