"""The `sshTests` section of a policy file: runs its tests against the compiled rules. Pure.

Whether a device has a posture that an entry demands is not known here, so that such an entry may count or not. A test
passes where it does so either way.
"""

import enum
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pam_tailscale.policy.compile import Compiler, key_of
from pam_tailscale.policy.document import SSHTest
from pam_tailscale.policy.evaluate import Query, map_user
from pam_tailscale.policy.named import nodes_of
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Policy
from pam_tailscale.policy.selectors import SELF, Kind, Selector
from pam_tailscale.policy.selectors import parse as selector

CANNOT_TELL: Final = "cannot tell: "
"""What a result begins with that depends on what is not known here; what that is follows."""


class Wanted(enum.Enum):
    """What a test says of an account."""

    ACCEPT = "accept"
    """Everybody it names gets in, with or without a check."""
    CHECK = "check"
    """They get in after a check."""
    DENY = "deny"

    def is_kept_by(self, found: str) -> bool:
        """Whether what the policy does is what is wanted."""
        return found == self.value or (self is Wanted.ACCEPT and found == "check")


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
        return self.wanted is not None and self.wanted.is_kept_by(self.found)


_Answer = tuple[str, int | None]
"""What a login comes to, and the number of the entry that decides."""


def run(compiler: Compiler) -> Iterator[Result]:
    """Run every test; what is said of several nodes and accounts is a result for each."""
    conditional = frozenset(entry.number for entry in compiler.policy.ssh if entry.conditional)
    for test in compiler.policy.ssh_tests:
        yield from _run(compiler, test, conditional)


def _run(compiler: Compiler, test: SSHTest, conditional: frozenset[int]) -> Iterator[Result]:
    sources = _sources(compiler, selector(test.source))
    if not sources:
        yield Result(test.number, test.source, "", "", None, "src is no node of the tailnet")
        return
    said = {Wanted.ACCEPT: test.accept, Wanted.DENY: test.deny, Wanted.CHECK: test.check}
    if not any(said.values()):
        yield Result(test.number, test.source, "", "", None, "it says nothing: accept, check or deny is missing")
        return
    judge = _Judge(compiler, sources, conditional)
    for destination in dict.fromkeys(test.destinations):
        nodes = _destinations(compiler, destination, sources)
        if not nodes:
            yield Result(test.number, test.source, destination.text, "", None, "dst is no node of the tailnet")
        for node in nodes:
            for wanted, users in said.items():
                for user in users:
                    found, rule = judge.answer(node, wanted, user)
                    yield Result(test.number, test.source, node.name, user, wanted, found, rule)


class _Judge:
    """Says what the policy does with logins from some nodes.

    Nodes of one person, or with the same tags, are as good as each other to every rule but those about one node alone:
    of each kind two are looked at, so that one is left where the destination is the other. And destinations that have
    the same rules are one.
    """

    def __init__(self, compiler: Compiler, sources: tuple[Node, ...], conditional: frozenset[int]) -> None:
        self._compiler = compiler
        self._conditional = conditional
        self._position = {key_of(node): position for position, node in enumerate(sources)}
        self._seen: list[tuple[int, Node]] = []
        self._known: dict[tuple[int, Wanted, str], _Answer] = {}
        """By the identity of a policy that the compiler keeps."""
        counted: Counter[frozenset[str] | str] = Counter()
        for position, node in enumerate(sources):
            kind = frozenset(node.tags) if node.tags else node.owner
            counted[kind] += 1
            if counted[kind] <= 2 or position == len(sources) - 1:  # noqa: PLR2004 (see above)
                self._seen.append((position, node))

    def answer(self, node: Node, wanted: Wanted, user: str) -> _Answer:
        """What happens; of several nodes that could connect, to the first for which the test fails."""
        if not user:
            return "an account's name cannot be empty", None
        policy = self._compiler.policy_for_others(node)
        own = self._position.get(key_of(node))
        if own is not None and self._compiler.has_rules_about_itself(node):
            seen = dict(sorted({**dict(self._seen), own: node}.items()))
            own_policy = self._compiler.policy_for(node)
            each = ((own_policy if position == own else policy, source) for position, source in seen.items())
            return self._first_failure(each, wanted, user)
        key = id(policy), wanted, user
        if key not in self._known:
            self._known[key] = self._first_failure(((policy, source) for _, source in self._seen), wanted, user)
        return self._known[key]

    def _first_failure(self, each: Iterator[tuple[Policy, Node]], wanted: Wanted, user: str) -> _Answer:
        answer: _Answer = ("", None)
        for policy, source in each:
            query = Query(source.addresses[0], source.stable_id, source.owner, user, None, tagged=bool(source.tags))
            answer = _together(list(_answers(policy, query, self._conditional)), wanted)
            if not wanted.is_kept_by(answer[0]):
                break
        return answer


def _answers(policy: Policy, query: Query, conditional: frozenset[int]) -> Iterator[_Answer]:
    """All that could come of a login; the first entry that counts decides, as in evaluate.py.

    A compiled rule names addresses alone and never ends, so that every candidate is about the peer.
    """
    for rule in policy.candidates(query.address, query.node, query.login):
        if map_user(rule.users, query.user, query.uid)[0]:
            yield "check" if rule.asks_for_check else "accept", rule.number
            if rule.number not in conditional:
                return
    yield "deny", None


def _together(answers: list[_Answer], wanted: Wanted) -> _Answer:
    if len({wanted.is_kept_by(found) for found, _ in answers}) == 1:
        return answers[0]
    return f"{CANNOT_TELL}srcPosture", answers[0][1]


def _sources(compiler: Compiler, source: Selector) -> tuple[Node, ...]:
    # A test has no autogroup as src (validate.py).
    found = () if source.kind is Kind.AUTOGROUP else nodes_of(compiler, source)
    return tuple(node for node in found if node.addresses)


def _destinations(compiler: Compiler, destination: Selector, sources: tuple[Node, ...]) -> tuple[Node, ...]:
    if destination.text == SELF:
        logins = dict.fromkeys(source.owner for source in sources if not source.tags)
        return tuple(node for login in logins for node in compiler.tailnet.owned.get(login, ()))
    if destination.kind in (Kind.ADDRESS, Kind.NAME) and ":" in destination.text:
        return ()  # an IPv6 address names no node here, although an IPv4 one does [recorded]
    return nodes_of(compiler, destination)
