"""A private Debian: one host of the tests, made of namespaces and an overlay, gone with the test process.

Only the mechanism lives here; what is installed and started inside a sandbox is the business of others.
"""

# A path inside a sandbox is a plain string, so that it is never taken for one of the host.
# ruff: noqa: PTH103, PTH104, PTH120, PTH123

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.support import accounts, namespaces
from tests.support.roots import PROJECT

T = TypeVar("T")

_INIT = Path(__file__).with_name("sandbox_init.py")
_PROJECT_INSIDE = "/opt/pam-tailscale"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CommandFailed(subprocess.CalledProcessError):
    """A command in a sandbox ended with another status than 0; the text has its output."""

    def __str__(self) -> str:
        return f"{super().__str__()}\nstdout: {self.stdout}\nstderr: {self.stderr}"


@dataclass(frozen=True, slots=True)
class _Identity:
    """Who a command runs as, inside."""

    account: accounts.Account
    groups: list[int]


class Sandbox:
    """A host of its own: file system, processes, network, host name.

    Its root is `root` with a writable layer in memory; /dev, /proc, /sys, /run and /tmp are its own, and the project is
    at /opt/pam-tailscale, read-only, so that `PYTHONPATH=/opt/pam-tailscale /usr/bin/python3 -m pam_tailscale...` runs
    with Debian's own libraries. The only network interface is loopback, which is up. Use as a context manager.
    Process 1 ends when the test process does, however that ends, and takes everything in the sandbox with it.
    """

    def __init__(self, root: Path, hostname: str = "host") -> None:
        self.hostname = hostname
        self._root = root
        self._children: list[subprocess.Popen[bytes]] = []
        self._init: subprocess.Popen[bytes] | None = None
        self._pidfd = -1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Makes the sandbox. Raises RuntimeError with what process 1 said when it could not."""
        # -I -S: start-up in milliseconds, and nothing of the environment counts.
        argv = [sys.executable, "-I", "-S", str(_INIT), str(self._root), self.hostname]
        self._init = namespaces.in_new_namespaces(
            lambda: subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        assert self._init.stdout is not None
        assert self._init.stderr is not None
        if self._init.stdout.readline() != b"ready\n":
            raise RuntimeError(f"no sandbox on {self._root}: {self._init.stderr.read().decode()}")
        self._pidfd = os.pidfd_open(self._init.pid)
        self.bind(PROJECT, _PROJECT_INSIDE)

    def close(self) -> None:
        """Ends every process of the sandbox and waits until all are gone. Safe to call twice."""
        if self._init is None:
            return
        init, self._init = self._init, None
        for stream in (init.stdin, init.stdout, init.stderr):
            assert stream is not None
            stream.close()
        # Process 1 can only go once its namespace is empty, and that needs us to collect our children first.
        for child in self._children:
            child.wait(30)
        self._children.clear()
        init.wait(30)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    @property
    def pid(self) -> int:
        """The host's pid of the sandbox's process 1."""
        assert self._init is not None, "the sandbox is not running"
        return self._init.pid

    def inside(self, function: Callable[[], T], kinds: int = namespaces.CLONE_ALL) -> T:
        """Calls `function` in a thread inside the sandbox: paths and sockets in it are the sandbox's.

        A socket that it makes stays in the sandbox's network, so the test process can serve or connect there. `kinds`
        limits what is entered: CLONE_NEWNET alone keeps the host's files. The function should import nothing.
        """
        return namespaces.in_namespaces_of(self._pidfd, function, kinds)

    def run(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as subprocess names it
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        check: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command inside, as root or as `user`, in a session of its own without terminal, and waits for it.

        Its environment is PATH, HOME, USER, LOGNAME, LANG and `env`. Raises CommandFailed for a status other than 0
        (unless `check` is false) and TimeoutExpired after `timeout` seconds, when the command is killed.
        """
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        child = self._spawn(argv, stdin, subprocess.PIPE, subprocess.PIPE, env=env, user=user)
        try:
            out, err = child.communicate(None if input is None else input.encode(), timeout)
        except subprocess.TimeoutExpired as expired:
            child.kill()
            child.wait()
            # Not read to their end: a process that it left behind may hold them open.
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
            expired.cmd = f"{' '.join(argv)} (so far: {expired.output!r} {expired.stderr!r})"
            raise
        done = subprocess.CompletedProcess(list(argv), child.returncode, _text(out), _text(err))
        if check and done.returncode != 0:
            raise CommandFailed(done.returncode, done.args, done.stdout, done.stderr)
        return done

    def popen(
        self, argv: Sequence[str], log: str | Path, *, env: Mapping[str, str] | None = None, user: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a daemon inside; its pid is the host's, and the sandbox's end is its end.

        stdout and stderr are appended to `log`: a str is a path inside, a Path one on the host.
        """

        def open_log() -> int:
            os.makedirs(os.path.dirname(log), exist_ok=True)
            return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

        descriptor = open_log() if isinstance(log, Path) else self.inside(open_log)
        try:
            child = self._spawn(argv, subprocess.DEVNULL, descriptor, descriptor, env=env, user=user)
        finally:
            os.close(descriptor)
        self._children.append(child)
        return child

    def _spawn(
        self,
        argv: Sequence[str],
        *streams: int,
        env: Mapping[str, str] | None,
        user: str | None,
    ) -> subprocess.Popen[bytes]:
        stdin, stdout, stderr = streams
        who = self._identity(user) if user is not None else None
        name, home = (who.account.name, who.account.home) if who else ("root", "/root")
        environment = {"PATH": _PATH, "HOME": home, "USER": name, "LOGNAME": name, "LANG": "C.UTF-8", **(env or {})}
        return self.inside(
            lambda: subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=environment,
                cwd="/",
                start_new_session=True,
                umask=0o022,
                user=who.account.uid if who else None,
                group=who.account.gid if who else None,
                extra_groups=who.groups if who else None,
            )
        )

    def _identity(self, user: str) -> _Identity:
        return _Identity(self.account(user), accounts.groups_of(self.read("/etc/group"), user))

    def write(self, path: str, text: str | bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> None:
        """Writes a file inside, with its directories; an existing one is replaced in one step."""
        data = text.encode() if isinstance(text, str) else text

        def store() -> None:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            temporary = f"{path}.new"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            try:
                _write_all(descriptor, data)
                os.fchown(descriptor, uid, gid)
                os.fchmod(descriptor, mode)
            finally:
                os.close(descriptor)
            os.rename(temporary, path)

        self.inside(store, namespaces.CLONE_NEWNS)

    def read(self, path: str) -> str:
        """The text of a file inside."""

        def load() -> bytes:
            with open(path, "rb") as file:
                return file.read()

        return self.inside(load, namespaces.CLONE_NEWNS).decode(errors="replace")

    def exists(self, path: str) -> bool:
        """Whether a path exists inside."""
        return self.inside(lambda: os.path.lexists(path), namespaces.CLONE_NEWNS)

    def path(self, inside: str) -> Path:
        """The host's view of a path inside; links on the way are followed as the sandbox would."""
        real = self.inside(lambda: os.path.realpath(inside), namespaces.CLONE_NEWNS)
        return Path(f"/proc/{self.pid}/root{real}")

    def bind(self, source: Path, inside: str, *, writable: bool = False) -> None:
        """Makes a file or directory of the host appear inside, read-only unless asked otherwise."""
        is_directory = source.is_dir()

        def target() -> None:
            os.makedirs(inside if is_directory else os.path.dirname(inside), exist_ok=True)
            if not is_directory and not os.path.lexists(inside):
                os.close(os.open(inside, os.O_CREAT | os.O_WRONLY, 0o644))

        self.inside(target, namespaces.CLONE_NEWNS)
        namespaces.bind_into(self._pidfd, source, inside, writable=writable)

    def account(self, name: str) -> accounts.Account:
        """An account of /etc/passwd; KeyError when there is none."""
        return accounts.parse_passwd(self.read("/etc/passwd"))[name]

    def add_user(
        self,
        name: str,
        *,
        uid: int | None = None,
        password: str | None = None,
        shell: str = "/bin/bash",
        home: str | None = None,
    ) -> accounts.Account:
        """Makes an account with a group of the same name and a home directory.

        `password` None: no password fits (as `useradd` leaves it); "": the empty password; else that one.
        """
        existing = self.read("/etc/passwd")
        number = uid if uid is not None else accounts.free_uid(accounts.parse_passwd(existing))
        account = accounts.Account(name, number, number, home or f"/home/{name}", shell)
        self.write("/etc/passwd", existing + account.passwd_line)
        self.write("/etc/group", self.read("/etc/group") + f"{name}:x:{number}:\n")
        self.set_password(name, password)

        def make_home() -> None:
            os.makedirs(account.home, mode=0o755, exist_ok=True)
            os.chown(account.home, account.uid, account.gid)

        self.inside(make_home, namespaces.CLONE_NEWNS)
        return account

    def set_password(self, name: str, password: str | None) -> None:
        """Gives an account a password; None and "" as for `add_user`."""
        self.write("/etc/shadow", accounts.with_shadow(self.read("/etc/shadow"), name, password), 0o640)

    def host_tool(self, argv: Sequence[str]) -> str:
        """Runs a program of the host in the sandbox's network alone, and answers what it printed."""
        done = self.inside(
            lambda: subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False),
            namespaces.CLONE_NEWNET,
        )
        if done.returncode != 0:
            raise CommandFailed(done.returncode, list(argv), _text(done.stdout), _text(done.stderr))
        return _text(done.stdout)

    def address(self, device: str, cidr: str) -> None:
        """Gives a network device an address and brings it up."""
        # Duplicate address detection would make a v6 address unusable for a second.
        nodad = ["nodad"] if ":" in cidr else []
        self.host_tool(["ip", "address", "add", cidr, "dev", device, *nodad])
        self.host_tool(["ip", "link", "set", device, "up"])


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def connect(box_a: Sandbox, box_b: Sandbox, dev_a: str, cidr_a: str, dev_b: str, cidr_b: str) -> None:
    """Joins two sandboxes by a cable (veth): `dev_a` with `cidr_a` in the one, `dev_b` with `cidr_b` in the other.

    An address may be empty: the device is then only brought up. More addresses: `Sandbox.address`.
    """
    peer = ["peer", "name", dev_b, "netns", str(box_b.pid)]
    box_a.host_tool(["ip", "link", "add", dev_a, "type", "veth", *peer])
    for box, device, cidr in ((box_a, dev_a, cidr_a), (box_b, dev_b, cidr_b)):
        if cidr:
            box.address(device, cidr)
        else:
            box.host_tool(["ip", "link", "set", device, "up"])
