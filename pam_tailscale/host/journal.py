"""The write-ahead journal: what a change that is under way is about, written before anything of it is done.

It is what lets the next run finish or take back a change whose run was killed. Files are read and written in files.py.
"""

import base64
import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pam_tailscale import paths
from pam_tailscale.errors import HostError
from pam_tailscale.host.arrangement import File, Part
from pam_tailscale.host.files import Files

_PATH = str(paths.CHANGE)
_FORMAT = 1


class Goal(enum.Enum):
    """Where a change goes, which says what becomes of one that was interrupted."""

    ON = "on"
    """Taken back: everything becomes what it was."""
    OFF = "off"
    """Finished."""


Contents = Mapping[str, bytes | None]
"""Path to content; None: not there."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change, with everything that is needed to take it back."""

    goal: Goal
    before: Contents
    after: Contents


class Journal:
    """The one change that may be under way; whoever writes it holds the lock."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def load(self) -> Change | None:
        """The change that was interrupted, or None. Raises HostError for a journal that is damaged."""
        content = self._files.read(_PATH)
        if content is None:
            return None
        try:
            return _change(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
            raise HostError(
                f"{_PATH}: is damaged, so an interrupted change cannot be taken back by itself: look at "
                f"{paths.DROP_IN} and its PAM half, remove the journal, then run 'pam-tailscale disable'"
            ) from err

    def store(self, change: Change) -> None:
        """Writes it, readable by root alone. Raises HostError; then nothing may be changed."""
        raw = {
            "format": _FORMAT,
            "goal": change.goal.value,
            "before": _encoded(change.before),
            "after": _encoded(change.after),
        }
        self._files.put(File(_PATH, json.dumps(raw).encode() + b"\n", Part.REFERENCE, 0o600))

    def remove(self) -> None:
        """The change is done."""
        self._files.put(File(_PATH, None, Part.REFERENCE))


def _change(raw: Any) -> Change:
    if raw["format"] != _FORMAT:
        raise ValueError("unknown format")
    return Change(Goal(raw["goal"]), _decoded(raw["before"]), _decoded(raw["after"]))


def _encoded(contents: Contents) -> dict[str, str | None]:
    return {path: None if content is None else base64.b64encode(content).decode() for path, content in contents.items()}


def _decoded(raw: dict[str, Any]) -> dict[str, bytes | None]:
    return {
        str(path): None if content is None else base64.b64decode(content, validate=True)
        for path, content in raw.items()
    }
