"""Accounts as a decision takes them, seen as sshd sees them, and from which uid on they are people's.

Here so that the agent and those who look at the host see the same account. No password, list of accounts or group comes
in here, nor who may log in: those are host's and policy's.
"""

import os
import pwd
import re
import stat
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.model import Account

UID_MIN_DEFAULT = 1000
_DEFAULT_SHELL = "/bin/sh"


def look_up(user: str) -> Account | None:
    """The account getpwnam gives for a name, whatever it is called there; None where there is none."""
    try:
        entry = pwd.getpwnam(user)
    except (KeyError, ValueError, UnicodeEncodeError):
        return None
    return account(entry.pw_name, entry.pw_uid, entry.pw_shell)


def account(name: str, uid: int, shell: str) -> Account:
    """An account of passwd(5), with sshd's checks on its shell (auth.c, allowed_user); an empty one is /bin/sh."""
    shell = shell or _DEFAULT_SHELL
    return Account(name, uid, shell, _usable(shell))


def _usable(shell: str) -> bool:
    try:
        mode = os.stat(shell).st_mode  # noqa: PTH116 (a shell may be any bytes, and follows links as sshd does)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH))


def uid_min(login_defs: Path = paths.LOGIN_DEFS) -> int:
    """UID_MIN of login.defs(5): accounts below it are system accounts. Debian's default where it is not set."""
    try:
        text = login_defs.read_text(errors="replace")
    except OSError:
        return UID_MIN_DEFAULT
    found = re.search(r"^\s*UID_MIN\s+(\d+)\s*$", text, re.MULTILINE)
    return int(found[1]) if found else UID_MIN_DEFAULT
