"""Finds out about sshd: which one is installed, which one runs, and what its configuration is. Judges nothing."""

import dataclasses
import glob
import ipaddress
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.host import command_line, listeners, programs, units, version
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.facts import Listener, Socket, Sshd, Unit
from pam_tailscale.host.looking.first_key import content
from pam_tailscale.host.programs import Run
from pam_tailscale.host.sshd import settings
from pam_tailscale.host.sshdconfig import MAIN, PROGRAM, Reader
from pam_tailscale.host.unitnames import SSH, SSH_SOCKET

_DEFAULTS = Path("/etc/default/ssh")
_GUARD = "check-halves"
_OUR_UNIT_FILE = "pam-tailscale.conf"
_ENDPOINT = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\s]+)):(?P<port>\d{1,5})", re.ASCII)


def look(run: Run = programs.attempt) -> Sshd:
    """Everything about sshd."""
    said = run([PROGRAM, "-V"])
    unit = _unit(run) if units.booted() else Unit()
    found = list(map(_listener, listeners.find()))
    listener = _chosen(found, unit)
    given = listener.options if listener else _default_options()
    options = command_line.harmless(given) if listener is None or _is_believed(listener, found, unit) else ()
    complaint, values = settings(options, run=run)
    return Sshd(
        openssh=version.parse(said.stdout + said.stderr),
        complaint=complaint,
        config=_reader().read(MAIN, options),
        effective=values,
        listener=listener,
        others=tuple(map(_other, (one for one in found if one is not listener))),
        options=options,
        unproved=tuple(option for option in given if option not in options),
        sockets=_sockets(listener, unit, values, run),
        unit=unit,
        confinement=tuple(confinement(listener.pid if listener else 0)),
    )


def _reader() -> Reader:
    return Reader(_text, glob.glob, str(paths.DROP_IN))


def _text(path: str) -> str | None:
    try:
        return content(path)[0].decode(errors="surrogateescape")
    except OSError:
        return None


# The listener


def _listener(found: listeners.Listener) -> Listener:
    return Listener(
        pid=found.pid,
        program=found.program,
        is_installed=_is_installed(found),
        config=found.config,
        options=found.settings,
        sockets=tuple(Socket(end.address, end.port) for end in found.endpoints),
    )


def _chosen(found: Sequence[Listener], unit: Unit) -> Listener | None:
    """ssh.service's own, where systemd says which one that is; else the first with the installed program and file."""
    mine = [one for one in found if unit.booted and one.pid == unit.main_pid]
    if not mine and unit.socket_active:
        return None
    mine = mine or [one for one in found if one.is_installed and one.config == MAIN] or list(found)
    return mine[0] if mine else None


def _is_believed(listener: Listener, found: Iterable[Listener], unit: Unit) -> bool:
    """Whether its title is taken for what the host's sshd was started with: nobody but root can have started it."""
    if unit.booted:
        return listener.pid == unit.main_pid
    return [one.pid for one in found if one.is_installed] == [listener.pid]


def _other(found: Listener) -> Listener:
    """A listener beside the host's own, of whose options nothing is made but what files they lead to."""
    reads = _reader().read(found.config, found.options).drop_in is not None
    is_drop_in = os.path.realpath(found.config) == str(paths.DROP_IN)
    return dataclasses.replace(found, options=(), reads_drop_in=reads or is_drop_in)


def _is_installed(found: listeners.Listener) -> bool:
    """By the file and not its name, which may be one of another root; after an upgrade the file is gone."""
    if found.program == f"{PROGRAM} (deleted)":
        return True
    try:
        return Path(f"/proc/{found.pid}/exe").samefile(PROGRAM)
    except OSError:
        return False


def _default_options() -> tuple[str, ...]:
    """What ssh.service would start sshd with (EnvironmentFile=/etc/default/ssh)."""
    for line in (_text(str(_DEFAULTS)) or "").splitlines():
        if line.strip().startswith("SSHD_OPTS="):
            with suppress(ValueError):
                return command_line.settings(" ".join(shlex.split(line.partition("=")[2])).split())
    return ()


# Where connections are taken


def _sockets(listener: Listener | None, unit: Unit, values: Effective, run: Run) -> tuple[Socket, ...]:
    if listener is not None:
        return listener.sockets
    if unit.socket_active:
        listing = run(["systemctl", "show", "--property=Listen", "--value", SSH_SOCKET]).stdout.split()
    else:
        listing = list(values.all("listenaddress"))
    return tuple(endpoint for text in listing for endpoint in _endpoint(text))


def _endpoint(text: str) -> Iterator[Socket]:
    """`[::]:22`, `0.0.0.0:22`; nothing for what is neither."""
    match = _ENDPOINT.fullmatch(text)
    if match:
        with suppress(ValueError):
            yield Socket(ipaddress.ip_address((match["six"] or match["four"]).partition("%")[0]), int(match["port"]))


# systemd, SELinux, AppArmor


def _unit(run: Run) -> Unit:
    shown = _shown(run, SSH, "LoadState", "ActiveState", "MainPID", "ExecStartPre", "ExecReload", "DropInPaths")
    reload, main_pid = shown.get("ExecReload", ""), shown.get("MainPID", "")
    is_guarded = _GUARD in shown.get("ExecStartPre", "") and _GUARD in reload and "-HUP" in reload
    drop_ins = [path for path in shown.get("DropInPaths", "").split() if Path(path).name != _OUR_UNIT_FILE]
    return Unit(
        booted=True,
        load_state=shown.get("LoadState", ""),
        active=shown.get("ActiveState", "") == "active",
        socket_active=_shown(run, SSH_SOCKET, "ActiveState").get("ActiveState", "") == "active",
        guarded=is_guarded,
        drop_ins=tuple(drop_ins),
        main_pid=int(main_pid) if main_pid.isdecimal() else 0,
    )


def _shown(run: Run, unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit; without systemctl it has none."""
    return units.properties(run(["systemctl", "show", f"--property={','.join(names)}", unit]).stdout)


def confinement(pid: int, root: Path = Path("/")) -> Iterator[str]:
    """What confines sshd. `pid`: its listener, or 0."""
    with suppress(OSError):
        if (root / "sys/fs/selinux/enforce").read_text().strip() == "1":
            yield "SELinux"
    profiles = ""
    for path in (root / f"proc/{pid}/attr/apparmor/current", root / "sys/kernel/security/apparmor/profiles"):
        with suppress(OSError):
            profiles += path.read_text().replace("\0", "") + "\n"
    if re.search(r"^(?:.*/)?(?:openssh-)?sshd(?:-session)? \(enforce\)$", profiles, re.MULTILINE):
        yield "AppArmor"
