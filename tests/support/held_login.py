"""A connection that is held before it has logged in, run by Debian's Python on a device.

Arguments: address, user, password, a path. It makes PATH.held when it has the connection, and waits for PATH.go before
it asks for anything: sshd goes by the settings that it had when the connection began, and begins with PAM only then.
Prints one JSON object: how each method came out, until one lets it in.
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
    Path(f"{path}.held").touch()
    while not Path(f"{path}.go").exists():
        time.sleep(0.05)

    def answer(_: str, __: str, prompts: list[tuple[str, bool]]) -> list[str]:
        return [password for _ in prompts]

    methods = {
        "none": lambda: transport.auth_none(user),
        "keyboard-interactive": lambda: transport.auth_interactive(user, answer),
        "password": lambda: transport.auth_password(user, password, fallback=False),
    }
    came = {}
    for name, ask in methods.items():
        came[name] = _came(transport, ask)
        if transport.is_authenticated():
            break
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
