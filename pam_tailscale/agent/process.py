"""The agent as a process: its listening socket, its account, systemd's watchdog. Knows nothing of logins."""

import contextlib
import grp
import os
import pwd
import socket
import stat
from pathlib import Path

from pam_tailscale.agent.server import BACKLOG
from pam_tailscale.errors import ConfigError
from pam_tailscale.rootfile import only_root_writes

_FIRST_PASSED = 3
"""The first descriptor systemd passes (sd_listen_fds(3))."""


def listener(path: Path) -> socket.socket:
    """The agent's socket: systemd's where it passed one, else bound here, which needs root. Raises ConfigError.

    Anyone may connect (who asks what is decided by SO_PEERCRED), but only root may replace the socket: its directory
    must be root's, since the shims believe whoever listens there as root or the agent.
    """
    if os.environ.pop("LISTEN_PID", "") == str(os.getpid()) and os.environ.pop("LISTEN_FDS", "") == "1":
        passed = socket.socket(fileno=_FIRST_PASSED)
        if passed.type != socket.SOCK_SEQPACKET:
            raise ConfigError("systemd passed a socket of another type: use ListenSequentialPacket= in the socket unit")
        return passed
    try:
        return _bind(path)
    except OSError as err:
        raise ConfigError(
            f"{path}: cannot listen ({err.strerror or err}): start the agent as root or by its units"
        ) from err


def _bind(path: Path) -> socket.socket:
    path.parent.mkdir(mode=0o755, exist_ok=True)
    if not only_root_writes(path.parent.stat()):
        raise ConfigError(f"{path.parent}: must be a directory of root that nobody else may write")
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        bound.bind(str(path))
        path.chmod(0o666)
        bound.listen(BACKLOG)
    except OSError:
        bound.close()
        raise
    return bound


def become(user: str) -> None:
    """Give up root for good and go on as `user`, with its groups. Nothing to do where we are not root."""
    if os.geteuid() != 0:
        return
    entry = _unprivileged(user)
    os.initgroups(user, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    with contextlib.suppress(PermissionError):
        os.setuid(0)
        raise ConfigError("root could not be given up: report this")


def own_directory(path: Path, user: str) -> None:
    """Make a directory that only `user` may enter, below one of root's; systemd has made it where it starts the agent.

    One that exists is never changed: it may be anybody's. Nothing to do where we are not root. Raises ConfigError.
    """
    if os.geteuid() != 0:
        return
    entry = _unprivileged(user)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
        found = path.lstat()
    except OSError as err:
        raise ConfigError(f"{path}: cannot be made ({err.strerror or err}): [check] store needs a directory") from err
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != entry.pw_uid or found.st_mode & 0o077:
        raise ConfigError(
            f"{path}: must be a directory of {user}'s that nobody else may enter: name another one in [check] store, "
            f"or run 'chown {user} {path}' and 'chmod 0700 {path}' if it holds nothing else"
        )


def _unprivileged(user: str) -> pwd.struct_passwd:
    entry = account(user)
    if entry.pw_uid == 0:
        raise ConfigError(f"[agent] user: {user!r} is root: give the agent an account of its own")
    return entry


def account(name: str) -> pwd.struct_passwd:
    """An account of the configuration. Raises ConfigError."""
    try:
        return pwd.getpwnam(name)
    except KeyError as err:
        raise ConfigError(f"there is no account {name!r}: create it with 'adduser --system --group {name}'") from err


def has_group(name: str) -> bool:
    """Whether the group exists."""
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Seconds between two signs of life that systemd is owed, half of its patience (sd_watchdog_enabled(3))."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    known = microseconds.isascii() and microseconds.isdecimal()
    return int(microseconds) / 2_000_000 or None if known else None
