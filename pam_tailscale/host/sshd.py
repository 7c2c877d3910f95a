"""The host's sshd: tests its configuration, makes it read it again, and asks its listener. Decides nothing about it."""

import os
import pwd
import re
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pam_tailscale.errors import HostError
from pam_tailscale.host import listeners, units
from pam_tailscale.host.listeners import Listener
from pam_tailscale.model import IPAddress, in_tailnet

PROGRAM = "/usr/sbin/sshd"
CONFIG = "/etc/ssh/sshd_config"
_UNIT, _SOCKET = "ssh.service", "ssh.socket"
_SECONDS = 15.0
_PAUSE = 0.02
# A connection that was being accepted has a process by then, and that has its title.
_QUIET = 0.5
# Below the first number of sshd's MaxStartups, whatever else is being logged in.
_AT_ONCE = 4
_EFFECTIVE_UID = re.compile(r"^Uid:\s+\d+\s+(\d+)\s", re.MULTILINE)
_REFUSED = "Permission denied"
_UNSPECIFIED_TO = {4: "127.0.0.1", 6: "::1"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a running listener: to let these accounts in, at these addresses, for nothing."""

    addresses: tuple[IPAddress, ...]
    """The host's own tailnet addresses: from them nobody may log in, whatever the policy says."""
    accounts: tuple[str, ...]
    """Root, and whoever has an empty password."""


class Sshd:
    """sshd as it runs in this network namespace, whoever started it."""

    def running(self) -> tuple[Listener, ...]:
        """Its listeners; none where it is down, or where systemd listens for it."""
        return listeners.find()

    def is_up(self) -> bool:
        """Whether it takes connections, or systemd does and starts it at the first."""
        return bool(self.running()) or units.is_active(_SOCKET)

    def test(self) -> None:
        """Have sshd read its files as they are now. Raises HostError with what it complains about."""
        done = _run([PROGRAM, "-t", "-f", CONFIG])
        if done.returncode != 0:
            raise HostError(f"sshd refuses its configuration: {complaint(done.stderr)}: see '{PROGRAM} -t'")

    def effective(self, connection: str) -> str:
        """What `sshd -T -C CONNECTION` prints. Raises HostError."""
        done = _run([PROGRAM, "-T", "-f", CONFIG, "-C", connection])
        if done.returncode != 0:
            raise HostError(f"sshd refuses its configuration: {complaint(done.stderr)}: see '{PROGRAM} -T'")
        return done.stdout

    def reload(self) -> bool:
        """Make every listener read its configuration again, and wait until it has; False where none runs.

        sshd executes itself anew (sshd.c, sighup_restart). One that has its socket from systemd would try to listen
        there itself and end, so that one is restarted; sessions go on (KillMode=process). Connections that were taken
        before keep what it said then. Raises HostError, also where sshd is gone afterwards.
        """
        if not self.is_up():
            return False
        self.test()
        before, by_systemd, has_socket = self.running(), units.main_pid(_UNIT), units.is_active(_SOCKET)
        if has_socket:
            units.restart(_UNIT)
        for listener in before:
            if listener.pid != by_systemd:
                os.kill(listener.pid, signal.SIGHUP)
            elif not has_socket:
                units.reload(_UNIT)
        wait_for = [listener for listener in before if not (has_socket and listener.pid == by_systemd)]
        deadline = time.monotonic() + _SECONDS
        while not (self.running() and _anew(wait_for, self.running())):
            if time.monotonic() > deadline:
                raise HostError("sshd does not listen as before after it was told to read its configuration again")
            time.sleep(_PAUSE)
        return True

    def refuses_none(self, asked: Asked) -> None:
        """Whether the running listener refuses the method `none` from this host's own addresses.

        Asked at the node's tailnet addresses, where the drop-in counts if it is in force; and where sshd listens
        otherwise for a name that nobody has, which only shows that it answers. Raises HostError where somebody is let
        in or sshd does not answer.
        """
        running = self.running()
        open_doors = [(name, *end) for end in _reachable(running, asked.addresses) for name in asked.accounts]
        answers = [("pam-tailscale-nobody", *end) for end in _elsewhere(running)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            # Consumed, so that what is raised in there is raised here.
            list(pool.map(lambda one: _ask(*one), [*open_doors, *answers]))


def _anew(before: Sequence[Listener], now: Sequence[Listener]) -> bool:
    """Whether each listener listens, and on no socket that it had: it makes them when it executes itself."""
    sockets = {listener.pid: {endpoint.inode for endpoint in listener.endpoints} for listener in now}
    return all(
        (found := sockets.get(listener.pid)) and not found & {endpoint.inode for endpoint in listener.endpoints}
        for listener in before
    )


def _reachable(running: Sequence[Listener], own: Iterable[IPAddress]) -> list[tuple[str, int]]:
    """The node's addresses at which a listener answers."""
    return [
        (str(address), port)
        for address in own
        for port in sorted({end.port for one in running for end in one.endpoints if _covers(end.address, address)})
    ]


def _covers(listening: IPAddress, address: IPAddress) -> bool:
    return listening == address or (listening.is_unspecified and listening.version == address.version)


def _elsewhere(running: Sequence[Listener]) -> list[tuple[str, int]]:
    """One way to each port."""
    ways: dict[int, str] = {}
    for one in running:
        for end in one.endpoints:
            ways.setdefault(
                end.port, _UNSPECIFIED_TO[end.address.version] if end.address.is_unspecified else str(end.address)
            )
    return [(address, port) for port, address in sorted(ways.items())]


_OPTIONS = (
    "PreferredAuthentications=none",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "BatchMode=yes",
    "ConnectTimeout=10",
    "LogLevel=ERROR",
    "ControlPath=none",
)


def _ask(account: str, address: str, port: int) -> None:
    options = [part for option in _OPTIONS for part in ("-o", option)]
    done = _run(["ssh", "-F", "none", *options, "-p", str(port), "-l", account, "--", address, "true"])
    if done.returncode == 0:
        raise HostError(f"sshd lets {account} in at {address} port {port} without asking for anything")
    if _REFUSED not in done.stderr:
        raise HostError(f"sshd does not answer at {address} port {port}: {complaint(done.stderr)}")


def end_waiting(proc: Path = Path("/proc")) -> int:
    """End the connections to tailnet addresses that have not logged in yet, and say how many processes that were.

    They go by what sshd's files said when they began. No session is touched, and no connection to another address.
    """
    uid, ended = _uid_before_login(), 0
    now = time.monotonic()
    latest, quiet_at = now + _SECONDS, now + _QUIET
    while time.monotonic() < min(latest, quiet_at):
        found = [process for process in listeners.processes(proc) if _is_before_login(process, uid)]
        ours = {end.inode for end in listeners.endpoints(proc, state=None) if in_tailnet(end.address)}
        mine = [process for process in found if listeners.inodes(process) & ours]
        for process in mine:
            with suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGKILL)
                ended += 1
        if mine:
            quiet_at = time.monotonic() + _QUIET
        time.sleep(_PAUSE)
    return ended


def _uid_before_login() -> int | None:
    try:
        return pwd.getpwnam("sshd").pw_uid
    except KeyError:
        return None


def _is_before_login(process: Path, uid: int | None) -> bool:
    """Whether it is the half of sshd that speaks with clients before they have logged in, or is about to become it.

    That half alone runs as sshd's account (privsep.c); with its end the other one ends.
    """
    title = listeners.title(process)
    if not title.startswith("sshd"):
        return False
    try:
        status = (process / "status").read_text()
    except OSError:
        return False
    match = _EFFECTIVE_UID.search(status)
    return "[accepted]" in title or (match is not None and int(match[1]) == uid)


def _run(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
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
    except (OSError, subprocess.TimeoutExpired) as err:
        raise HostError(f"{argv[0]} does not run or end: {err}") from err


def complaint(stderr: str) -> str:
    """What a program said against something, in one line: sshd names the place first, and its verdict last."""
    return "; ".join(stderr.split("\n")).strip("; \r")[:400].replace("\r", "") or "it says nothing"
