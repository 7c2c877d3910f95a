"""The differences that are shown before a person agrees to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.host.arrangement import File, Part
from pam_tailscale.host.changes import diff

PATH = "/etc/pam.d/sshd"


def shown(before: bytes | None, after: bytes | None) -> str:
    """The difference of one file."""
    return diff({} if before is None else {PATH: before}, [File(PATH, after, Part.PAM)])


def test_a_file_that_is_new() -> None:
    """It comes from nowhere."""
    assert shown(None, b"one\ntwo\n") == f"--- /dev/null\n+++ {PATH}\n@@ -0,0 +1,2 @@\n+one\n+two\n"


def test_a_file_that_goes() -> None:
    """It goes nowhere."""
    assert shown(b"one\n", None) == f"--- {PATH}\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n"


def test_lines_at_the_top() -> None:
    """With what stands around them."""
    assert shown(b"a\nb\nc\nd\n", b"x\na\nb\nc\nd\n") == f"--- {PATH}\n+++ {PATH}\n@@ -1,3 +1,4 @@\n+x\n a\n b\n c\n"


@pytest.mark.parametrize("content", [None, b"", b"a\n", b"\xff"])
def test_what_stays_is_not_shown(content: bytes | None) -> None:
    """Neither where there is nothing nor where there is something."""
    assert shown(content, content) == ""


def test_files_come_in_their_order() -> None:
    """That of the steps."""
    files = [File("/b", b"1\n", Part.PAM), File("/a", b"2\n", Part.DROP_IN)]
    assert [line for line in diff({}, files).splitlines() if line.startswith("+++")] == ["+++ /b", "+++ /a"]


def test_nothing_steers_the_terminal() -> None:
    """A file of the host may hold anything, and so may what is shown of it; but it stays readable."""
    text = shown(b"", "\x1b[2J\r\x00\x9b tab\t caf\N{LATIN SMALL LETTER E WITH ACUTE}\xad\n".encode() + b"\xff\n")
    assert "+\\x1b[2J\\x0d\\x00\\x9b tab\t caf\N{LATIN SMALL LETTER E WITH ACUTE}\xad\n+\\xff\n" in text


def test_a_last_line_without_its_end() -> None:
    """It is said, as diff(1) does, and no two lines run together."""
    text = shown(b"a\nb", b"a\nc\n")
    assert text.endswith(" a\n-b\n\\ No newline at end of file\n+c\n")


@given(st.text("ab\n\r", max_size=9), st.text("ab\n\r", max_size=9))
def test_every_change_is_shown(before: str, after: str) -> None:
    """And only a change."""
    assert bool(shown(before.encode(), after.encode())) == (before != after)
