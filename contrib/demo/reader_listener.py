"""Plays systemd's part for the root reader, where there is no systemd: a socket, and a reader for each connection.

Runs as root. The reader gets the connection as its descriptor 0 and no capability, as with the units of
contrib/systemd.

    python3 -m contrib.demo.reader_listener --uid UID [--socket PATH] [--tailscaled PATH] [--state PATH]
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

from pam_tailscale.paths import READER_SOCKET, TAILSCALED_SOCKET
from pam_tailscale.tailnet import state
from pam_tailscale.tailnet.netmap import reader_command

WITHOUT_CAPABILITIES: Final = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--")


def listen(path: Path, uid: int) -> socket.socket:
    """A listening socket that `uid` alone (and root) may connect to. Raises OSError."""
    unready = path.with_name(f"{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    old = os.umask(0o177)
    try:
        listener.bind(str(unready))
    finally:
        os.umask(old)
    os.chown(unready, uid, -1)
    listener.listen(4)
    unready.rename(path)  # whoever sees it can connect
    return listener


def serve(listener: socket.socket, command: list[str]) -> NoReturn:
    """Run `command` for each connection, one at a time."""
    while True:
        connection, _ = listener.accept()
        with connection:
            subprocess.run(command, stdin=connection.fileno(), check=False)


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="Listens for the agent and runs the root reader.")
    parser.add_argument("--uid", type=int, required=True, help="the agent's uid, which alone may connect")
    parser.add_argument("--socket", type=Path, default=READER_SOCKET)
    parser.add_argument("--tailscaled", type=Path, default=TAILSCALED_SOCKET, help="socket of tailscaled")
    parser.add_argument("--state", type=Path, default=Path(state.PATH), help="state file of tailscaled")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    paths = ["--socket", str(options.tailscaled), "--state", str(options.state)]
    command = [*WITHOUT_CAPABILITIES, *reader_command(*paths)]
    with listen(options.socket, options.uid) as listener, contextlib.suppress(KeyboardInterrupt):
        try:
            serve(listener, command)
        finally:
            options.socket.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
