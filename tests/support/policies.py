"""Generated policies for a small tailnet, and a slow and plain reading of them, pair by pair, for tests."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import strategies

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.model import Reason
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.roster import Node, Person, Tailnet
from tests.support.tailnets import ALICE, BOB, CAROL, compiled, node

DEPLOY = "deploy@example.com"
NOBODY = "nobody@example.com"
"""Owner of a node and not of the tailnet."""
TAILNET = Tailnet(
    (Person(ALICE, frozenset({"admin"})), Person(BOB), Person(CAROL), Person(DEPLOY), Person("root@example.com")),
    (
        node(1, "laptop", owner=ALICE),
        node(2, "phone", owner=ALICE),
        node(3, "desktop", owner=BOB),
        node(4, "tablet", owner=CAROL),
        node(5, "web", "tag:web"),
        node(6, "db", "tag:db"),
        node(7, "both", "tag:web", "tag:db"),
        node(8, "web2", "tag:web"),
        node(9, "runner", owner=DEPLOY),
        node(10, "runner2", owner=DEPLOY),
        node(11, "rooted", owner="root@example.com"),
        node(12, "stray", owner=NOBODY),
    ),
    frozenset({"example.com", "example.org"}),
)
GROUPS = {"group:dev": [ALICE, BOB], "group:ops": [BOB, CAROL, "gone@example.com"], "group:none": []}
ACCOUNTS = ("root", "deploy", "alice", "bob", "git", "elsewhere", "*", "=")
"""What the tests ask for; nothing names `elsewhere`."""

_people = ("autogroup:member", "autogroup:admin", "user:*@example.com", *GROUPS, ALICE, BOB, CAROL, DEPLOY)
_sources = strategies.lists(strategies.sampled_from((*_people, "tag:web", "tag:db", "autogroup:tagged")), max_size=3)
_destinations = strategies.lists(
    strategies.sampled_from(("tag:web", "tag:db", "autogroup:tagged", "autogroup:self", "autogroup:member", ALICE)),
    max_size=3,
)
_users = strategies.lists(
    strategies.sampled_from(
        (
            "root",
            "autogroup:nonroot",
            "deploy",
            "alice",
            "git",
            "=",
            "localpart:*@example.com",
            "localpart:*@example.org",
        )
    ),
    min_size=1,
    max_size=3,
)


@strategies.composite
def _entry(draw: strategies.DrawFn) -> dict[str, Any]:
    entry: dict[str, Any] = {"action": draw(strategies.sampled_from(("accept", "check")))}
    entry |= {"src": draw(_sources), "dst": draw(_destinations), "users": draw(_users)}
    if entry["action"] == "check":
        entry["checkPeriod"] = draw(strategies.sampled_from(("1h", "5m", "always")))
    return entry


def _valid(entry: dict[str, Any]) -> bool:
    try:
        policy(entry)
    except PolicyFileError:
        return False
    return True


entries = strategies.lists(_entry().filter(_valid), max_size=6)
"""The `ssh` section of a policy that the control plane takes."""


def policy(*ssh: dict[str, Any]) -> Compiler:
    """A policy of these entries."""
    return compiled(TAILNET, ssh=list(ssh), groups=GROUPS)


class Login(NamedTuple):
    """Who would log in where, as which account."""

    source: Node
    node: Node
    account: str


class Answer(NamedTuple):
    """What the policy says of it."""

    rule: int
    period: float | None
    exact: bool


def every_answer(compiler: Compiler) -> Iterator[tuple[Login, Answer | None]]:
    """What the policy says of every login, as a host would decide it."""
    for target in TAILNET.nodes:
        rules = [compiler.policy_for(target)]
        for source in TAILNET.nodes:
            for account in ACCOUNTS if source is not target else ():
                query = Query(
                    source.addresses[0], source.stable_id, source.owner, account, None, tagged=bool(source.tags)
                )
                outcome = evaluate(rules, query, 0.0)
                yield Login(source, target, account), _answer(outcome.reason, outcome.rule, exact=outcome.exact)


def _answer(reason: Reason, rule: Any, *, exact: bool) -> Answer | None:
    if reason not in (Reason.ACCEPTED, Reason.CHECK_NEEDED):
        return None
    return Answer(rule.number, rule.action.period if reason is Reason.CHECK_NEEDED else None, exact)
