"""Where something lies and whose it is. A record."""

import stat
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A file, directory or socket, as lstat(2) has it."""

    path: str
    mode: int = 0
    """With its kind; 0 where it is not there."""
    uid: int = 0

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return self.mode != 0

    @property
    def others_write(self) -> bool:
        """Whether others than root may write to it."""
        return self.uid != 0 or bool(self.mode & (stat.S_IWGRP | stat.S_IWOTH))

    @property
    def permissions(self) -> str:
        """As chmod(1) takes them, and whose it is."""
        return f"mode {stat.S_IMODE(self.mode):04o}, owner {self.uid}"
