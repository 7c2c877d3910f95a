"""Sets of people, nodes and accounts as one cell of a table: the first few, and how many more."""

from collections.abc import Iterable

from pam_tailscale.policy.access import Account
from pam_tailscale.policy.document import SSHEntry
from pam_tailscale.policy.listing import Where, Who, account_text

SHOWN = 4
"""Names in one cell."""
_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))


def who_text(who: Who) -> str:
    """Login names and tags."""
    return some_text(who.names(), len(who))


def where_text(where: Where) -> str:
    """Names of nodes."""
    nodes = where.nodes
    others = some_text((node.name for node in nodes), len(nodes))
    return ", ".join(text for text in ("their own devices" if where.own else "", others) if text)


def accounts_text(accounts: Iterable[Account]) -> str:
    """Names of accounts, and what stands for many."""
    return ", ".join(account_text(account) for account in accounts)


def action_text(entry: SSHEntry) -> str:
    """`accept`, or `check` with its period."""
    return f"check {_period(entry.period)}" if entry.action == "check" else entry.action


def _period(seconds: float) -> str:
    if not seconds:
        return "always"
    for unit, length in _UNITS:
        if seconds >= length and not seconds % length:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def some_text(names: Iterable[str], count: int) -> str:
    """The first of them, and how many more there are."""
    found = [name for name, _ in zip(names, range(SHOWN), strict=False)]
    more = count - len(found)
    return ", ".join(found) + (f" and {more} more" if more else "")
