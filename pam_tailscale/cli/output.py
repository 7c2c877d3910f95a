"""How the commands print: a JSON document as it is, or tables with rich; errors on standard error.

The only place that prints. Names come from the network: nothing of them is read as markup, and control characters are
shown as escapes. What is for programs is UTF-8 whatever the locale says; for people, escapes stand for what their
terminal's encoding does not have. What cannot be written is an error like any other, but a pipe that nobody reads any
more, which is nothing to tell anybody.
"""

import contextlib
import csv
import enum
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pam_tailscale.errors import PamTailscaleError

_PIPE_WIDTH = 100_000
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""With these a cell begins that a spreadsheet would execute: the last four are the same in full width. A tab or a line
break before them is none any more when it is shown."""


class ExitCode(enum.IntEnum):
    """What the commands exit with."""

    ALLOW = 0
    DENY = 1
    USAGE = 2
    CANNOT_TELL = 3
    CHECK_NEEDED = 4


def print_json(document: Mapping[str, Any]) -> None:
    """The document for programs."""
    print_text(json.dumps(document, indent=2) + "\n")


def print_csv(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows for a spreadsheet (RFC 4180). What one would take for a formula gets an apostrophe before it."""
    writer = csv.writer(_Document(), lineterminator="\n")
    writer.writerow(headings)
    writer.writerows([_no_formula(shown(cell)) for cell in row] for row in rows)


class _Document:
    """What is for programs, as a file that csv can write to."""

    @staticmethod
    def write(text: str) -> None:
        """A piece of it."""
        print_text(text)


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def print_text(text: str) -> None:
    """A document for programs that is not JSON; whoever makes it has escaped what has to be."""
    with _written():
        sys.stdout.flush()  # what is before it is text of Python's own
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))


def print_line(text: str, style: str = "") -> None:
    """One line for people."""
    _print(Text(shown(text), style=style))


def print_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, aligned; pairs without a value are left out."""
    shown_pairs = [(name, shown(value)) for name, value in pairs if value]
    width = max((len(name) for name, _ in shown_pairs), default=0) + 2
    for name, value in shown_pairs:
        _print(Text.assemble((name.ljust(width), "bold"), value))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for people."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    _print(table)


def complain(text: str) -> None:
    """An error for people; lost where there is nowhere to write it."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"pam-tailscale: {shown(text)}\n")
            sys.stderr.flush()


def shown(text: str) -> str:
    """Text with everything escaped that a terminal could act on."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text
    )


def begin() -> None:
    """Before anything is printed, or done. Raises PamTailscaleError where standard output is closed."""
    if sys.stdout is None:
        raise PamTailscaleError("standard output is closed: nothing could be told")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end() -> None:
    """After everything is printed: what Python still holds is written. Raises as all that prints, and OSError never."""
    with _written():
        sys.stdout.flush()


def give_up() -> None:
    """Drops what could not be written, so that Python does not try it once more when it ends, and complain."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # it may be closed, or none of the system's
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as err:
        raise PamTailscaleError(f"standard output cannot be written: {err.strerror}") from err


def _print(what: Text | Table) -> None:
    # Into a pipe nothing is folded: lines stay what grep and a log expect.
    with _written():
        width = None if sys.stdout.isatty() else _PIPE_WIDTH
        Console(highlight=False, soft_wrap=True, width=width).print(what)
