"""Who can log in on this node, by the rules that it has received. Pure.

The rules name nodes by address, so that every node is asked about; what its person or tags are comes from the tailnet.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pam_tailscale.model import Reason
from pam_tailscale.policy.evaluate import ROOT, Outcome, Query, evaluate
from pam_tailscale.policy.roster import Node, Tailnet
from pam_tailscale.policy.rules import Policy, Rule
from pam_tailscale.policy.selectors import NONROOT
from pam_tailscale.policy.trace import action_word

CSV_HEADINGS: Final = ("who", "node", "account", "action", "rule")
_LETS_IN: Final = frozenset({Reason.ACCEPTED, Reason.CHECK_NEEDED})
_NOBODYS_NAME: Final = "\0"
"""An account that no rule names: what it gets, any account gets."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one rule gives to some nodes, after all rules before it."""

    nodes: tuple[Node, ...]
    accounts: tuple[str, ...]
    """Names; `autogroup:nonroot` stands for any account but root that no other row of the same nodes names."""
    rule: Rule

    @property
    def identities(self) -> tuple[str, ...]:
        """Login names and tags, each once."""
        return tuple(dict.fromkeys(node.identity for node in self.nodes))

    @property
    def action(self) -> str:
        """`accept` or `check`."""
        return action_word(self.rule)


def live(policy: Policy, tailnet: Tailnet, own: str, now: float) -> list[Row]:
    """All of it, by rule. `own`: this node's name, which does not log in here; `now` is Unix time."""
    rules = {rule.number: rule for rule in policy.rules}
    found: defaultdict[tuple[int, tuple[str, ...]], list[Node]] = defaultdict(list)
    for node in tailnet.nodes:
        if node.name != own and node.addresses:
            for number, accounts in _by_rule(policy, node, now).items():
                found[number, tuple(accounts)].append(node)
    rows = (Row(tuple(nodes), accounts, rules[number]) for (number, accounts), nodes in found.items())
    return sorted(rows, key=lambda row: row.rule.number)


def _by_rule(policy: Policy, node: Node, now: float) -> dict[int, list[str]]:
    """Number of a rule to the accounts that it gives to a node."""
    query = Query(node.addresses[0], node.stable_id, node.owner, _NOBODYS_NAME, None, tagged=bool(node.tags))
    general = _outcome(policy, query, _NOBODYS_NAME, now)
    found: defaultdict[int, list[str]] = defaultdict(list)
    for name in (ROOT, *sorted(_named(policy, query) - {ROOT, "*"})):
        outcome = _outcome(policy, query, name, now)
        if outcome is not None and outcome.rule is not None and (name == ROOT or outcome.exact):
            found[outcome.rule.number].append(name)
    if general is not None and general.rule is not None:
        found[general.rule.number].append(NONROOT)
    return found


def _named(policy: Policy, query: Query) -> set[str]:
    return {name for rule in policy.candidates(query.address, query.node, query.login) for name in rule.users}


def _outcome(policy: Policy, query: Query, account: str, now: float) -> Outcome | None:
    asked = Query(query.address, query.node, query.login, account, None, tagged=query.tagged)
    outcome = evaluate([policy], asked, now)
    return outcome if outcome.reason in _LETS_IN else None


def csv_rows(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    """A row for every node and account, without the headings."""
    for row in rows:
        for node in row.nodes:
            for account in row.accounts:
                yield node.identity, node.name, account, row.action, str(row.rule.number)


def document(rows: list[Row]) -> dict[str, Any]:
    """The rows as values of JSON."""
    return {
        "rows": [
            {
                "identities": row.identities,
                "nodes": [node.name for node in row.nodes],
                "accounts": [account for account in row.accounts if account != NONROOT],
                "any_but_root": NONROOT in row.accounts,
                "action": row.action,
                "rule": row.rule.number,
            }
            for row in rows
        ]
    }
