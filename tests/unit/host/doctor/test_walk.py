"""The process that asks PAM, from outside. That it asks is in tests/integration/test_doctor.py."""

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host.doctor import walk as module
from pam_tailscale.host.doctor.walk import walk
from pam_tailscale.host.doctor.walking import Question

QUESTION = Question("sshd", "bob", "100.64.0.2", 0, "100.64.0.1", 9, "a-name-that-is-too-long", 7)


def test_nothing_to_ask() -> None:
    """No process is needed."""
    assert walk(()) == ()


def test_a_question_that_cannot_be_asked() -> None:
    """The process itself says why."""
    with pytest.raises(HostError, match=r"PAM could not be asked: a connection .* could not be made"):
        walk([QUESTION])


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("import sys; sys.exit(3)", "ended with 3"),
        ("import no_such_module", "No module named"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with -11"),
        ("print('x')", "not understood"),
        ("", "ended with 0"),
    ],
    ids=["status", "a module of Python is missing", "a module of PAM crashes", "garbage", "no answer"],
)
def test_whatever_happens_to_it(monkeypatch: pytest.MonkeyPatch, program: str, text: str) -> None:
    """Is an error here, and never an answer."""
    monkeypatch.setattr(module, "_PROGRAM", program)
    with pytest.raises(HostError, match=text):
        walk([QUESTION])
