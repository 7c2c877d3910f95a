"""Looks at files, accounts and sockets of the host, for those who judge. Changes nothing, and follows nobody's tricks.

What cannot be read is said, or left out where the judge takes that for "not known"; nothing here decides.
"""

import grp
import os
import pwd
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam_tailscale import localaccounts, paths
from pam_tailscale.errors import HostError
from pam_tailscale.host.accounts import Entry
from pam_tailscale.host.arrangement import PATHS
from pam_tailscale.host.doctor import keysfile, pamstack
from pam_tailscale.host.doctor.halves import Halves
from pam_tailscale.host.doctor.places import Place
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.files import Files
from pam_tailscale.host.looking import first_key
from pam_tailscale.host.sshdconfig import MAIN, SshdConfig
from pam_tailscale.host.version import OpenSSH
from pam_tailscale.model import Account

_SERVICES = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
"""Where libpam looks for a service, in this order (pam_handlers.c)."""
PASSWD, SHADOW = Path("/etc/passwd"), Path("/etc/shadow")
_TOKEN = re.compile(r"%([%hUu])")


def place(path: Path | str, root: Path = Path("/")) -> Place:
    """What lies at a path below a root, as it is: a link is a link."""
    try:
        found = os.lstat(root / str(path).lstrip("/"))
    except OSError:
        return Place(str(path))
    return Place(str(path), found.st_mode, found.st_uid)


def halves(openssh: OpenSSH | None, root: Path = Path("/")) -> Halves:
    """Everything that lies where `enable` writes, below a root."""
    files, contents, unreadable = Files(root), {}, {}
    for path in (*PATHS, str(paths.ENABLED), str(paths.CHANGE)):
        try:
            content = files.read(path)
        except HostError as err:
            unreadable[path] = str(err).removeprefix(f"{path}: ")
            continue
        if content is not None:
            contents[path] = content
    others = (paths.ENABLED, paths.CHANGE, paths.HALVES_DIR, paths.HALVES_DIR.parent)
    places = {path: place(path, root) for path in (*PATHS, *map(str, others))}
    return Halves(openssh, contents, places, unreadable, locked())


def locked(lock: Path = paths.LOCK) -> bool:
    """Whether a run of enable or disable holds the lock: by the kernel's list, so that nobody waits for this look."""
    try:
        inode = lock.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    return any(f":{inode} " in line and "FLOCK" in line for line in lines)


def service(name: str, directories: Sequence[Path] = _SERVICES) -> pamstack.Stack:
    """A PAM service with everything that it includes."""

    def read(named: str) -> str | None:
        texts = (text_of(directory / named.rsplit("/", 1)[-1]) for directory in directories)
        return next((text for text in texts if text is not None), None)

    return pamstack.read(name, read)


def text_of(path: Path) -> str | None:
    """A file's text; None where there is none, or it is no file or larger than 1 MiB, or cannot be read."""
    try:
        return first_key.content(str(path))[0].decode(errors="replace")
    except OSError:
        return None


# sshd's files


def changed(config: SshdConfig) -> tuple[tuple[str, float], ...]:
    """The files that sshd reads, each with the Unix time at which it was last put in place or altered."""
    named = [MAIN, str(paths.DROP_IN), *(setting.place.path for setting in config.settings)]
    found = []
    for path in dict.fromkeys(named):
        try:
            # The inode's own time: a rename into place counts, which leaves the time of the content as it was.
            found.append((path, os.stat(path).st_ctime))  # noqa: PTH116 (one call for both)
        except OSError:
            continue
    return tuple(found)


def read_at(effective: Effective, pid: int) -> float | None:
    """The Unix time at which the listener last read its files; None where its PidFile is not there, or another's."""
    path = Path(effective.one("pidfile") or "/run/sshd.pid")
    try:
        return path.stat().st_mtime if path.read_text().strip() == str(pid) else None
    except OSError:
        return None


# Accounts


@dataclass(frozen=True, slots=True)
class Restricted:
    """What authorized_keys restricts."""

    options: Mapping[str, frozenset[str]]
    """Account to the options by which its keys may do less than everything."""
    unread: tuple[str, ...]
    """Files that are there and could not be read."""


def restricted(accounts: Iterable[Entry], effective: Effective) -> Restricted:
    """The keys of every account, in the files that sshd looks in over the LAN."""
    options: dict[str, frozenset[str]] = {}
    unread = []
    patterns = effective.one("authorizedkeysfile").split()
    for account in accounts:
        found: frozenset[str] = frozenset()
        for pattern in patterns:
            path = _expanded(pattern, account)
            text = None if pattern.lower() == "none" else text_of(path)
            if text is not None:
                found |= keysfile.restrictions(text)
            elif place(path).exists:
                unread.append(str(path))
        if found:
            options[account.name] = found
    return Restricted(options, tuple(dict.fromkeys(unread)))


def _expanded(pattern: str, account: Entry) -> Path:
    """As auth.c's expand_authorized_keys does."""
    values = {"%": "%", "h": account.home, "U": str(account.uid), "u": account.name}
    path = Path(_TOKEN.sub(lambda match: values[match[1]], pattern))
    return path if path.is_absolute() else Path(account.home) / path


def local_accounts(entries: Sequence[Entry]) -> tuple[Account, ...]:
    """The accounts as a decision takes them."""
    return tuple(localaccounts.account(entry.name, entry.uid, entry.shell) for entry in entries)


def members(group: str) -> tuple[str, ...] | None:
    """Who is in a group, also by their account's own group; None where there is no such group."""
    try:
        found = grp.getgrnam(group)
    except KeyError:
        return None
    by_account = [account.pw_name for account in pwd.getpwall() if account.pw_gid == found.gr_gid]
    return tuple(dict.fromkeys([*found.gr_mem, *by_account]))
