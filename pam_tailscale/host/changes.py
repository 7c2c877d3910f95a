"""What would change in the host's files, as a person reads it. Pure: nothing in these files is secret."""

import difflib
import re
from collections.abc import Iterable, Iterator

from pam_tailscale.host.arrangement import File, Present

_UNPRINTABLE = re.compile(r"[^\t\n\x20-\x7e\xa0-\U0010ffff]")
_UNFINISHED = "\n\\ No newline at end of file\n"
"""As diff(1) says it."""


def diff(before: Present, after: Iterable[File]) -> str:
    """A unified diff, in the order of the files; empty where nothing changes.

    It can be shown on a terminal: what is no text, or would steer the terminal, is written as an escape.
    """
    return "".join(line for file in after for line in _changed(file, before.get(file.path)))


def _changed(file: File, before: bytes | None) -> Iterator[str]:
    old, new = (file.path if content is not None else "/dev/null" for content in (before, file.content))
    lines = difflib.unified_diff(_lines(before), _lines(file.content), old, new)
    return (line if line.endswith("\n") else line + _UNFINISHED for line in lines)


def _lines(content: bytes | None) -> list[str]:
    text = (content or b"").decode(errors="backslashreplace")
    # Not splitlines: sshd and PAM know no other end of a line than this one.
    return re.findall(r"[^\n]*\n|[^\n]+", _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}", text))
