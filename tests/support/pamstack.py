"""The C shims built for tests, and the module driven through libpam on a private service folder. Needs no root.

Each run is a process of its own; what it read, logged, returned and left behind comes back as records.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from pam_tailscale import wire
from tests.support.roots import CACHE, PROJECT
from tests.support.waiting import wait_for_end

Kind = Literal["plain", "sanitized", "hasty"]
"""`hasty`: plain, but that the module waits for the agent after a prompt only HASTY_WAIT_MS."""

HASTY_WAIT_MS = 2000

NATIVE = PROJECT / "pam_tailscale/native"
SOURCES = PROJECT / "tests/native"

# security/_pam_types.h
SUCCESS, PERM_DENIED, AUTH_ERR, CRED_INSUFFICIENT, MAXTRIES, SESSION_ERR, CRED_ERR = 0, 6, 7, 8, 11, 14, 17
TRY_AGAIN, IGNORE, MODULE_UNKNOWN = 24, 25, 28
PROMPT_ECHO_ON, ERROR_MSG, TEXT_INFO = 2, 3, 4

NO_ANSWER = b"\x04\n"
"""What a person types for the conversation to succeed without an answer."""
BROKEN_OFF = b"\x18\n"
"""What a person types for the conversation to fail although there is an answer."""

IGNORED = CRED_INSUFFICIENT
"""What a stack returns when our module ignored the connection: only the module behind it gives this code."""

ERRNO_BEFORE = 77

_TYPES = ("auth", "account", "session")
_SANITIZER_FLAGS = ["-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@dataclass(frozen=True, slots=True)
class Built:
    """The files of one build, readable by every user."""

    kind: Kind
    module: Path
    helper: Path
    driver: Path
    capture: Path

    def environment(self, **extra: str) -> dict[str, str]:
        """What a process of this build needs to run."""
        if self.kind != "sanitized":
            return extra
        # A process that gave up root cannot be stopped and searched for leaks.
        leaks = "0" if extra.get("LD_PRELOAD") else "1"
        return {
            "ASAN_OPTIONS": f"detect_leaks={leaks}:abort_on_error=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            **extra,
        }

    @property
    def preload(self) -> str:
        """LD_PRELOAD for a program whose log is to be read."""
        return f"{_sanitizer_library()}:{self.capture}" if self.kind == "sanitized" else str(self.capture)


@functools.cache
def _sanitizer_library() -> str:
    found = subprocess.run(["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    return str(Path(found.stdout.strip()).resolve())


def build(kind: Kind) -> Built:
    """Builds once per state of the sources, also when several test processes ask at the same time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / f"native-{kind}-{_digest()}"
    with (CACHE / "native.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _build_into(folder, kind)
    return Built(
        kind, folder / "pam_tailscale.so", folder / "authorized-keys", folder / "driver", folder / "capture.so"
    )


def _digest() -> str:
    digest = hashlib.sha256()
    for source in sorted([*NATIVE.iterdir(), *SOURCES.glob("*.c")]):
        if source.is_file():
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _build_into(folder: Path, kind: Kind) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        out = Path(temporary, "out")
        sources = _hasty_sources(Path(temporary, "native")) if kind == "hasty" else NATIVE
        make = ["make", "-s", "-C", str(sources), f"OUT={out}", f"SANITIZE={int(kind == 'sanitized')}"]
        subprocess.run(make, check=True)
        compile_test = ["cc", "-D_GNU_SOURCE", "-std=gnu11", "-g", "-Wall", "-Wextra", "-Werror"]
        capture, driver = str(SOURCES / "capture_syslog.c"), str(SOURCES / "pam_driver.c")
        subprocess.run([*compile_test, "-fPIC", "-shared", "-o", str(out / "capture.so"), capture], check=True)
        flags = _SANITIZER_FLAGS if kind == "sanitized" else []
        command = [*compile_test, *flags, "-rdynamic", "-o", str(out / "driver"), driver, capture, "-lpam", "-ldl"]
        subprocess.run(command, check=True)
        shutil.rmtree(out / "objects")
        out.chmod(0o755)
        out.rename(folder)


def _hasty_sources(folder: Path) -> Path:
    shutil.copytree(NATIVE, folder)
    header = folder / "tailscale_wire.h"
    text = header.read_text()
    number = f"#define TSW_WAIT_MS {wire.WAIT_MS} "
    assert text.count(number) == 1, "the header no longer says how long the module waits"
    header.write_text(text.replace(number, f"#define TSW_WAIT_MS {HASTY_WAIT_MS} "))
    return folder


@dataclass(frozen=True, slots=True)
class Step:
    """What came of one call into PAM."""

    name: str
    code: int
    errno: int
    shown: tuple[tuple[int, bytes], ...]
    kept: frozenset[str]
    left: int
    """Bytes of the last answer to a prompt that still stand in memory."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process: its steps in order, and the lines it logged as "PRIORITY TEXT"."""

    steps: tuple[Step, ...]
    log: tuple[str, ...]

    @property
    def codes(self) -> list[int]:
        return [step.code for step in self.steps]

    @property
    def shown(self) -> list[tuple[int, bytes]]:
        return [message for step in self.steps for message in step.shown]


@dataclass(frozen=True, slots=True)
class Login:
    """What sshd would tell the module."""

    user: bytes = b"alice"
    connection: str | bytes | None = "100.64.0.7 50123 100.64.0.1 22"
    at_keyboard: bool = False
    earlier: str = ""
    """SSH_AUTH_INFO_0: what sshd says of methods that have succeeded before."""
    descriptors: tuple[int, ...] = ()
    closes_stdin: bool = False
    keyboard: int | None = None
    """The descriptor on which the person types a line for each prompt; without one prompts fail, as at `none`."""

    @classmethod
    def over(cls, server: socket.socket, **more: Any) -> Self:
        """A login over that connection, as sshd would describe it: IPv4 is never v4-mapped."""
        (client, client_port), (own, own_port) = (server.getpeername()[:2], server.getsockname()[:2])
        text = f"{client} {client_port} {own} {own_port}".replace("::ffff:", "")
        return cls(connection=text, descriptors=(server.fileno(),), **more)


class PamStack:
    """A service folder with our module in it, and behind it one that only answers where ours did not."""

    def __init__(self, built: Built, folder: Path, arguments: Sequence[str]) -> None:
        self.built = built
        self._folder = folder / "pam.d"
        self._folder.mkdir()
        self._log = folder / "syslog"
        self._log.touch()
        names = {"auth": "auth=cred_insufficient cred=cred_insufficient", "account": "acct=cred_insufficient"}
        names["session"] = "open_session=cred_insufficient close_session=cred_insufficient"
        lines = []
        for kind in _TYPES:
            ours = " ".join(f"[{argument}]" for argument in arguments)
            lines += [f"{kind} [success=done try_again=done ignore=ignore default=die] {built.module} {ours}"]
            lines += [f"{kind} required pam_debug.so {names[kind]}"]
        (self._folder / "tested").write_text("\n".join(lines) + "\n")
        (self._folder / "other").write_text("".join(f"{kind} required pam_deny.so\n" for kind in _TYPES))

    def start(self, *steps: str, login: Login) -> subprocess.Popen[bytes]:
        """Starts the process; `finish` reads what came of it."""
        connection = "-" if login.connection is None else login.connection
        command: list[str | bytes | Path] = [self.built.driver, self._folder, "tested", login.user.hex(), connection]
        extra: dict[str, str] = {} if login.at_keyboard else {"PATH": os.environ["PATH"]}
        if login.earlier:
            extra["TEST_AUTH_INFO"] = login.earlier
        descriptors = login.descriptors
        if login.keyboard is not None:
            extra["TEST_KEYBOARD"] = str(login.keyboard)
            descriptors += (login.keyboard,)
        if login.closes_stdin:
            command = ["/bin/sh", "-c", 'exec "$@" <&-', "sh", *command]
        return subprocess.Popen(
            [*command, self.built.module, *steps],
            env=self.built.environment(TEST_SYSLOG=str(self._log), **extra),
            pass_fds=descriptors,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def finish(self, process: subprocess.Popen[bytes]) -> Run:
        """Waits for the end of the process, which has to be a clean one."""
        output, errors = wait_for_end(process)
        assert process.returncode == 0, errors.decode(errors="replace")
        log = tuple(self._log.read_text(errors="surrogateescape").splitlines())
        self._log.write_text("")
        return Run(_parse_steps(output.decode()), log)

    def run(self, *steps: str, login: Login | None = None) -> Run:
        """Runs these steps in one process."""
        return self.finish(self.start(*steps, login=login or Login()))


def _parse_steps(output: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    shown: list[tuple[int, bytes]] = []
    for line in output.splitlines():
        word, *rest = line.split(" ")
        if word == "show":
            message = bytes.fromhex(rest[1])
            # pam_debug announces itself.
            if not message.endswith(b"=cred_insufficient"):
                shown.append((int(rest[0]), message))
        elif word == "step":
            steps.append(Step(rest[0], int(rest[1]), int(rest[2]), tuple(shown), frozenset(), 0))
            shown = []
        elif word == "kept":
            steps[-1] = replace(steps[-1], kept=steps[-1].kept | {rest[0]})
        elif word == "left":
            steps[-1] = replace(steps[-1], left=int(rest[0]))
    return tuple(steps)
