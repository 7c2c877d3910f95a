"""Asks PAM in a process of its own: see walker.py. Judges nothing."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pam_tailscale
from pam_tailscale.errors import HostError
from pam_tailscale.host.doctor.walking import Question, Walked, decode_answers, encode_questions

_SECONDS = 60.0
_ROOT = str(Path(pam_tailscale.__file__).resolve().parents[1])
_PROGRAM = (
    f"import sys; sys.path.insert(0, {_ROOT!r}); from pam_tailscale.host.doctor.walker import main; sys.exit(main())"
)
# The module tells `none` from keyboard-interactive by PATH, which sshd's process has only for the one.
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def walk(questions: Sequence[Question]) -> tuple[Walked, ...]:
    """PAM's answers, in the order of the questions. Raises HostError, also where one of them got no answer."""
    if not questions:
        return ()
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM],
            input=encode_questions(tuple(questions)),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            env=_ENVIRONMENT,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise HostError(f"PAM could not be asked: {err}") from err
    answers = decode_answers(done.stdout)
    if done.returncode != 0 or len(answers) != len(questions):
        lines = done.stderr.strip().splitlines()
        why = lines[-1][:300] if lines else f"the process that asks it ended with {done.returncode}"
        raise HostError(f"PAM could not be asked: {why}")
    return answers
