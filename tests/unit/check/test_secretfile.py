"""Secrets in files: the first line, of a file that nobody else may read, and never in an error."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pam_tailscale.check.secretfile import SECRET_MAX, read_secret
from pam_tailscale.errors import CheckError

PASSWORD = "a-password-of-the-tests"


@pytest.mark.parametrize(
    ("content", "expected"),
    [(f"{PASSWORD}", PASSWORD), (f"{PASSWORD}\n", PASSWORD), (f"{PASSWORD}\r\n", PASSWORD), (" a b \nmore", " a b ")],
)
def test_a_secret_is_the_first_line(tmp_path: Path, content: str, expected: str) -> None:
    """As editors leave it."""
    path = tmp_path / "password"
    path.write_text(content)
    path.chmod(0o640)
    assert read_secret(path, "the store's password").reveal() == expected


def directory(path: Path) -> None:
    """Where the file should be."""
    path.unlink()
    path.mkdir(mode=0o700)


def fifo(path: Path) -> None:
    """Opening it must not wait."""
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.chmod(0o644), "chmod 0640"),
        (lambda path: path.chmod(0o601), "chmod 0640"),
        (lambda path: path.write_text(""), "write it anew"),
        (lambda path: path.write_text("\n" + PASSWORD), "write it anew"),
        (lambda path: path.write_text(" \n"), "write it anew"),
        (lambda path: path.write_text("\u00e9" + PASSWORD), "write it anew"),
        (lambda path: path.write_text(PASSWORD + "\n" + "x" * SECRET_MAX), "write it anew"),
        (lambda path: path.unlink(), "cannot be read"),
        (directory, "is not a file"),
        (fifo, "is not a file"),
    ],
    ids=["readable", "executable", "empty", "second line", "blank", "not ASCII", "huge", "absent", "directory", "fifo"],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    """The error names the file and what to do, and nothing of what is in it."""
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    path.chmod(0o600)
    spoil(path)
    with pytest.raises(CheckError, match=message) as caught:
        read_secret(path, "the store's password")
    assert str(path) in str(caught.value)
    assert PASSWORD not in str(caught.value)
