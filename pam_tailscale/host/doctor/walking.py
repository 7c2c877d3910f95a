"""One question to PAM as sshd would put it, and what came of it. Records and the wire between two processes. Pure."""

import json
from dataclasses import asdict, dataclass

from pam_tailscale.errors import HostError

SUCCESS = "PAM_SUCCESS"
# By their numbers (security/_pam_types.h).
_RESULTS = (
    "PAM_SUCCESS",
    "PAM_OPEN_ERR",
    "PAM_SYMBOL_ERR",
    "PAM_SERVICE_ERR",
    "PAM_SYSTEM_ERR",
    "PAM_BUF_ERR",
    "PAM_PERM_DENIED",
    "PAM_AUTH_ERR",
    "PAM_CRED_INSUFFICIENT",
    "PAM_AUTHINFO_UNAVAIL",
    "PAM_USER_UNKNOWN",
    "PAM_MAXTRIES",
    "PAM_NEW_AUTHTOK_REQD",
    "PAM_ACCT_EXPIRED",
    "PAM_SESSION_ERR",
    "PAM_CRED_UNAVAIL",
    "PAM_CRED_EXPIRED",
    "PAM_CRED_ERR",
    "PAM_NO_MODULE_DATA",
    "PAM_CONV_ERR",
    "PAM_AUTHTOK_ERR",
    "PAM_AUTHTOK_RECOVERY_ERR",
    "PAM_AUTHTOK_LOCK_BUSY",
    "PAM_AUTHTOK_DISABLE_AGING",
    "PAM_TRY_AGAIN",
    "PAM_IGNORE",
    "PAM_ABORT",
    "PAM_AUTHTOK_EXPIRED",
    "PAM_MODULE_UNKNOWN",
    "PAM_BAD_ITEM",
    "PAM_CONV_AGAIN",
    "PAM_INCOMPLETE",
)
AUTHENTICATE, ACCOUNT = "pam_authenticate", "pam_acct_mgmt"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: may this account in, by the method `none`, from there to here?"""

    service: str
    user: str
    client: str
    client_port: int
    server: str
    server_port: int
    interface: str = ""
    """Name of the interface that the connection is to come in by; empty: PAM is asked without a connection."""
    index: int = 0
    """That interface's index."""

    @property
    def connection(self) -> str:
        """As sshd has it in PAM's environment."""
        return f"{self.client} {self.client_port} {self.server} {self.server_port}"


@dataclass(frozen=True, slots=True)
class Walked:
    """PAM's answer."""

    user: str
    steps: tuple[tuple[str, str], ...]
    """Each function of PAM that was called, and its result by name."""
    said: tuple[str, ...] = ()
    """What the person would have read."""

    @property
    def code(self) -> str:
        """The last result, which is PAM's answer."""
        return self.steps[-1][1] if self.steps else ""

    @property
    def step(self) -> str:
        """The function that answered last."""
        return self.steps[-1][0] if self.steps else ""

    @property
    def succeeded(self) -> bool:
        """Whether PAM would let in: both functions were called, and the last had nothing against it."""
        return self.code == SUCCESS and self.step == ACCOUNT


def result_name(number: int) -> str:
    """A result of PAM by its name."""
    return _RESULTS[number] if 0 <= number < len(_RESULTS) else f"PAM result {number}"


def encode_questions(questions: tuple[Question, ...]) -> str:
    """For the process that asks."""
    return json.dumps([asdict(question) for question in questions])


def decode_questions(text: str) -> tuple[Question, ...]:
    """There."""
    return tuple(Question(**raw) for raw in json.loads(text))


def encode_answer(walked: Walked) -> str:
    """One line for each question, so that what was answered before a crash is kept."""
    return json.dumps({"user": walked.user, "steps": walked.steps, "said": walked.said})


def decode_answers(text: str) -> tuple[Walked, ...]:
    """Back here. Raises HostError for what is none."""
    try:
        documents = [json.loads(line) for line in text.splitlines()]
        return tuple(
            Walked(str(raw["user"]), tuple((str(a), str(b)) for a, b in raw["steps"]), tuple(map(str, raw["said"])))
            for raw in documents
        )
    except (ValueError, KeyError, TypeError) as err:
        raise HostError("the process that asks PAM answered what is not understood: report this") from err
