"""Runs programs of the host to their end: nothing is typed to them, and none is waited for without end."""

import subprocess
from collections.abc import Callable, Sequence

from pam_tailscale.errors import HostError

SECONDS = 15.0
Done = subprocess.CompletedProcess[str]
Run = Callable[[Sequence[str]], Done]


def run(argv: Sequence[str], seconds: float = SECONDS) -> Done:
    """Runs one. Raises HostError where it cannot be run or does not end; its status is the caller's to judge."""
    try:
        return _run(argv, seconds)
    except (OSError, subprocess.TimeoutExpired) as err:
        raise HostError(f"{argv[0]} does not run or end: {err}") from err


def attempt(argv: Sequence[str]) -> Done:
    """Runs one. Where it cannot be run or does not end, the status is 127, and stderr says why."""
    try:
        return _run(argv, SECONDS)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]} does not end within {SECONDS:g} s")
    except OSError as err:
        return subprocess.CompletedProcess(argv, 127, "", f"{argv[0]} does not run ({err.strerror})")


def _run(argv: Sequence[str], seconds: float) -> Done:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
    )


def complaint(stderr: str) -> str:
    """What a program said against something, in one line: sshd names the place first, and its verdict last."""
    return "; ".join(stderr.split("\n")).strip("; \r")[:400].replace("\r", "") or "it says nothing"
