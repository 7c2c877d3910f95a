"""Rules as rows of a table, for the commands that explain a decision."""

from collections.abc import Iterable, Iterator
from typing import Any


def rule_rows(rules: Iterable[dict[str, Any]]) -> Iterator[list[str]]:
    """A row for each rule of an explanation: which, what it does, for which accounts, what became of it."""
    for rule in rules:
        yield [f"{rule['source']} {rule['rule']}", rule["action"], _users(rule["users"]), _why(rule)]


def _users(users: dict[str, str]) -> str:
    """A rule's accounts: `* but root`, `deploy`, `ops as deploy`."""
    named = [name if local in ("=", name) else f"{name} as {local}" for name, local in users.items() if local]
    blocked = [name for name, local in users.items() if not local]
    return ", ".join(named) + (f" but {', '.join(blocked)}" if blocked and "*" in users else "")


def _why(rule: dict[str, Any]) -> str:
    notes = [rule["why"]]
    if rule["not_enforced"]:
        notes.append(f"demands what cannot be enforced: {', '.join(rule['not_enforced'])}")
    if rule.get("withheld"):  # an agent of an earlier version does not say
        notes.append(f"by key alone: {', '.join(rule['withheld'])}")
    if rule["unknown_fields"]:
        notes.append(f"has unknown fields: {', '.join(rule['unknown_fields'])}")
    return "; ".join(notes)
