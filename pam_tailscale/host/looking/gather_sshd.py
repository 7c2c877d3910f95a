"""Finds out about sshd: which one is installed, which one runs, and what its configuration is. Judges nothing."""

import glob
import ipaddress
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.host import effective, listeners, units, version
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.facts import Listener, Socket, Sshd, Unit
from pam_tailscale.host.sshd import PROGRAM, complaint
from pam_tailscale.host.sshdconfig import MAIN, Reader

_SECONDS = 15.0
_PRIVSEP = Path("/run/sshd")
_DEFAULTS = Path("/etc/default/ssh")
_GUARD = "check-halves"
_OUR_UNIT_FILE = "pam-tailscale.conf"
_UNIT, _SOCKET_UNIT = "ssh.service", "ssh.socket"
# sshd's options that take a value (sshd.c, getopt).
_WITH_VALUE = "CEbcfghkoPpu"
_OPTION_OF = {"p": "Port", "h": "HostKey", "g": "LoginGraceTime", "c": "HostCertificate"}
_TITLE = re.compile(r"(?:sshd: )?(.*?)(?: \[listener\] .*)?", re.DOTALL)
_ENDPOINT = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<four>[^:\s]+)):(?P<port>\d{1,5})", re.ASCII)

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end. Where it cannot be run or does not end, the status is 127, and stderr says why."""
    try:
        return subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]} does not end within {_SECONDS:g} s")
    except OSError as err:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]} does not run ({err.strerror})")


def look(run: Run = run) -> Sshd:
    """Everything about sshd."""
    said = run([PROGRAM, "-V"])
    found = list(map(_listener, listeners.find()))
    mine = [one for one in found if one.is_installed and one.config == MAIN] or found
    listener = mine[0] if mine else None
    unit = _unit(run) if units.booted() else Unit()
    options = listener.options if listener else _default_options()
    complaint, values = _configuration(run, options)
    return Sshd(
        openssh=version.parse(said.stdout + said.stderr),
        complaint=complaint,
        config=Reader(_text, glob.glob, str(paths.DROP_IN)).read(MAIN, options),
        effective=values,
        listener=listener,
        others=tuple(one for one in found if one is not listener),
        sockets=_sockets(listener, unit, values, run),
        unit=unit,
        confinement=tuple(confinement(listener.pid if listener else 0)),
    )


def _text(path: str) -> str | None:
    try:
        return Path(path).read_bytes().decode(errors="surrogateescape")
    except OSError:
        return None


def _configuration(run: Run, options: Sequence[str]) -> tuple[str, Effective]:
    """What sshd has against its configuration, and what it says that this comes to."""
    with suppress(OSError):
        # ssh.service makes it when it starts (RuntimeDirectory); without it sshd does not look at its configuration.
        _PRIVSEP.mkdir(mode=0o755)
    done = run([PROGRAM, "-T", "-f", MAIN, *(part for option in options for part in ("-o", option))])
    if done.returncode != 0:
        return complaint(done.stderr), Effective()
    return "", effective.parse(done.stdout)


# The listener


def _listener(found: listeners.Listener) -> Listener:
    words = _arguments(found.command)
    options = list(_options(words))
    configs = [value for name, value in options if name == "f"]
    return Listener(
        pid=found.pid,
        program=found.program,
        is_installed=_is_installed(found),
        config=os.path.normpath(configs[-1]) if configs else MAIN,
        options=tuple(_as_setting(name, value) for name, value in options if name == "o" or name in _OPTION_OF),
        sockets=tuple(Socket(end.address, end.port) for end in found.endpoints),
    )


def _is_installed(found: listeners.Listener) -> bool:
    """By the file and not its name, which may be one of another root; after an upgrade the file is gone."""
    if found.program == f"{PROGRAM} (deleted)":
        return True
    try:
        return Path(f"/proc/{found.pid}/exe").samefile(PROGRAM)
    except OSError:
        return False


def _arguments(command: str) -> list[str]:
    """The words behind the program in a listener's title, `sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups`."""
    match = _TITLE.fullmatch(command)
    return (match[1] if match else command).split()[1:]


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option with its value, as getopt takes them; a title does not show where an argument with blanks ends."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        for at, letter in enumerate(word[1:] if word.startswith("-") else "", 1):
            if letter in _WITH_VALUE:
                value = word[at + 1 :] or (rest.pop(0) if rest else "")
                while letter == "o" and "=" not in value and rest and not rest[0].startswith("-"):
                    value += f" {rest.pop(0)}"
                yield letter, value
                break


def _as_setting(name: str, value: str) -> str:
    return value if name == "o" else f"{_OPTION_OF[name]}={value}"


def _default_options() -> tuple[str, ...]:
    """What ssh.service would start sshd with (EnvironmentFile=/etc/default/ssh)."""
    for line in (_text(str(_DEFAULTS)) or "").splitlines():
        if line.strip().startswith("SSHD_OPTS="):
            with suppress(ValueError):
                words = " ".join(shlex.split(line.partition("=")[2])).split()
                return tuple(
                    _as_setting(name, value) for name, value in _options(words) if name == "o" or name in _OPTION_OF
                )
    return ()


# Where connections are taken


def _sockets(listener: Listener | None, unit: Unit, values: Effective, run: Run) -> tuple[Socket, ...]:
    if listener is not None:
        return listener.sockets
    if unit.socket_active:
        listing = run(["systemctl", "show", "--property=Listen", "--value", _SOCKET_UNIT]).stdout.split()
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
    shown = _shown(run, _UNIT, "LoadState", "ActiveState", "ExecStartPre", "ExecReload", "DropInPaths")
    reload = shown.get("ExecReload", "")
    is_guarded = _GUARD in shown.get("ExecStartPre", "") and _GUARD in reload and "-HUP" in reload
    drop_ins = [path for path in shown.get("DropInPaths", "").split() if Path(path).name != _OUR_UNIT_FILE]
    return Unit(
        booted=True,
        load_state=shown.get("LoadState", ""),
        active=shown.get("ActiveState", "") == "active",
        socket_active=_shown(run, _SOCKET_UNIT, "ActiveState").get("ActiveState", "") == "active",
        guarded=is_guarded,
        drop_ins=tuple(drop_ins),
    )


def _shown(run: Run, unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit; the values of one that comes several times together."""
    found: dict[str, str] = {}
    for line in run(["systemctl", "show", f"--property={','.join(names)}", unit]).stdout.splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


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
