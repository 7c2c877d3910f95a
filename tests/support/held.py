"""A connection to sshd that is held before it asks for anything, and goes on when a test says so."""

import json
import subprocess

from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

_PROGRAM = "/opt/pam-tailscale/tests/support/held_login.py"


class Held:
    """From a device to port 22 of an address, as a user who knows a password; see held_login.py."""

    def __init__(self, box: Sandbox, address: str, user: str, password: str) -> None:
        self._box, self._path = box, f"/root/{user}"
        box.run(["rm", "-f", f"{self._path}.held", f"{self._path}.go", f"{self._path}.out"])
        argv = ["/usr/bin/python3", "-W", "ignore", _PROGRAM, address, user, password, self._path]
        self._process: subprocess.Popen[bytes] = box.popen(argv, f"{self._path}.out")
        wait_until(lambda: box.exists(f"{self._path}.held"), 20, "the connection is held")

    def goes_on(self) -> dict[str, str]:
        """What comes of it now, by method."""
        self._box.write(f"{self._path}.go", "")
        self._process.wait(60)
        came: dict[str, str] = json.loads(self._box.read(f"{self._path}.out"))
        return came
