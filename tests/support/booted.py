"""A booted Debian: a machine of the tests with systemd as its process 1, on a disk that survives a reboot.

Only the mechanism lives here. A machine is made of two things: a sandbox is its hardware (network devices, and the disk
with a root made by `tests/lab/build-root CACHE SUITE booted`), and systemd-nspawn, from that same disk, boots it.
"""

import functools
import os
import secrets
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.roots import CACHE, PROJECT, Suite
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

_DISK = "/run/machine"
_CONSOLE = "/run/console.log"
_CGROUPS = Path("/sys/fs/cgroup")

# The machine has the network of its hardware, so that cables stay when it is off; it may configure it, and use TUN.
_NSPAWN = (
    "systemd-nspawn",
    f"--directory={_DISK}",
    "--boot",
    "--register=no",
    "--keep-unit",
    "--capability=CAP_NET_ADMIN",
    "--system-call-filter=pidfd_getfd",
    "--bind=/dev/net/tun",
    "--console=pipe",
    "--resolv-conf=off",
    "--timezone=off",
    "--link-journal=no",
)
# /proc/sys/net can be written, as on any machine with a network of its own.
_ENVIRONMENT = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}


@functools.cache
def booted_root(suite: Suite) -> Path:
    """A Debian root with stock sshd that can be booted, and what our packages depend on: the lower layer of a disk."""
    command = [str(PROJECT / "tests/lab/build-root"), str(CACHE), suite, "booted"]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


class System(Sandbox):
    """What runs on a machine between two boots. All that can be done in a sandbox can be done in it."""

    def __init__(self, hostname: str, pid: int) -> None:
        super().__init__(Path("/"), hostname)
        self._pid = pid
        self._pidfd = os.pidfd_open(pid)

    def start(self) -> None:
        """Not so: a machine boots it. Raises AssertionError."""
        raise AssertionError("a system is booted by its machine")

    @property
    def pid(self) -> int:
        """The host's pid of its process 1."""
        return self._pid

    def close(self) -> None:
        """Lets go of it, once it is down. Safe to call twice."""
        for child in self._children:
            child.wait(30)
        self._children.clear()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


class Booted:
    """A machine, off at first. To close it is to pull the plug; the hardware is its owner's to close.

    Args:
        hardware: a running sandbox on a root that can be booted. Its files are the disk: they can be read and written
            there whether the machine is on or off.
        binds: files of the hardware, bound over the disk's own, that the machine shall have, too.
    """

    def __init__(self, hardware: Sandbox, binds: Sequence[str] = ()) -> None:
        self.hardware = hardware
        self._binds = [f"--bind-ro={path}" for path in binds]
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._system: System | None = None
        self._cgroups = _make_cgroups(f"pam-tailscale-{hardware.hostname}-{secrets.token_hex(4)}")
        hardware.bind(_CGROUPS, str(_CGROUPS), writable=True)
        # The disk alone, without what is mounted on it: nspawn makes a /dev, /proc, /run of its own.
        hardware.run(["sh", "-ec", f"mkdir {_DISK}; mount --bind / {_DISK}"])

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def system(self) -> System:
        """What runs on it now. AssertionError while it is off."""
        assert self._system is not None, f"{self.hardware.hostname} is off"
        return self._system

    def boot(self, seconds: float = 60) -> None:
        """Switches it on and waits until everything that starts at boot has started, or has failed to."""
        assert self._nspawn is None, f"{self.hardware.hostname} is on"
        # 0 is whoever writes it.
        enter = "".join(f"echo 0 > {path}/cgroup.procs; " for path in self._cgroups)
        command = [*_NSPAWN, *self._binds, f"--machine={self.hardware.hostname}"]
        self._nspawn = self.hardware.popen(
            ["sh", "-ec", f'{enter}exec "$@"', "sh", *command], _CONSOLE, env=_ENVIRONMENT
        )
        try:
            pid = wait_until(self._process_1, 20, "the machine has a process 1")
            self._system = System(self.hardware.hostname, pid)
            wait_until(self._is_up, seconds, "the machine is up", pause_seconds=0.1)
        except AssertionError as err:
            err.add_note(self.hardware.read(_CONSOLE)[-4000:])
            self.close()
            raise

    def shut_down(self) -> None:
        """Switches it off as an administrator does, and waits until it is off."""
        self.system.run(["systemctl", "poweroff"], check=False)
        assert self._nspawn is not None
        self._nspawn.wait(120)
        self._off()

    def close(self) -> None:
        """Pulls the plug, and leaves nothing behind. Safe to call twice."""
        if self._nspawn is not None:
            # Everything on it ends with its process 1, and nspawn after that.
            os.kill(self._process_1() or self._nspawn.pid, signal.SIGKILL)
            self._nspawn.wait(30)
            self._off()
        for path in self._cgroups:
            wait_until(lambda p=path: _removed(p), 20, f"{path} is empty")  # type: ignore[misc]
        self._cgroups = []

    def _process_1(self) -> int:
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise RuntimeError(f"no machine: {self.hardware.read(_CONSOLE)[-2000:]}")
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return next((int(pid) for pid in children if _program(pid) == "systemd"), 0)

    def _is_up(self) -> bool:
        state = self.system.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        assert state in {"running", "degraded"}, state
        return True

    def _off(self) -> None:
        self._nspawn = None
        if self._system is not None:
            self._system.close()
            self._system = None


def _program(pid: str) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _make_cgroups(name: str) -> list[Path]:
    """A control group of that name wherever a systemd keeps its own: two in the same would mix up their units."""
    hierarchies = (_CGROUPS, _CGROUPS / "unified", _CGROUPS / "systemd")
    groups = [path / name for path in hierarchies if (path / "cgroup.procs").exists()]
    for path in groups:
        path.mkdir()
    return groups


def _removed(group: Path) -> bool:
    """Removes a control group with all below it; whether it is gone: it stays while something runs in it."""
    with suppress(OSError):
        for directory, _, _ in os.walk(group, topdown=False):
            Path(directory).rmdir()
    return not group.exists()
