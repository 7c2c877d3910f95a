"""Who is asked, and what counts as an answer."""

import io
import sys
from collections.abc import Callable

import pytest

from pam_tailscale.cli.person import Person
from pam_tailscale.host.preconditions import Action, Finding

REPIN = Finding("pin", Action.ASK, "another tailnet", "its policy would decide", "say so", "--repin")
METHODS = Finding("methods", Action.ASK, "two methods", "one identity would be both", "choose", "--methods")
Typing = Callable[[str], None]


class Terminal(io.StringIO):
    """Standard input that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typing(monkeypatch: pytest.MonkeyPatch) -> Typing:
    """Somebody at the terminal, who types this."""
    return lambda text: monkeypatch.setattr(sys, "stdin", Terminal(text))


@pytest.mark.parametrize(
    ("finding", "typed", "answer"),
    [
        (REPIN, "y\n", "yes"),
        (REPIN, "n\n", ""),
        (REPIN, "\n", ""),
        (METHODS, "replace\n", "replace"),
        (METHODS, "with-key\n", "with-key"),
        (METHODS, "nonsense\nno\n", ""),
        (METHODS, "\n", ""),
    ],
)
def test_answers(typing: Typing, capsys: pytest.CaptureFixture[str], finding: Finding, typed: str, answer: str) -> None:
    """Enter alone is no; what was seen and what it means is said first."""
    typing(typed)
    assert Person(yes=True, quiet=False).answers(finding) == answer
    err = capsys.readouterr().err
    assert finding.what in err
    assert finding.means in err


@pytest.mark.parametrize(("typed", "agreed"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_agreeing(typing: Typing, capsys: pytest.CaptureFixture[str], typed: str, *, agreed: bool) -> None:
    """After the differences were shown, with nothing in them that a terminal acts on."""
    typing(typed)
    assert Person(yes=False, quiet=False).agrees("+line \x1b[2J\n") is agreed
    err = capsys.readouterr().err
    assert "+line \\x1b[2J" in err
    assert "\x1b" not in err


def test_yes_agrees_and_answers_no_question(typing: Typing) -> None:
    """It was given before anybody knew what would be asked."""
    typing("n\n")
    assert Person(yes=True, quiet=False).agrees("diff")
    assert Person(yes=True, quiet=True).answers(REPIN) == ""


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody has agreed."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert Person(yes=False, quiet=False).answers(REPIN) == ""
    assert not Person(yes=False, quiet=False).agrees("diff")


def test_progress_that_nobody_can_read_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal may have gone; the change must end all the same."""

    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    Person(yes=True, quiet=True).say("step")
