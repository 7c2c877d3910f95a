"""The program that asks PAM: a process of its own, because modules of PAM may do with theirs what they want.

Questions come as JSON on standard input, each answer goes out as a line. What is asked is sshd's method `none`: an
empty password, and then whether the account may be used. No credential is set and no session opened, and the connection
of a question is one that no sshd has, so that the agent takes it for no other.
"""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from ctypes import c_char_p
from dataclasses import replace
from typing import Any

import pam

from pam_tailscale.errors import HostError
from pam_tailscale.host.doctor.connection import forged
from pam_tailscale.host.doctor.walking import (
    ACCOUNT,
    AUTHENTICATE,
    Question,
    Walked,
    decode_questions,
    encode_answer,
    result_name,
)

Function = Callable[[Any, int], int]
"""A function of PAM: the handle and flags in, a result out."""
_TTY = b"ssh"
"""What sshd says (auth-pam.c, PAM_TTY_KLUDGE)."""


class Authenticator(pam.PamAuthenticator):  # type: ignore[misc]  # the module has no types
    """python-pam's, which says what every function of PAM answered, and sets the items that sshd sets."""

    pam_authenticate: Function
    pam_acct_mgmt: Function

    def __init__(self, client: str) -> None:
        super().__init__()
        self._client = client
        self.steps: list[tuple[str, str]] = []
        authenticate = self._noted(AUTHENTICATE, self.pam_authenticate)
        self.pam_acct_mgmt = self._noted(ACCOUNT, self.pam_acct_mgmt)

        def as_sshd_does(handle: Any, flags: int) -> int:
            self.pam_set_item(handle, pam.PAM_RHOST, c_char_p(self._client.encode()))
            self.pam_set_item(handle, pam.PAM_TTY, c_char_p(_TTY))
            return authenticate(handle, flags)

        self.pam_authenticate = as_sshd_does

    def _noted(self, name: str, function: Function) -> Function:
        def call(handle: Any, flags: int) -> int:
            result = function(handle, flags)
            self.steps.append((name, result_name(result)))
            return result

        return call


def ask(question: Question) -> Walked:
    """Put one question to PAM. Raises HostError where its connection cannot be made."""
    with ExitStack() as stack:
        if question.interface:
            _, port = stack.enter_context(forged(question))
            question = replace(question, client_port=port)
        one = Authenticator(question.client)
        one.authenticate(
            os.fsencode(question.user),
            b"",
            question.service,
            env={"SSH_CONNECTION": question.connection},
            resetcreds=False,
        )
    return Walked(question.user, tuple(one.steps), tuple(filter(None, map(str, one.messages))))


def main() -> int:
    """Answer every question; ends at the first that cannot be asked, and says on standard error why."""
    try:
        for question in decode_questions(sys.stdin.read()):
            sys.stdout.write(encode_answer(ask(question)) + "\n")
            sys.stdout.flush()
    except HostError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
