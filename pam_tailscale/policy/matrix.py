"""Who can log in where, as whom, with or without a check, and by which entry of a policy file. Pure."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pam_tailscale.policy.access import Account, Claims, Place, Sources, decide, names_in, period_of, places
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import PolicyFile, SSHEntry
from pam_tailscale.policy.listing import Where, Who, account_document, each, merged

CSV_HEADINGS: Final = ("who", "where", "account", "action", "period", "rule", "line")
_GAP: Final = re.compile(r"[\s,]*")
_ENTRY: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Row:
    """What one entry gives to some people or nodes with tags, at some places, after all entries before it."""

    who: Who
    where: Where
    accounts: tuple[Account, ...]
    entry: SSHEntry

    @property
    def period(self) -> float | None:
        """Of a check: seconds for which an authentication counts, 0 for always. None for accept."""
        return period_of(self.entry)


def matrix(compiler: Compiler) -> list[Row]:
    """All of it, by entry. No login is in two rows but one by an account's name and one by any account: the name's."""
    sources = Sources(compiler.tailnet)
    entries = {entry.number: entry for entry in compiler.policy.ssh}
    found: defaultdict[tuple[int, int, Account], list[Place]] = defaultdict(list)
    for place, (claims,) in places(compiler.tailnet, Claims(compiler, sources)):
        for account, permits in decide(claims, sources, names_in(claims)).items():
            for permit in permits:
                found[permit.entry.number, permit.sources, account].append(place)
    rows = (Row(who, where, accounts, entries[number]) for number, who, where, accounts in merged(found, sources))
    return sorted(rows, key=lambda row: row.entry.number)


def lines(policy: PolicyFile) -> tuple[int, ...]:
    """The line on which each entry of `ssh` begins, in their order."""
    if not policy.ssh:
        return ()
    text = policy.document.text
    start = policy.document.error(policy.ssh[0].path[:1], "")
    offset = sum(len(before) + 1 for before in text.split("\n")[: start.line - 1]) + start.column  # after the bracket
    found, line = [], start.line
    for _ in policy.ssh:
        gap = _GAP.match(text, offset)
        begins = gap.end() if gap is not None else offset
        line += text.count("\n", offset, begins)
        found.append(line)
        _, offset = _ENTRY.raw_decode(text, begins)
        line += text.count("\n", begins, offset)
    return tuple(found)


def csv_rows(compiler: Compiler, rows: Iterable[Row]) -> Iterator[tuple[str, ...]]:
    """A row for every person or tags, node and account, without the headings; as many as there are."""
    standing = lines(compiler.policy)
    for row in rows:
        action, period = row.entry.action, "" if row.period is None else f"{row.period:g}"
        why = str(row.entry.number), str(standing[row.entry.number - 1])
        for who, where, account in each(row.who, row.where, row.accounts):
            yield who, where, account, action, period, *why


def document(compiler: Compiler, rows: Iterable[Row]) -> dict[str, Any]:
    """The rows as they are, as values of JSON."""
    standing = lines(compiler.policy)
    return {
        "file": compiler.policy.document.name,
        "rows": [
            {
                "people": row.who.logins,
                "tags": row.who.tags,
                "nodes": [node.name for node in row.where.nodes],
                "own_devices": row.where.own,
                **account_document(row.accounts),
                "action": row.entry.action,
                "period": row.period,
                "rule": row.entry.number,
                "line": standing[row.entry.number - 1],
            }
            for row in rows
        ],
    }
