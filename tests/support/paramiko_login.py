"""One login with paramiko, run by Debian's Python on the device: a client that does not begin with the method `none`.

Arguments: address, local address, user (as JSON), method (none, publickey, password, keyboard-interactive). With
publickey the key is made on the spot. Prints one JSON object: whether it got in, what the prompts said, what `id -un`
printed.
"""

import json
import socket
import sys
from typing import Any

import paramiko


def main(address: str, source: str, user: str, method: str) -> dict[str, Any]:
    """Tries to log in and answers what came of it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family)
    connection.bind((source, 0))
    connection.connect((address, 22))
    transport = paramiko.Transport(connection)
    shown: list[str] = []

    def answer(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        shown.extend([title, instructions, *(prompt for prompt, _ in prompts)])
        return ["" for _ in prompts]

    try:
        transport.start_client(timeout=20)
        left = {
            "none": lambda: transport.auth_none(user),
            "publickey": lambda: transport.auth_publickey(user, paramiko.RSAKey.generate(2048)),
            "password": lambda: transport.auth_password(user, "", fallback=False),
            "keyboard-interactive": lambda: transport.auth_interactive(user, answer),
        }[method]()
        result: dict[str, Any] = {"in": transport.is_authenticated(), "left": left, "shown": shown}
        if result["in"]:
            channel = transport.open_session(timeout=20)
            channel.exec_command("id -un")
            result["id"] = channel.makefile().read().decode().strip()
    except (paramiko.SSHException, EOFError, OSError) as err:
        return {"in": False, "error": type(err).__name__, "text": str(err), "shown": shown}
    else:
        return result
    finally:
        transport.close()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4])))
