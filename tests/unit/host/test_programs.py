"""Programs that end, that do not, and that are not there."""

import sys

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import programs
from pam_tailscale.host.programs import attempt, complaint, run

SAYS = [sys.executable, "-c", "import os; os.write(1, b'\\xff'); os.write(2, b'no'); raise SystemExit(3)"]


def test_what_a_program_says() -> None:
    """Whatever the bytes, and however it ends."""
    for how in (run, attempt):
        done = how(SAYS)
        assert (done.returncode, done.stdout, done.stderr) == (3, "\ufffd", "no")


def test_nothing_is_typed_to_it() -> None:
    """A program that asks sees the end of its input."""
    assert run(["cat"]).stdout == ""


def test_a_program_that_is_not_there() -> None:
    """Its complaint is a sentence."""
    done = attempt(["/no/such/program"])
    assert (done.returncode, done.stderr) == (127, "/no/such/program does not run (No such file or directory)")
    with pytest.raises(HostError, match="/no/such/program does not run or end"):
        run(["/no/such/program"])


def test_a_program_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for."""
    monkeypatch.setattr(programs, "SECONDS", 0.2)
    done = attempt(["sleep", "60"])
    assert (done.returncode, done.stderr) == (127, "sleep does not end within 0.2 s")
    with pytest.raises(HostError, match="sleep does not run or end"):
        run(["sleep", "60"], seconds=0.2)


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        (
            "line 3: Bad option: Foo\r\nterminating\n",
            "line 3: Bad option: Foo; terminating",
        ),
        ("", "it says nothing"),
        ("x" * 500, "x" * 400),
    ],
    ids=["two lines", "nothing", "much"],
)
def test_a_complaint(stderr: str, said: str) -> None:
    """In one line, and not without end."""
    assert complaint(stderr) == said
