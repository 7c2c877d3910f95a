"""Fills the page with a matrix. Pure: what is in the package's files comes in as text.

Whatever the policy names is data and reaches the page as JSON alone; its script sets it as text. The page's own policy
(Content-Security-Policy) allows its script and its style, by their hashes, and nothing else: no request at all.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pam_tailscale.policy.access import Sources, Wide, period_of
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.matrix import Row, lines
from pam_tailscale.policy.newcomers import stands_in

# None of them can then close the element that the JSON is in, or open a comment in it.
_ESCAPES: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&"})
_MARK: Final = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Parts:
    """The page without its data."""

    html: str
    """With `{{style}}`, `{{script}}`, `{{policy}}` and `{{data}}` where they belong."""
    style: str
    script: str


def page(parts: Parts, compiler: Compiler, rows: Sequence[Row]) -> str:
    """The whole document."""
    values = {
        "policy": html.escape(content_security_policy(parts)),
        "style": parts.style,
        "script": parts.script,
        "data": json.dumps(contents(compiler, rows), separators=(",", ":")).translate(_ESCAPES),
    }
    # All at once: what a value holds is not looked at again.
    return _MARK.sub(lambda mark: values[mark[1]], parts.html)


def content_security_policy(parts: Parts) -> str:
    """What the page may do: run its own script, use its own style."""
    return (
        f"default-src 'none'; script-src {_hash(parts.script)}; style-src {_hash(parts.style)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def contents(compiler: Compiler, rows: Sequence[Row]) -> dict[str, Any]:
    """What the script reads. A set of sources or of nodes stands there once, as start and length of its runs."""
    sources = Sources(compiler.tailnet)
    nodes = compiler.tailnet.nodes
    logins = {login: position for position, login in enumerate(sources.logins)}
    at = {id(node): position for position, node in enumerate(nodes)}  # a name might not be one node's alone
    numbers = {entry.number: position for position, entry in enumerate(compiler.policy.ssh)}
    whos, wheres = _Table(), _Table()
    return {
        "file": compiler.policy.document.name,
        "people": sum(not stands_in(login) for login in sources.logins),
        "known_nodes": sum(not stands_in(node.name) for node in nodes),
        "sources": [*sources.logins, *map(",".join, sources.tags)],
        "nodes": [[node.name, ",".join(node.tags), -1 if node.tags else logins.get(node.owner, -1)] for node in nodes],
        "rules": _rules(compiler),
        "rows": [
            [
                whos.number(row.who.sources.positions(row.who.members)),
                wheres.number(sorted(at[id(node)] for node in row.where.nodes)),
                row.where.own,
                [account for account in row.accounts if isinstance(account, str)],
                Wide.ANY in row.accounts,
                Wide.OWN in row.accounts,
                numbers[row.entry.number],
            ]
            for row in rows
        ],
        "whos": whos.runs,
        "wheres": wheres.runs,
    }


def _rules(compiler: Compiler) -> list[list[Any]]:
    return [
        [
            entry.number,
            line,
            entry.action,
            period_of(entry),
            [source.text for source in entry.sources],
            [destination.text for destination in entry.destinations],
            list(entry.users),
        ]
        for entry, line in zip(compiler.policy.ssh, lines(compiler.policy), strict=True)
    ]


class _Table:
    """Sets of positions, each once."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self._numbers: dict[tuple[int, ...], int] = {}

    def number(self, positions: Iterable[int]) -> int:
        """Of the set with these positions, which are in order."""
        runs: list[int] = []
        for position in positions:
            if runs and runs[-2] + runs[-1] == position:
                runs[-1] += 1
            else:
                runs += (position, 1)
        key = tuple(runs)
        if key not in self._numbers:
            self._numbers[key] = len(self.runs)
            self.runs.append(runs)
        return self._numbers[key]
