"""How the commands print: a JSON document as it is, or tables with rich; errors on standard error.

The only place that prints. Names come from the network: nothing of them is read as markup, and control characters are
shown as escapes.
"""

import csv
import enum
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPE_WIDTH = 100_000
_FORMULA = ("=", "+", "-", "@")
"""With these a cell begins that a spreadsheet would execute."""


class ExitCode(enum.IntEnum):
    """What the commands exit with."""

    ALLOW = 0
    DENY = 1
    USAGE = 2
    CANNOT_TELL = 3
    CHECK_NEEDED = 4


def print_json(document: Mapping[str, Any]) -> None:
    """The document for programs."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_csv(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows for a spreadsheet (RFC 4180). What one would take for a formula gets an apostrophe before it."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows([_no_formula(shown(cell)) for cell in row] for row in rows)


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def print_text(text: str) -> None:
    """A document for programs that is not JSON; whoever makes it has escaped what has to be."""
    sys.stdout.write(text)


def print_line(text: str, style: str = "") -> None:
    """One line for people."""
    _console().print(Text(shown(text), style=style))


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, aligned; pairs without a value are left out."""
    shown_pairs = [(name, shown(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown_pairs), default=0) + 2
    for name, value in shown_pairs:
        _console().print(Text.assemble((name.ljust(width), "bold"), value))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for people."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    _console().print(table)


def complain(text: str) -> None:
    """An error for people."""
    sys.stderr.write(f"pam-tailscale: {shown(text)}\n")


def shown(text: str) -> str:
    """Text with everything escaped that a terminal could act on."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text
    )


def _console() -> Console:
    # Into a pipe nothing is folded: lines stay what grep and a log expect.
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
