"""A person at a terminal, played by Debian's Python on the machine itself: types a line, and an answer at each prompt.

Arguments: the line, and what is answered each time that the terminal stands still in the middle of a line. Prints what
the terminal showed; the exit status is the line's.
"""

import os
import pty
import select
import signal
import sys
import time

_SECONDS = 170
_STILL = 1.0
"""Seconds without a word after which a line that is not ended is a prompt. Longer than a person needs to read it."""


def main(line: str, answer: str) -> int:
    """Types it and waits for its end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/bash", ["bash", "-c", line])  # noqa: S606 - a shell is what a line is typed at
    end, answered = time.monotonic() + _SECONDS, True
    while time.monotonic() < end:
        if not select.select([terminal], [], [], _STILL)[0]:
            if not answered:
                os.write(terminal, f"{answer}\n".encode())
                answered = True
            continue
        try:
            shown = os.read(terminal, 65536)
        except OSError:  # its other end is closed
            break
        sys.stdout.buffer.write(shown)
        answered = shown.endswith(b"\n")
    else:
        os.kill(pid, signal.SIGKILL)
    sys.stdout.flush()
    # Only then: with the terminal goes SIGHUP, also to a process that is just ending well.
    status = os.waitpid(pid, 0)[1]
    os.close(terminal)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
