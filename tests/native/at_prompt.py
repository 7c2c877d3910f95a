"""A person at the module's prompt, and what the tests of it say and read."""

import os
from dataclasses import dataclass

from pam_tailscale import wire
from tests.support import pamstack
from tests.support.pamstack import Login, Run

ASKED = "Open https://idp.example.com/device, then press Enter: "
SHOWN = (pamstack.PROMPT_ECHO_ON, ASKED.encode())
LATER = (pamstack.ERROR_MSG, wire.TEXT_TRY_AGAIN.encode())
ENTER = b"\n"


@dataclass(slots=True)
class Keyboard:
    """What the person answers prompts with: lines that are typed before or while they are asked for."""

    end: int
    """The descriptor at which sshd would read."""
    writer: int

    @property
    def login(self) -> Login:
        """A login by keyboard-interactive that is answered from here."""
        return Login(at_keyboard=True, keyboard=self.end)

    def type(self, *lines: bytes) -> None:
        """Types whole lines."""
        os.write(self.writer, b"".join(lines))

    def leave(self) -> None:
        """Nobody answers any more. Safe to call twice."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1


def reason_of(run: Run) -> str:
    """The reason of the only denial in the log."""
    (line,) = [line for line in run.log if "decision=" in line]
    return line.partition(" reason=")[2].partition(" ")[0]
