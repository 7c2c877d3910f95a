"""QR codes for a terminal: the same modules as the code has, and none that a terminal cannot show."""

import pytest
import segno

from pam_tailscale.check import qr
from tests.support.checks import PAGE

BLOCKS = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
"""What is drawn for a pair of rows: 1 is light."""
MARGIN = 2


def drawn(code: str) -> list[list[int]]:
    """The rows of modules that a terminal shows, 1 for dark."""
    rows: list[list[int]] = []
    for line in code.splitlines():
        pairs = [BLOCKS[char] for char in line]
        rows += [[1 - pair[half] for pair in pairs] for half in (0, 1)]
    return rows


@pytest.mark.parametrize(
    "text",
    ["h", PAGE, "https://login.example.com/" + "a" * 200, "https://login.example.com/ä?q=\N{SNOWMAN}"],
    ids=["short", "usual", "long", "not ASCII"],
)
def test_the_code_is_drawn_as_it_is(text: str) -> None:
    """Module for module, with a light margin on all sides."""
    matrix = [list(row) for row in segno.make_qr(text, error="l").matrix]
    rows = drawn(qr.terminal(text))
    size = len(matrix)
    inner = [row[MARGIN : MARGIN + size] for row in rows[MARGIN : MARGIN + size]]
    assert inner == matrix
    margin = [row[:MARGIN] + row[MARGIN + size :] for row in rows] + rows[:MARGIN] + rows[MARGIN + size :]
    assert not any(map(any, margin))
    assert len(rows) in (size + 2 * MARGIN, size + 2 * MARGIN + 1)


def test_all_lines_are_as_long_and_end() -> None:
    """A terminal shows a square; the last line is ended, so that text can follow."""
    code = qr.terminal(PAGE)
    assert code.endswith("\n")
    assert {len(line) for line in code.splitlines()} == {len(drawn(code)[0])}


@pytest.mark.parametrize("length", [0, 1, 200, 432])
def test_a_code_fits_a_terminal_or_is_none(length: int) -> None:
    """At most 80 columns: one that is wrapped cannot be read. The last row is the longest text there is."""
    code = qr.terminal("https://login.example.com/" + "a" * length)
    assert code
    assert all(len(line) <= 80 for line in code.splitlines())


@pytest.mark.parametrize(
    "text",
    ["a" * 459, "ä" * 230, "a" * 2953, "a" * 3000, "a" * 100_000],
    ids=["just", "by its bytes", "the largest code", "no code", "a flood"],
)
def test_what_is_too_long_has_no_code(text: str) -> None:
    """Whether there is no such code, or none that a terminal shows."""
    assert qr.terminal(text) == ""


def test_nothing_has_no_code() -> None:
    """There is nothing to open."""
    assert qr.terminal("") == ""
