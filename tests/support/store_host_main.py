"""Runs inside a sandbox, with Debian's own libraries: a program that uses the shared store as told, line by line.

    python3 -m tests.support.store_host_main SOCKET

Each connection to SOCKET is a host of its own. Its first line is the place, as JSON; each other line a method of the
store and its arguments, answered by a line with `answer`, `error` (a CheckError) or `bug`. `peak` answers the most
memory the program had, in KiB.
"""

import json
import logging
import resource
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from pam_tailscale.check.redis_socket import Place
from pam_tailscale.check.shared import RedisStore
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret


def main() -> None:
    """Serve until the sandbox ends."""
    logging.basicConfig(level=logging.INFO)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(sys.argv[1])
    listener.listen()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection, connection.makefile("r") as lines:
        place = json.loads(lines.readline())
        paths = {name: Path(place[name]) for name in ("path", "ca_file", "password_file") if name in place}
        store = RedisStore(Place(**{**place, **paths}))
        for line in lines:
            connection.sendall(json.dumps(_result(store, *json.loads(line))).encode() + b"\n")
        store.close()


def _result(store: RedisStore, name: str, *arguments: Any) -> dict[str, Any]:
    try:
        return {"answer": _call(store, name, arguments)}
    except CheckError as err:
        return {"error": str(err), "retry_after": err.retry_after}
    except Exception as err:  # noqa: BLE001 - the test wants to know
        return {"bug": repr(err)}


def _call(store: RedisStore, name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "peak":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name == "tokens":
        return [token.reveal() for token in store.tokens(*arguments)]
    if name == "keep":
        key, token, authenticated, until = arguments
        return store.keep(key, Secret(token), authenticated, until)
    return getattr(store, name)(*arguments)


if __name__ == "__main__":
    main()
