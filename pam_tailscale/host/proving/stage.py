"""The stage of the proof: the host's files, read-only, with what must not be touched or told replaced by copies.

Everything here is mounted in the namespace of the calling process and gone with it. Every failure is an OSError.
"""

import contextlib
import glob
import os
import pwd
import re
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pam_tailscale.host.proving import namespaces
from pam_tailscale.host.proving.actors import Actor, cast, group_with, passwd_with, shadow_with
from pam_tailscale.host.proving.trial import Plan, Variant

ROOM: Final = Path("/tmp/pam-tailscale-proof")  # noqa: S108 (below a tmpfs of our own)
"""Everything that is written during the proof is here."""
LOGS: Final = ROOM / "log"

_ETC: Final = {
    Variant.BEFORE: ROOM / "etc-before",
    Variant.AFTER: ROOM / "etc-after",
    Variant.MODULE_GONE: ROOM / "etc-after",
}
_RUN_EMPTY: Final = ("sshd", "faillock", "systemd")
"""What is in /run, and empty: sshd locks its children in there, pam_faillock counts there."""
_RUN_LEFT_OUT: Final = frozenset({*_RUN_EMPTY, "dbus", "nscd", "user", "utmp"})
"""What is not: logind would be told of logins, and a cache of names knows nothing of the accounts here."""
_HIDDEN: Final = {"/root": "mode=0700", "/home": "mode=0755", "/var/log": "mode=0755", "/var/tmp": "mode=1777"}  # noqa: S108
_NEEDED: Final = ("/dev", "/etc", "/lib", "/proc", "/run", "/sys", "/tmp", "/usr/bin", "/usr/lib", "/usr/sbin")  # noqa: S108
"""Who has one of these as home, or a directory above it, does not lose it: it is root's, and sshd needs it."""
_MODULES: Final = ("/usr/lib/*/security/pam_tailscale.so", "/lib/*/security/pam_tailscale.so")
_HARDENED: Final = namespaces.MS_NOSUID | namespaces.MS_NODEV


def build(plan: Plan, names: Iterable[str], passwords: Mapping[str, str]) -> tuple[Actor, ...]:
    """Build the stage, and answer who plays on it.

    The calling process must be the first of a pid namespace. `names`: accounts that are made; `passwords`: account,
    made here or the host's, to its field of shadow.
    """
    namespaces.own_read_only_mounts()
    namespaces.mount("proc", "/proc", "", _HARDENED | namespaces.MS_NOEXEC)
    namespaces.mount("tmpfs", str(ROOM.parent), "mode=1777", _HARDENED)
    for folder in (ROOM, LOGS):
        folder.mkdir(mode=0o755)
    _EMPTY.touch()
    _replace_run()
    actors = cast(_read(Path("/etc/passwd")), names, str(ROOM / "home"))
    for variant, files in ((Variant.BEFORE, plan.before), (Variant.AFTER, plan.after)):
        _copy_etc(_ETC[variant], files)
        _write_accounts(_ETC[variant], actors, passwords)
    for actor in actors:
        Path(actor.home).mkdir(mode=0o755, parents=True)
        os.chown(actor.home, actor.uid, actor.uid)
    tried = list(_accounts(["root", *(pair[0] for pair in (plan.accept, plan.deny) if pair is not None)]))
    shell = _shell_of(plan.accept[0]) if plan.accept is not None else ""
    for place, options in _HIDDEN.items():
        if Path(place).is_dir() and not Path(shell).is_relative_to(place):
            namespaces.mount("tmpfs", place, options, _HARDENED)
    for account in tried:
        _hide_home(account, shell)
    return actors


def _accounts(names: Iterable[str]) -> Iterator[pwd.struct_passwd]:
    for name in dict.fromkeys(names):
        with contextlib.suppress(KeyError):
            yield pwd.getpwnam(name)


def _shell_of(account: str) -> str:
    return next((found.pw_shell for found in _accounts([account])), "")


def _hide_home(account: pwd.struct_passwd, shell: str) -> None:
    """Show an empty home of the account's, so that no start-up file of its own runs, wherever the home is."""
    home = Path(os.path.realpath(account.pw_dir))
    if any(Path(needed).is_relative_to(home) for needed in (*_NEEDED, os.path.realpath(shell or "/"))):
        return
    # What is below /etc is seen in the copies of it.
    copies = [etc / home.relative_to("/etc") for etc in set(_ETC.values())] if home.is_relative_to("/etc") else []
    for place in (home, *copies):
        if place.is_dir():
            options = f"mode=0700,uid={account.pw_uid},gid={account.pw_gid}"
            namespaces.mount("tmpfs", str(place), options, _HARDENED)


_EMPTY: Final = ROOM / "empty"


def enter(variant: Variant) -> None:
    """Show this process the files of a variant. For a child on its way to become a sshd."""
    namespaces.unshare(namespaces.CLONE_NEWNS)
    namespaces.bind(str(_ETC[variant]), "/etc")
    if variant is Variant.MODULE_GONE:
        # On a Debian whose /lib is a link both patterns find the same file.
        for module in {os.path.realpath(path) for pattern in _MODULES for path in glob.iglob(pattern)}:  # noqa: PTH207
            namespaces.bind(str(_EMPTY), module)


def _replace_run() -> None:
    """A /run that can be written to, in which the host's sockets are where they were."""
    new = ROOM / "run"
    new.mkdir(mode=0o755)
    with os.scandir("/run") as entries:
        for entry in entries:
            if entry.name not in _RUN_LEFT_OUT:
                _show(entry, new / entry.name)
    for name in _RUN_EMPTY:
        (new / name).mkdir(mode=0o755)
    users = Path("/run/systemd/userdb")
    if users.is_dir():  # accounts that systemd knows
        (new / "systemd/userdb").mkdir()
        namespaces.bind(str(users), str(new / "systemd/userdb"))
    namespaces.bind(str(new), "/run")


def _show(entry: os.DirEntry[str], place: Path) -> None:
    if entry.is_symlink():
        place.symlink_to(Path(entry.path).readlink())
        return
    if entry.is_dir(follow_symlinks=False):
        place.mkdir()
    else:
        place.touch()
    namespaces.bind(entry.path, str(place))


def _copy_etc(target: Path, files: Mapping[str, bytes | None]) -> None:
    done = subprocess.run(["cp", "-a", "/etc", target], capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"/etc could not be copied: {done.stderr.decode(errors='replace').strip()}")
    for path, content in files.items():
        if Path(path).is_relative_to("/etc"):
            _put(target / Path(path).relative_to("/etc"), content)


def _put(path: Path, content: bytes | None) -> None:
    """A file of a copy as it shall be; one that is there keeps its mode and owner."""
    if content is None or path.is_symlink():  # a link would lead out of the copy
        path.unlink(missing_ok=True)
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _write_accounts(etc: Path, actors: Iterable[Actor], passwords: Mapping[str, str]) -> None:
    actors = tuple(actors)
    texts = {
        "passwd": passwd_with(_read(etc / "passwd"), actors),
        "group": group_with(_read(etc / "group"), actors),
        "shadow": shadow_with(_read(etc / "shadow"), passwords.items()),
    }
    for name, text in texts.items():
        _put(etc / name, text.encode(errors="surrogateescape"))


def _read(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")


def authorize(actor: Actor, patterns: Iterable[str], line: str) -> None:
    """Put a public key where sshd looks for the actor's (AuthorizedKeysFile), as far as that is on the stage."""
    for pattern in patterns:
        path = Path(actor.home) / expanded(pattern, actor)
        places = [path]
        if path.is_relative_to("/etc"):
            places = [etc / path.relative_to("/etc") for etc in set(_ETC.values())]
        for place in places:
            with contextlib.suppress(OSError):  # what is still the host's is read-only
                _put(place, f"{line}\n".encode())


def expanded(pattern: str, actor: Actor) -> str:
    """A path of AuthorizedKeysFile with its tokens replaced (sshd_config(5), TOKENS)."""
    values = {"%%": "%", "%h": actor.home, "%u": actor.name, "%U": str(actor.uid)}
    return re.sub("%[%huU]", lambda match: values[match[0]], pattern)


def open_log() -> socket.socket | None:
    """A socket in place of syslog's, on which what PAM says arrives; None where the host has no syslog either."""
    place = os.path.realpath("/dev/log")
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    own = ROOM / "syslog"
    log.bind(str(own))
    own.chmod(0o666)
    if not os.path.lexists(place):
        if not place.startswith("/run/"):
            log.close()
            return None
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).touch()
    namespaces.bind(str(own), place)
    return log
