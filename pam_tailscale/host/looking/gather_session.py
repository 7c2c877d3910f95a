"""Finds out which SSH connection this command is run from, whatever sudo or su has made of the environment since."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from pam_tailscale.host.facts import Session
from pam_tailscale.host.looking.connections import is_established
from pam_tailscale.model import parse_address

_PROC = Path("/proc")
_VARIABLE = b"SSH_CONNECTION="
_UNSET = 2**32 - 1
"""No audit login id (proc_pid_loginuid(5))."""
_DEPTH_MAX = 100
# Majors of terminals that are no network's: virtual consoles and serial lines, /dev/console, hypervisors' consoles
# (Documentation/admin-guide/devices.txt). A pseudo-terminal can be anybody's.
_TTY, _CONSOLE, _HYPERVISOR, _SERIAL = 4, 5, 229, 204
_CONSOLE_MINOR = 1


def own_session(pid: int | None = None, proc: Path = _PROC) -> Session | None:
    """The connection that a process was started from, by default this one; None where it is none."""
    session = None
    for process in _line_of(pid or os.getpid(), proc):
        found = _connection(process)
        if found is None:
            continue
        if session is not None and found != session:
            break
        # The outermost process of the same connection is the one that sshd has started, as the account.
        session = found
        outermost = process
    if session is None:
        return None
    client, server = (parse_address(session[0]), int(session[1])), (parse_address(session[2]), int(session[3]))
    return Session(*client, *server, _account(outermost), is_open=is_established(server, client, proc))


def _line_of(pid: int, proc: Path) -> Iterator[Path]:
    """A process and the processes above it."""
    for _ in range(_DEPTH_MAX):
        if pid <= 0:
            return
        process = proc / str(pid)
        yield process
        pid = _fields(process)[1]


def _fields(process: Path) -> tuple[str, int, int]:
    """State, parent and terminal, of proc_pid_stat(5); zeros where there is no such process."""
    try:
        state, parent, _, _, terminal = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[:5]
    except (OSError, ValueError):
        return "", 0, 0
    return state, int(parent), int(terminal)


def _connection(process: Path) -> tuple[str, str, str, str] | None:
    """A process's SSH_CONNECTION, if it has one that can be read."""
    try:
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    for variable in environment:
        if variable.startswith(_VARIABLE):
            parts = variable[len(_VARIABLE) :].decode(errors="replace").split()
            if _is_connection(parts):
                return parts[0], parts[1], parts[2], parts[3]
    return None


def _is_connection(parts: list[str]) -> bool:
    try:
        client, client_port, server, server_port = parts
        parse_address(client)
        parse_address(server)
    except ValueError:
        return False
    return client_port.isdecimal() and server_port.isdecimal()


def _account(process: Path) -> str:
    """Who logged in: the audit login id, which sudo leaves alone, and where there is none whoever the process is."""
    uid = _login_uid(process)
    if uid is None:
        try:
            uid = process.stat().st_uid
        except OSError:
            return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _login_uid(process: Path) -> int | None:
    try:
        uid = int((process / "loginuid").read_text())
    except (OSError, ValueError):
        return None
    return None if uid == _UNSET else uid


def at_console(pid: int | None = None, proc: Path = _PROC) -> bool:
    """Whether a process, by default this one, has a terminal of the host's own."""
    terminal = _fields(proc / str(pid or os.getpid()))[2]
    major, minor = os.major(terminal), os.minor(terminal)
    return major in (_TTY, _HYPERVISOR, _SERIAL) or (major == _CONSOLE and minor == _CONSOLE_MINOR)
