"""Finds out who could log in without the tailnet: keys, passwords, authorities of sshd's. Judges nothing."""

import fnmatch
import grp
import itertools
import json
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pam_tailscale.host.effective import Effective
from pam_tailscale.host.facts import Way
from pam_tailscale.policy.limits import NOLOGIN_SHELLS

_SHADOW = Path("/etc/shadow")
_NSSWITCH = Path("/etc/nsswitch.conf")
_NOLOGIN = NOLOGIN_SHELLS | {"sync"}
_DAY = 86400
_FIRST_KEY = Path(__file__).with_name("first_key.py")
_SECONDS = 3.0
"""For all key files together; homes may be on a file system that hangs."""
_LOOKED_AT_MAX = 1000
"""Accounts whose key files are looked at."""
_KEYS_OF_OTHERS = ("authorizedkeyscommand", "trustedusercakeys")
_NO_KEYS = ("gssapiauthentication", "hostbasedauthentication")
_SERVICE = re.compile(r"[a-z_]+")
_LOCAL = frozenset({"files", "compat", "systemd", "db"})
"""Services of nsswitch.conf(5) whose accounts are this host's own."""


def ways_in(
    values: Effective,
    accounts: Iterable[pwd.struct_passwd] | None = None,
    shadow: Path = _SHADOW,
    nsswitch: Path = _NSSWITCH,
) -> tuple[Way, ...]:
    """Each account's way that takes no look at its own files; where there is none, the first account with a key.

    By what sshd's configuration says of connections in general. `accounts`: by default all that the host lists; a
    directory's may not be among them, so it counts as one.
    """
    everybody = [keyword for keyword in _KEYS_OF_OTHERS if values.is_set(keyword)]
    hashes = _hashes(shadow)
    found = [Way(f"accounts of {name}", "password") for name in _directories(nsswitch) if _takes_passwords(values)]
    listed = pwd.getpwall() if accounts is None else accounts
    admitted = [account for account in listed if _root(account, values) != "no" and may_log_in(account, values)]
    for account in admitted:
        by = next(_by(account, values, hashes, everybody), "")
        if by:
            found.append(Way(account.pw_name, by))
    if not found and values.says("pubkeyauthentication"):
        found += [Way(account.pw_name, "key") for account in _first_with_key(admitted, values)]
    return tuple(found)


def _root(account: pwd.struct_passwd, values: Effective) -> str:
    """What PermitRootLogin says about an account: `yes` and `no`, or the kind of login that is left."""
    said = values.one("permitrootlogin") if account.pw_uid == 0 else "yes"
    return "no" if said == "forced-commands-only" else said


def _by(
    account: pwd.struct_passwd, values: Effective, hashes: Mapping[str, str], everybody: Iterable[str]
) -> Iterator[str]:
    if values.says("pubkeyauthentication"):
        yield from everybody
    yield from (keyword for keyword in _NO_KEYS if values.says(keyword))
    field = hashes.get(account.pw_name, account.pw_passwd)
    if _takes_passwords(values) and _root(account, values) == "yes" and is_password(field):
        yield "password"


def _takes_passwords(values: Effective) -> bool:
    asked_by_pam = values.says("kbdinteractiveauthentication") and values.says("usepam")
    return values.says("passwordauthentication") or asked_by_pam


def _directories(nsswitch: Path) -> list[str]:
    """Where accounts come from beside this host's own files."""
    with suppress(OSError):
        for line in nsswitch.read_text(errors="replace").splitlines():
            database, _, services = line.partition("#")[0].partition(":")
            if database.strip() == "passwd":
                return [name for name in _SERVICE.findall(re.sub(r"\[.*?\]", "", services)) if name not in _LOCAL]
    return []


def may_log_in(account: pwd.struct_passwd, values: Effective) -> bool:
    """As sshd asks (auth.c, allowed_user): the shell, and the lists of names."""
    shell = account.pw_shell or "/bin/sh"
    if Path(shell).name in _NOLOGIN or not os.access(shell, os.X_OK):
        return False
    name = account.pw_name
    groups = _groups(account)
    if _named(name, values.all("denyusers")) or any(_named(group, values.all("denygroups")) for group in groups):
        return False
    users, allowed = values.all("allowusers"), values.all("allowgroups")
    return (not users or _named(name, users)) and (not allowed or any(_named(group, allowed) for group in groups))


def _named(name: str, lists: Iterable[str]) -> bool:
    """A pattern may say from where, behind `@`; that is taken for anywhere."""
    patterns = [pattern for line in lists for pattern in line.split()]
    return any(fnmatch.fnmatchcase(name, pattern.partition("@")[0].replace("[", "[[]")) for pattern in patterns)


def _groups(account: pwd.struct_passwd) -> list[str]:
    found = []
    for number in os.getgrouplist(account.pw_name, account.pw_gid):
        with suppress(KeyError):
            found.append(grp.getgrgid(number).gr_name)
    return found


def _key_files(account: pwd.struct_passwd, patterns: Iterable[str]) -> Iterator[Path]:
    """AuthorizedKeysFile's tokens put in (sshd_config, TOKENS)."""
    for pattern in patterns:
        if pattern == "none":
            continue
        text = pattern.replace("%%", "\0").replace("%h", account.pw_dir).replace("%u", account.pw_name)
        yield Path(account.pw_dir) / text.replace("%U", str(account.pw_uid)).replace("\0", "%")


def _first_with_key(accounts: Sequence[pwd.struct_passwd], values: Effective) -> Iterator[pwd.struct_passwd]:
    """The first account with a key; none where nobody has one, or it could not be found out in time.

    Not looked for in this process: whoever owns a home chooses what lies in it, and some file systems hang.
    """
    patterns = values.one("authorizedkeysfile").split()
    looked_at = list(itertools.islice(accounts, _LOOKED_AT_MAX))
    asked = {"strict": values.says("strictmodes"), "accounts": [_asked(account, patterns) for account in looked_at]}
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", str(_FIRST_KEY)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError:
        return
    try:
        said = child.communicate(json.dumps(asked), timeout=_SECONDS)[0].strip()
    except subprocess.TimeoutExpired:
        child.kill()
        with suppress(subprocess.TimeoutExpired):  # it may wait for a disk, which no signal ends
            child.communicate(timeout=1.0)
        return
    if said.isdecimal():
        yield looked_at[int(said)]


def _asked(account: pwd.struct_passwd, patterns: Iterable[str]) -> dict[str, object]:
    return {
        "uid": account.pw_uid,
        "gid": account.pw_gid,
        "groups": os.getgrouplist(account.pw_name, account.pw_gid),
        "home": account.pw_dir,
        "files": [str(path) for path in _key_files(account, patterns)],
    }


def _hashes(path: Path) -> dict[str, str]:
    """Names and password fields; an account that has expired has none that fits."""
    found = {}
    with suppress(OSError):
        for line in path.read_text(errors="replace").splitlines():
            name, field, *rest = [*line.split(":"), *[""] * 8][:9]
            expires = rest[5]
            found[name] = "*" if expires.isdecimal() and int(expires) * _DAY < time.time() else field
    return found


def is_password(field: str) -> bool:
    """Whether a password fits a shadow field at all; the empty one does not count, nor one that is locked."""
    return bool(field) and field[0] not in "*!x"
