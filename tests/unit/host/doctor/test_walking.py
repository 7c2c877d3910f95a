"""Questions to PAM on their way to the process that asks, and answers back."""

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host.doctor.walking import (
    Question,
    Walked,
    decode_answers,
    decode_questions,
    encode_answer,
    encode_questions,
    result_name,
)

QUESTION = Question("sshd", "alic\udce9", "100.64.0.2", 0, "100.64.0.1", 9, "tailscale0", 7)
WALKED = Walked("alic\udce9", (("pam_authenticate", "PAM_SUCCESS"), ("pam_acct_mgmt", "PAM_PERM_DENIED")), ("no",))


def test_there_and_back() -> None:
    """Whatever the account is called."""
    assert decode_questions(encode_questions((QUESTION, QUESTION))) == (QUESTION, QUESTION)
    assert decode_answers(f"{encode_answer(WALKED)}\n{encode_answer(WALKED)}\n") == (WALKED, WALKED)


def test_connection() -> None:
    """Client first, as sshd has it in the environment of PAM."""
    assert QUESTION.connection == "100.64.0.2 0 100.64.0.1 9"


@pytest.mark.parametrize("text", ["x", "[]", '{"user": "a"}', '{"user": "a", "steps": [1], "said": []}'])
def test_damaged_answers(text: str) -> None:
    """Are an error."""
    with pytest.raises(HostError, match="not understood"):
        decode_answers(text)


def test_success_is_both_steps() -> None:
    """An answer that came to an end before the account was asked about lets nobody in."""
    assert (WALKED.step, WALKED.code, WALKED.succeeded) == ("pam_acct_mgmt", "PAM_PERM_DENIED", False)
    assert not Walked("a", (("pam_authenticate", "PAM_SUCCESS"),)).succeeded
    assert not Walked("a", ()).succeeded
    assert Walked("a", (("pam_authenticate", "PAM_SUCCESS"), ("pam_acct_mgmt", "PAM_SUCCESS"))).succeeded


def test_results_by_name() -> None:
    """As in security/_pam_types.h."""
    names = {0: "PAM_SUCCESS", 7: "PAM_AUTH_ERR", 24: "PAM_TRY_AGAIN", 31: "PAM_INCOMPLETE", 99: "PAM result 99"}
    assert {number: result_name(number) for number in names} == names
