"""The processes of the proof: what they tell, and that they end, whatever happens. What is played is not the point."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import wait_until

_PROVE = """
import json, os, signal, sys, time
from pam_tailscale.errors import ProofError
from pam_tailscale.host.proving import proof
from pam_tailscale.host.proving.trial import Outcome
from tests.unit.host.proving.plans import PLAN
def outcomes(plan, say):
{play}
proof._outcomes = outcomes
said = []
found = {{"parent": os.getpid()}}
{before}
try:
    found["outcomes"] = [[one.name, one.expected, one.found, one.detail] for one in proof.prove(PLAN, said.append)]
except ProofError as err:
    found["error"] = str(err)
except KeyboardInterrupt:
    found["interrupted"] = True
found["said"] = said
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    found["children"] = 0
print(json.dumps(found))
"""


def program(play: str, before: str = "") -> list[str]:
    """A process that proves, with another play."""
    lines = "\n".join(f"    {line}" for line in play.splitlines())
    return [sys.executable, "-W", "error", "-c", _PROVE.format(play=lines, before=before)]


def prove(play: str, before: str = "") -> dict[str, Any]:
    """What comes of it."""
    done = subprocess.run(program(play, before), capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    assert done.returncode == 0
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["children"] == 0
    return found


def test_outcomes_and_progress_come_through() -> None:
    """In their order, with whatever text is in them."""
    play = 'say("one")\nsay("t\u00e9\\nwo")\n'
    found = prove(play + 'return (Outcome("a", "b", "c\\n", "d" * 200000), Outcome("e", "f", "g", "h"))')
    assert found["outcomes"] == [["a", "b", "c\n", "d" * 200000], ["e", "f", "g", "h"]]
    assert found["said"] == ["one", "té\nwo"]


def test_the_play_is_alone() -> None:
    """The first process of a pid namespace, without terminal and streams, and signals do what they do by themselves."""
    script = """
pending = signal.pthread_sigmask(signal.SIG_BLOCK, [])
facts = [os.getpid(), os.getppid(), len(pending), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL]
facts += [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
try:
    os.open("/dev/tty", os.O_RDWR)
except OSError:
    facts.append("no terminal")
print("nobody reads this")
return (Outcome(json.dumps(facts), "", "", ""),)"""
    before = """
import fcntl, pty, termios
os.setsid()
fcntl.ioctl(pty.openpty()[1], termios.TIOCSCTTY, 0)
os.close(os.open("/dev/tty", os.O_RDWR))
signal.signal(signal.SIGTERM, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])"""
    (outcome,) = prove(script, before)["outcomes"]
    assert json.loads(outcome[0]) == [1, 0, 0, True, "/dev/null", "/dev/null", "/dev/null", "no terminal"]


@pytest.mark.parametrize(
    ("play", "error"),
    [
        ('raise ProofError("mend that first")', "mend that first"),
        ('raise OSError(1, "unshare: Operation not permitted")', "cannot be set up: [Errno 1] unshare"),
        ("return 1 / 0", "report this: ZeroDivisionError"),
        ("os._exit(3)", "ended before its time"),
        ("os.kill(os.getpid(), signal.SIGKILL)\nos._exit(1)", "ended before its time"),
    ],
    ids=["refused", "not allowed", "a mistake", "gone", "gone without a word"],
)
def test_what_goes_wrong_is_told(play: str, error: str) -> None:
    """Never is nothing taken for a proof."""
    found = prove(play)
    assert error in found["error"]
    assert "outcomes" not in found


def test_a_kernel_that_gives_no_pid_namespace() -> None:
    """As in a container without privileges: nothing is tried, and the reason says what would be needed."""
    before = "def refused(kinds):\n    raise OSError(1, 'Operation not permitted')\nproof.namespaces.unshare = refused"
    found = prove('return (Outcome("a", "b", "b", ""),)', before)
    assert "cannot be set up" in found["error"]
    assert "container" in found["error"]


def test_a_play_that_hangs_is_ended() -> None:
    """With everything that it had started."""
    before = "proof.SECONDS = 0.5"
    found = prove("say(str(os.getpid()))\nif os.fork() == 0:\n    time.sleep(100)\ntime.sleep(100)", before)
    assert "not done within 0.5 s" in found["error"]


def _child(pid: int) -> int:
    """The one child of a process; AssertionError while it has none."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_everything_ends_with_the_command(number: signal.Signals) -> None:
    """At once, however the command ends; what the play has started is in its pid namespace and goes with it."""
    play = "if os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\ntime.sleep(100)"
    argv = program(play)
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as parent:

        def family() -> list[int]:
            guard = _child(parent.pid)
            return [guard, _child(guard), _child(_child(guard))]

        processes = [os.pidfd_open(pid) for pid in wait_until(family, 20, "all have started")]
        began = time.monotonic()
        parent.send_signal(number)
        parent.wait(10)
        for process in processes:
            # Readable once the process has ended (pidfd_open(2)).
            assert select.select([process], [], [], 5)[0]
            os.close(process)
        assert time.monotonic() - began < 10
