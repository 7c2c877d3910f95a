"""A connection that is held before it has logged in, run by Debian's Python on a device.

Arguments: address, user, password, a path. It asks with `none`, once; from then on sshd treats the connection by the
settings that held at that moment. Then it makes PATH.held, waits for PATH.go, and asks for all that is left: by
keyboard-interactive and by password. Prints one JSON object: how each came out.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import paramiko


def main(address: str, user: str, password: str, path: str) -> dict[str, str]:
    """Holds, goes on, and answers what came of it: "in", or the error."""
    transport = paramiko.Transport((address, 22))
    transport.start_client(timeout=20)
    came = {"none": _came(transport, lambda: transport.auth_none(user))}
    Path(f"{path}.held").touch()
    while not Path(f"{path}.go").exists():
        time.sleep(0.05)

    def answer(_: str, __: str, prompts: list[tuple[str, bool]]) -> list[str]:
        return [password for _ in prompts]

    came["keyboard-interactive"] = _came(transport, lambda: transport.auth_interactive(user, answer))
    came["password"] = _came(transport, lambda: transport.auth_password(user, password, fallback=False))
    transport.close()
    return came


def _came(transport: paramiko.Transport, ask: Callable[[], object]) -> str:
    try:
        ask()
    except (paramiko.SSHException, EOFError, OSError) as err:
        return type(err).__name__
    return "in" if transport.is_authenticated() else "not yet"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:5])))
