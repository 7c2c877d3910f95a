"""What the program that asks PAM sets and calls. Real PAM is in tests/integration/test_doctor.py."""

import io
from typing import Any

import pam
import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host.doctor import walker
from pam_tailscale.host.doctor.walking import Question, Walked, decode_answers, encode_questions

QUESTION = Question("sshd-tailscale", "alic\udce9", "100.64.0.1", 9, "100.64.0.1", 9)


class Pam:
    """In place of libpam's functions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, authenticate: int = 0, account: int = 0) -> None:
        self.calls: list[tuple[str, Any]] = []

        def note(name: str, result: int = 0) -> Any:
            def function(*arguments: Any) -> int:
                self.calls.append((name, arguments))
                return result

            return function

        def begin(one: Any) -> None:
            def say(*arguments: Any) -> int:
                one.messages.extend(["", "a text"])
                return int(note("authenticate", authenticate)(*arguments))

            one.handle, one.messages, one.libc = None, [], None
            one.pam_authenticate, one.pam_acct_mgmt = say, note("account", account)
            one.pam_start, one.pam_end, one.pam_setcred = note("start"), note("end"), note("setcred")
            one.pam_set_item, one.pam_putenv = note("item"), note("putenv")
            one.pam_open_session = note("session")
            one.pam_strerror = lambda *_: b"why"

        monkeypatch.setattr(pam.PamAuthenticator, "__init__", begin)

    @property
    def names(self) -> list[str]:
        """Of everything that was called, in order."""
        return [name for name, _ in self.calls]

    def arguments(self, name: str) -> list[Any]:
        """Of each call of one function, without the handle."""
        return [arguments[1:] for called, arguments in self.calls if called == name]


def test_as_sshd_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `none`: an empty password and no flags; then the account. No credential, no session."""
    libpam = Pam(monkeypatch)
    walked = walker.ask(QUESTION)
    assert walked == Walked(
        "alic\udce9", (("pam_authenticate", "PAM_SUCCESS"), ("pam_acct_mgmt", "PAM_SUCCESS")), ("a text",)
    )
    assert libpam.names == ["start", "putenv", "item", "item", "authenticate", "account", "end"]
    (service, user) = libpam.calls[0][1][:2]
    assert (service, user) == (b"sshd-tailscale", b"alic\xe9")
    assert libpam.arguments("putenv") == [(b"SSH_CONNECTION=100.64.0.1 9 100.64.0.1 9",)]
    items = [(kind, value.value) for kind, value in libpam.arguments("item")]
    assert items == [(pam.PAM_RHOST, b"100.64.0.1"), (pam.PAM_TTY, b"ssh")]
    assert libpam.arguments("authenticate") == libpam.arguments("account") == [(0,)]


def test_a_refusal_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is not asked about any more."""
    Pam(monkeypatch, authenticate=7)
    assert walker.ask(QUESTION).steps == (("pam_authenticate", "PAM_AUTH_ERR"),)
    Pam(monkeypatch, account=6)
    assert walker.ask(QUESTION).code == "PAM_PERM_DENIED"


def test_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Answers line by line, and at a question that cannot be asked it says why and ends."""
    Pam(monkeypatch)
    bad = Question("sshd", "bob", "100.64.0.2", 0, "100.64.0.1", 9, "a-name-that-is-too-long", 7)
    monkeypatch.setattr("sys.stdin", io.StringIO(encode_questions((QUESTION, bad, QUESTION))))
    assert walker.main() == 1
    ran = capsys.readouterr()
    assert [walked.user for walked in decode_answers(ran.out)] == ["alic\udce9"]
    assert "could not be made" in ran.err


def test_a_connection_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """PAM is not asked then: without it every answer would be a no."""
    libpam = Pam(monkeypatch)
    with pytest.raises(HostError):
        walker.ask(Question("sshd", "bob", "100.64.0.2", 0, "100.64.0.1", 9, "a-name-that-is-too-long", 7))
    assert libpam.calls == []
