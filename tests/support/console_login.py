"""One login at a terminal of a machine itself, run there by Debian's Python: login(1), a password, the shell's prompt.

Arguments: user, password. Prints what the terminal showed after the password: its last words are the prompt of that
user's shell, or that it was no.
"""

import os
import pty
import select
import signal
import sys
import time

_SECONDS = 20


def main(user: str, password: str) -> str:
    """Logs in and answers what came after the password."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv("/bin/login", ["login", user])  # noqa: S606 - a shell would be one process too many
    _read_until(terminal, "assword:")
    time.sleep(0.2)  # login throws away what was typed before it asked
    os.write(terminal, f"{password}\n".encode())
    shown = _read_until(terminal, f"{user}@", "incorrect")
    os.close(terminal)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return shown


def _read_until(terminal: int, *marks: str) -> str:
    """Reads until one of the marks is shown, or the time is over."""
    text, end = "", time.monotonic() + _SECONDS
    while time.monotonic() < end and not any(mark in text for mark in marks):
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                text += os.read(terminal, 4096).decode(errors="replace")
            except OSError:  # nobody has the other end any more
                break
    return text


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1], sys.argv[2]))
