"""A stock ssh whose login waits for a person: its prompts are read, and Enter is pressed, by a program in its place."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Self

from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

_PAGE = re.compile(r"https?://\S+")
# Called by ssh with the prompt as its argument; what it prints is typed. A file that exists holds Enter back.
_ASKPASS = """\
#!/bin/sh
number=$(ls "$PROMPTS" | wc -l)
printf '%s' "$1" > "$PROMPTS/.new" && mv "$PROMPTS/.new" "$PROMPTS/$number"
while [ -e "$PROMPTS.hold" ]; do sleep 0.05; done
echo
"""


class WaitingLogin:
    """`ssh` in the background.

    Args:
        box: where it runs.
        command: the whole command line.
        name: tells several of one sandbox apart.
        hold: Enter is not pressed before `press_enter`.
    """

    def __init__(self, box: Sandbox, command: Sequence[str], name: str = "login", *, hold: bool = False) -> None:
        self.box = box
        self._prompts = f"/run/prompts-{name}"
        self._out = f"/run/{name}.out"
        box.write("/usr/local/bin/press-enter", _ASKPASS, 0o755)
        box.run(["sh", "-c", 'rm -rf "$0" "$1" && mkdir -p "$0"', self._prompts, self._out])
        box.run(["touch" if hold else "rm", *([] if hold else ["-f"]), f"{self._prompts}.hold"])
        env: Mapping[str, str] = {
            "SSH_ASKPASS": "/usr/local/bin/press-enter",
            "SSH_ASKPASS_REQUIRE": "force",
            "PROMPTS": self._prompts,
        }
        line = f"exec {shlex.join(command)} > {self._out}"
        self.process = box.popen(["sh", "-c", line], f"/run/{name}.err", env=env)
        self._err = f"/run/{name}.err"
        self._err_from = len(box.read(self._err))

    @property
    def prompts(self) -> list[str]:
        """All that was shown so far, oldest first."""
        names = self.box.run(["ls", self._prompts]).stdout.split()
        return [self.box.read(f"{self._prompts}/{name}") for name in sorted(names, key=int)]

    def prompt(self, number: int = 0) -> str:
        """The prompt with this number; waits until it is shown."""

        def shown() -> str:
            assert self.process.poll() is None or len(self.prompts) > number, self.stderr
            found = self.prompts
            assert len(found) > number, f"shown so far: {found}"
            return found[number]

        return wait_until(shown, 30, "ssh shows a prompt")

    def page(self, number: int = 0) -> str:
        """The address in a prompt."""
        found = _PAGE.search(self.prompt(number))
        assert found is not None, self.prompt(number)
        return found[0]

    def press_enter(self) -> None:
        """Let Enter be pressed, at this prompt and all later ones."""
        self.box.run(["rm", "-f", f"{self._prompts}.hold"])

    def finish(self, timeout: float = 60) -> int:
        """Wait for ssh to end; its exit status, 255 where the login failed."""
        return self.process.wait(timeout)

    def hang_up(self) -> None:
        """The client goes away, as when its lid is closed."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    @property
    def stdout(self) -> str:
        """What the remote command printed."""
        return self.box.read(self._out)

    @property
    def stderr(self) -> str:
        """What ssh itself said."""
        return self.box.read(self._err)[self._err_from :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()


def plain_ssh(user: str, address: str, *, source: str = "", remote: str = "hostname") -> list[str]:
    """A command line that shows every prompt."""
    options = {
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "KexAlgorithms": "curve25519-sha256",  # 9.2's own choice costs a tenth of a second of CPU at both ends
        "ConnectTimeout": "10",
        "PubkeyAuthentication": "no",
        "BatchMode": "no",
        "NumberOfPasswordPrompts": "3",
    }
    options |= {"BindAddress": source} if source else {}
    return [
        "ssh",
        *(part for name, value in options.items() for part in ("-o", f"{name}={value}")),
        f"{user}@{address}",
        remote,
    ]
