"""Takes connections as inetd does: a sshd of its own for each, with the files that the connection is to see.

So the addresses that sshd_config names for the listener, its limits and its pid file play no part, and the host's own
sshd goes on listening. Every failure is an OSError.
"""

import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pam_tailscale.host.command_line import as_arguments
from pam_tailscale.host.effective import Effective, connection_spec, parse
from pam_tailscale.host.proving import stage
from pam_tailscale.host.proving.trial import Attempt
from pam_tailscale.host.sshdconfig import MAIN, PROGRAM
from pam_tailscale.model import parse_address

_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""The module tells `none` and keyboard-interactive apart by whether there is a PATH."""
_LEVEL: Final = ("-o", "LogLevel=VERBOSE")
_BACKLOG: Final = 64
_DATAGRAM: Final = 1 << 16
_WITHOUT_NONE: Final = stage.ROOM / "without-none.conf"
_REFUSING_NONE: Final = stage.ROOM / "refusing-none.conf"


class Inetd:
    """sshd's side of the proof.

    Args:
        attempts: who will connect.
        options: further settings of sshd, as `Keyword=value`.
        log: a datagram socket on which what PAM says arrives.
    """

    def __init__(self, attempts: Iterable[Attempt], options: Iterable[str], log: socket.socket | None) -> None:
        self._attempts = {(attempt.source, attempt.port): attempt for attempt in attempts}
        self._options = as_arguments(options)
        self._log = log
        self._sshds: list[subprocess.Popen[bytes]] = []
        self._said: list[str] = []
        ends = {(attempt.target.version, attempt.port) for attempt in self._attempts.values()}
        self._listeners = [_listener(version, port) for version, port in sorted(ends)]
        # Of several Match blocks that fit the first one counts, and a Match ends with its file (sshd_config(5)).
        _REFUSING_NONE.write_text("Match all\n    PermitEmptyPasswords no\n")
        _WITHOUT_NONE.write_text(f"Include {_REFUSING_NONE}\nInclude {MAIN}\n")

    @property
    def sockets(self) -> list[socket.socket]:
        """What has to be watched: call `serve` for each that can be read."""
        return [*self._listeners, *([self._log] if self._log is not None else [])]

    def serve(self, ready: socket.socket) -> None:
        """Take one connection, or one line of PAM's."""
        if ready is self._log:
            self._said.append(ready.recv(_DATAGRAM).decode(errors="replace"))
            return
        connection, peer = ready.accept()
        with connection:
            attempt = self._attempts.get((parse_address(peer[0]), ready.getsockname()[1]))
            if attempt is not None:
                self._sshds.append(self._start(attempt, connection))

    def _start(self, attempt: Attempt, connection: socket.socket) -> subprocess.Popen[bytes]:
        config = str(_WITHOUT_NONE) if attempt.without_none else MAIN
        return subprocess.Popen(
            [PROGRAM, "-i", "-f", config, "-E", _log_of(attempt), *self._options, *_LEVEL],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            preexec_fn=lambda: stage.enter(attempt.variant),  # noqa: PLW1509 (this process has one thread)
        )

    def logged(self, attempt: Attempt) -> tuple[str, ...]:
        """What sshd has logged about a login."""
        path = Path(_log_of(attempt))
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        # Logins of several accounts may come from one address.
        return tuple(line for line in lines if attempt.account in line)

    def said(self, attempt: Attempt) -> tuple[str, ...]:
        """What PAM has said about an account so far."""
        return tuple(line.partition(">")[2] for line in self._said if attempt.account in line)


def _log_of(attempt: Attempt) -> str:
    return f"{stage.LOGS}/{attempt.source}-{attempt.port}.log"


def _listener(version: int, port: int) -> socket.socket:
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004
    listener = socket.socket(family, socket.SOCK_STREAM)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", port))
    listener.listen(_BACKLOG)
    return listener


def effective(attempt: Attempt, options: Iterable[str]) -> Effective:
    """What sshd says its configuration comes to for a connection. Raises OSError with sshd's complaint."""
    spec = connection_spec(attempt.account, attempt.source, attempt.target, attempt.port)
    done = subprocess.run(
        [PROGRAM, "-T", "-f", MAIN, "-C", spec, *as_arguments(options)],
        capture_output=True,
        text=True,
        errors="replace",
        env=_ENVIRONMENT,
        check=False,
        preexec_fn=lambda: stage.enter(attempt.variant),
    )
    if done.returncode != 0:
        raise OSError(done.stderr.strip())
    return parse(done.stdout)
