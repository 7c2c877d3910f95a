"""The host's sshd: tests its configuration, makes it read that again, ends who waits. asking.py asks it."""

import os
import pwd
import re
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pam_tailscale.errors import HostError
from pam_tailscale.host import effective, listeners, programs, units
from pam_tailscale.host.command_line import as_arguments
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.listeners import Listener
from pam_tailscale.host.programs import Run, complaint
from pam_tailscale.host.sshdconfig import MAIN, PROGRAM
from pam_tailscale.host.unitnames import SSH, SSH_SOCKET
from pam_tailscale.model import in_tailnet

_SECONDS = 15.0
_PAUSE = 0.02
# A connection that was being accepted has a process by then, and that has its title.
_QUIET = 0.5
_EFFECTIVE_UID = re.compile(r"^Uid:\s+\d+\s+(\d+)\s", re.MULTILINE)
PRIVSEP = Path("/run/sshd")


class Sshd:
    """sshd as it runs in this network namespace and by MAIN, whoever of root's processes started it."""

    def running(self) -> tuple[Listener, ...]:
        """Its listeners; none where it is down, or where systemd listens for it."""
        return tuple(one for one in listeners.find() if one.config == MAIN)

    def is_up(self) -> bool:
        """Whether it takes connections, or systemd does and starts it at the first.

        Waits while one is being started or reads its files: what it has read by then nobody knows. Raises HostError.
        """
        _wait(
            lambda: not (listeners.is_starting() or units.is_changing(SSH)),
            "sshd is being started, and does not come",
        )
        return bool(self.running()) or units.is_active(SSH_SOCKET)

    def test(self) -> None:
        """Have sshd read its files as they are now. Raises HostError with what it complains about."""
        _make_privsep()
        done = programs.run([PROGRAM, "-t", "-f", MAIN])
        if done.returncode != 0:
            raise _refused(complaint(done.stderr), "-t")

    def effective(self, options: Sequence[str], spec: str) -> Effective:
        """What its files come to for a connection (`effective.connection_spec`).

        `options`: what it was given on its command line, as `Keyword=value`. Raises HostError.
        """
        problem, values = settings(options, spec)
        if problem:
            raise _refused(problem, "-T")
        return values

    def reload(self) -> bool:
        """Make every listener read its configuration again, and wait until it has; False where none runs.

        sshd executes itself anew (sshd.c, sighup_restart). One that has its socket from systemd would try to listen
        there itself and end, so that one is restarted; sessions go on (KillMode=process). Connections that were taken
        before keep what it said then. Raises HostError, also where sshd is gone afterwards.
        """
        if not self.is_up():
            return False
        self.test()
        before, by_systemd = self.running(), units.main_pid(SSH)
        if units.is_active(SSH_SOCKET):
            units.restart(SSH)
            before = tuple(one for one in before if one.pid != by_systemd)
            by_systemd = 0
        for listener in before:
            if listener.pid == by_systemd:
                units.reload(SSH)
            else:
                _tell(listener)
        _wait(
            lambda: _anew(before, self.running()),
            "sshd does not listen as before after it was told to read its configuration again",
        )
        return True


def settings(options: Sequence[str], spec: str = "", run: Run = programs.attempt) -> tuple[str, Effective]:
    """What sshd has against its files, and what it says that they come to, for one connection or in general."""
    _make_privsep()
    which = ["-C", spec] if spec else []
    done = run([PROGRAM, "-T", "-f", MAIN, *as_arguments(options), *which])
    return ("", effective.parse(done.stdout)) if done.returncode == 0 else (complaint(done.stderr), Effective())


def _make_privsep() -> None:
    with suppress(OSError):
        # ssh.service makes it when it starts (RuntimeDirectory); without it sshd does not look at its files.
        PRIVSEP.mkdir(mode=0o755)


def _refused(problem: str, option: str) -> HostError:
    return HostError(f"sshd refuses its configuration: {problem}: see '{PROGRAM} {option}'")


def _tell(listener: Listener) -> None:
    """SIGHUP, to that process and no other that has its number since."""
    try:
        process = os.pidfd_open(listener.pid)
    except ProcessLookupError:
        return
    try:
        if listener in listeners.find():
            signal.pidfd_send_signal(process, signal.SIGHUP)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def _anew(before: Sequence[Listener], now: Sequence[Listener]) -> bool:
    """Whether it listens, and on no socket of before: it makes them when it executes itself, or another is started."""
    old = {endpoint.inode for listener in before for endpoint in listener.endpoints}
    return bool(now) and not any(endpoint.inode in old for listener in now for endpoint in listener.endpoints)


def _wait(done: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise HostError(f"{otherwise}: see 'systemctl status ssh'")
        time.sleep(_PAUSE)


def end_waiting(proc: Path = Path("/proc")) -> int:
    """End the connections to tailnet addresses that have not logged in yet, and say how many processes that were.

    They go by what sshd's files said when they began. No session is touched, and no connection to another address.
    """
    uid, ended = _uid_before_login(), 0
    now = time.monotonic()
    latest, quiet_at = now + _SECONDS, now + _QUIET
    while time.monotonic() < min(latest, quiet_at):
        found = [process for process in listeners.processes(proc) if _is_before_login(process, uid)]
        # A busy host has very many sockets, and hardly ever somebody who waits.
        ends = listeners.endpoints(proc, state=None) if found else ()
        ours = {end.inode for end in ends if in_tailnet(end.address)}
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
