"""Runs the key helper the way sshd does: few variables, a pipe for the key, and its log read back."""

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.pamstack import Built
from tests.support.waiting import wait_for_end

HELPER_UID = 65534


@dataclass(frozen=True, slots=True)
class HelperRun:
    """What sshd sees, and what the journal gets."""

    code: int
    output: bytes
    log: tuple[str, ...]


class KeyHelper:
    """The helper of one build."""

    def __init__(self, built: Built, log: Path) -> None:
        self._built = built
        self._log = log
        log.touch()
        log.chmod(0o666)

    def start(
        self, arguments: Sequence[str | bytes], *, as_root: bool = False, held_by_parent: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """As root it has a parent of its own, which holds those descriptors as sshd's monitor holds the connection."""
        environment = self._built.environment(LD_PRELOAD=self._built.preload, TEST_SYSLOG=str(self._log))
        command: list[str | bytes | Path] = [self._built.helper, *arguments]
        if as_root:
            # Only the helper is to be watched, not the shell.
            assignments = [f"{name}={value}" for name, value in environment.items()]
            command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", "/usr/bin/env", *assignments, *command]
            environment = {}
        return subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            pass_fds=held_by_parent,
            user=None if as_root or os.geteuid() != 0 else HELPER_UID,
            group=None if as_root or os.geteuid() != 0 else HELPER_UID,
            extra_groups=[4, 6] if as_root else None if os.geteuid() != 0 else [],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def finish(self, process: subprocess.Popen[bytes]) -> HelperRun:
        """Waits for the end, which has to be one the helper chose."""
        output, errors = wait_for_end(process)
        assert errors == b""
        return HelperRun(process.returncode, output, tuple(self._log.read_text().splitlines()))

    def run(
        self, *arguments: str | bytes, as_root: bool = False, held_by_parent: Sequence[socket.socket] = ()
    ) -> HelperRun:
        """Runs it to its end."""
        numbers = [one.fileno() for one in held_by_parent]
        return self.finish(self.start(arguments, as_root=as_root, held_by_parent=numbers))
