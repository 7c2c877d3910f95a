"""How things are printed: nothing of a name is read as markup, or acted on by a terminal."""

import csv
import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.cli import output

NASTY = ["[red]x[/red]", "[/]", "\x1b[31m", "a\nb", "\u202eb", "\udcff", "\x9b", ":smile:", "[link=file:///etc]x"]


@pytest.mark.parametrize("text", NASTY)
def test_names_are_printed_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Or as escapes, in every form there is."""
    shown = output.shown(text)
    output.print_line(text, "bold red")
    output.print_pairs([("name", text), ("empty", "")])
    output.print_table(["one"], [[text]])
    output.complain(text)
    captured = capsys.readouterr()
    line, pair, heading, cell = captured.out.splitlines()
    assert (line, pair, heading.strip(), cell.strip()) == (shown, f"name  {shown}", "one", shown)
    assert captured.err == f"pam-tailscale: {shown}\n"


@given(st.text(st.characters(), max_size=100))
def test_shown_is_printable(text: str) -> None:
    """Whatever the text."""
    assert output.shown(text).isprintable()


def test_plain_text_stays() -> None:
    """Nothing else is changed."""
    assert output.shown("jos\u00e9 [x] 100%") == "jos\u00e9 [x] 100%"


def test_long_lines_are_not_folded(capsys: pytest.CaptureFixture[str]) -> None:
    """Into a pipe, where a line is a line."""
    text = "word " * 200
    output.print_line(text)
    output.print_pairs([("name", text)])
    output.print_table(["a", "b"], [[text, "x"]])
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """And so safe for every terminal."""
    output.print_json({"name": "\x1b\u202e\udcff"})
    assert capsys.readouterr().out == '{\n  "name": "\\u001b\\u202e\\udcff"\n}\n'


def test_a_spreadsheet_executes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither what begins with a sign, in whichever width, nor what has a tab or line break before it."""
    cells = ["=a", "+a", "-a", "@a", "\uff1da", "\uff0ba", "\uff0da", "\uff20a", "\t=a", "\r=a", "a=b"]
    output.print_csv(["one"], [[cell] for cell in cells])
    _, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert [row[0] for row in rows] == [*(f"'{cell}" for cell in cells[:8]), "\\t=a", "\\r=a", "a=b"]


def latin(monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Has standard output be a terminal's that knows few letters."""
    found = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(found, "latin-1"))
    output.begin()
    return found


def test_what_is_for_programs_is_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the locale says, and in the order in which it is printed; the rest has escapes."""
    found = latin(monkeypatch)
    output.print_line("\u0436\u00e9")
    output.print_text("<\u0436>\n")
    output.print_csv(["\u0436"], [])
    output.print_table(["\u0436"], [])
    output.end()
    assert found.getvalue().split(b"\n")[:4] == [b"\\u0436\xe9", "<\u0436>".encode(), "\u0436".encode(), b"\\u0436"]


def test_errors_are_lost_where_nobody_hears_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """And end nothing."""
    monkeypatch.setattr(sys, "stderr", None)
    output.complain("lost")
