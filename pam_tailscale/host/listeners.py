"""Which sshd listens here, and on what: read from /proc. Starts, stops and signals nothing."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pam_tailscale.host import command_line, tcptable
from pam_tailscale.host.sshdconfig import MAIN
from pam_tailscale.model import IPAddress

_PROC = Path("/proc")
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_PROGRAM = re.compile(r"/sshd( \(deleted\))?\Z")
# sshd's options -R (a connection), -i (one from inetd), and those that only print or test something.
_FOR_SOMETHING_ELSE = re.compile(r" -[A-Za-z46]*[RiGTtV]")
_ROOTS = re.compile(r"^Uid:\s+0\s+0\s+0\s+0$", re.MULTILINE)
_HERE = re.compile(r"^NSpid:\s+\d+$", re.MULTILINE)
_PARENT = re.compile(r"^PPid:\s+(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and port, and the inode of the socket there."""

    address: IPAddress
    port: int
    inode: int


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens for ssh connections."""

    pid: int
    program: str
    """Its executable; an upgraded one ends in ` (deleted)`."""
    command: str
    """Its title, as sshd sets it: `sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups`."""
    endpoints: tuple[Endpoint, ...]

    @property
    def config(self) -> str:
        """The configuration file that it was started with."""
        named = command_line.config_file(command_line.words(self.command))
        return os.path.normpath(named) if named else MAIN

    @property
    def settings(self) -> tuple[str, ...]:
        """What it was given with -o and its like, as `Keyword=value`: what it says, and not what can be believed."""
        return command_line.settings(command_line.words(self.command))


def find(proc: Path = _PROC) -> tuple[Listener, ...]:
    """The sshd processes of root's that listen in this network namespace, by pid.

    Anybody can run a program of that name, with any title; what they do with it says nothing about this host.
    """
    return tuple(one for one in _mains(proc) if one.endpoints)


def is_starting(proc: Path = _PROC) -> bool:
    """Whether an sshd of root's is about to listen: it has begun to read its files, or will."""
    mains = _mains(proc)
    listening = {one.pid for one in mains if one.endpoints}
    # A child that it makes for a connection looks like it for a moment.
    return any(not one.endpoints and _parent(proc / str(one.pid)) not in listening for one in mains)


def _mains(proc: Path) -> list[Listener]:
    own = _namespace(proc / "self")
    sockets = {endpoint.inode: endpoint for endpoint in endpoints(proc)}
    found = []
    for process in processes(proc):
        program, command = _link(process / "exe"), title(process)
        if not _PROGRAM.search(program) or not _is_main(command):
            continue
        if _namespace(process) != own or not _is_roots(process):
            continue
        mine = tuple(sockets[inode] for inode in sorted(inodes(process)) if inode in sockets)
        found.append(Listener(int(process.name), program, command, mine))
    return found


def _is_main(command: str) -> bool:
    """Neither a session, which may listen for ports that it forwards, nor one connection's process, nor a test.

    sshd sets the first title when it listens; before that its command line stands there as it was started.
    """
    if command.startswith("sshd: "):
        return "[listener]" in command
    return not _FOR_SOMETHING_ELSE.search(command)


def _is_roots(process: Path) -> bool:
    """By all four of its uids, and not in a pid namespace below this one (proc_pid_status(5))."""
    status = _status(process)
    return bool(_ROOTS.search(status) and _HERE.search(status))


def _parent(process: Path) -> int:
    match = _PARENT.search(_status(process))
    return int(match[1]) if match else 0


def _status(process: Path) -> str:
    try:
        return (process / "status").read_text(errors="replace")
    except OSError:
        return ""


def processes(proc: Path = _PROC) -> Iterator[Path]:
    """The directories of all processes, by pid."""
    yield from sorted((path for path in proc.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))


def title(process: Path) -> str:
    """The process's command line, or what it has made of it."""
    try:
        return (process / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def inodes(process: Path) -> frozenset[int]:
    """The sockets that a process has open."""
    try:
        links = [_link(path) for path in (process / "fd").iterdir()]
    except OSError:
        return frozenset()
    return frozenset(int(match[1]) for link in links if (match := _SOCKET.fullmatch(link)))


def endpoints(proc: Path = _PROC, state: str | None = tcptable.LISTEN) -> Iterator[Endpoint]:
    """The local ends of this namespace's TCP sockets, of one state or any."""
    for one in tcptable.read(proc, state):
        yield Endpoint(one.local, one.local_port, one.inode)


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def _namespace(process: Path) -> str:
    return _link(process / "ns/net")
