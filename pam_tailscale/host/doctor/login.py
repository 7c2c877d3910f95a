"""One login: what the agent says to it, and what PAM does with it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pam_tailscale import wire
from pam_tailscale.host.doctor.check import Check, ok, problem, unknown
from pam_tailscale.host.doctor.walking import Walked

LEFT_OUT = (
    "the session (pam_open_session), which would be registered, and credentials (pam_setcred)",
    "sshd's own checks: AllowUsers, DenyUsers, the account's shell",
    "the methods publickey and keyboard-interactive: this is what `none` comes to",
)
"""What the walk cannot show."""
MADE_UP = (
    "the connection is made in a network of its own, with the name and number of tailscaled's interface, to a port "
    "that sshd does not have; the agent's journal has its decisions about it"
)


@dataclass(frozen=True, slots=True)
class Login:
    """Everything that was found out about one login."""

    explanation: Mapping[str, Any] | None
    """The agent's document; None where it does not answer."""
    why_not_explained: str
    walked: Walked | None
    why_not_walked: str
    """Why PAM was not asked; empty where it was."""

    @property
    def document(self) -> dict[str, Any]:
        """For `--json`."""
        walk = None
        if self.walked is not None:
            steps = [{"function": function, "result": result} for function, result in self.walked.steps]
            walk = {"lets_in": self.walked.succeeded, "steps": steps, "person_reads": list(self.walked.said)}
        return {
            "explanation": dict(self.explanation) if self.explanation is not None else None,
            "pam": walk,
            "why_no_pam": self.why_not_walked,
            "made_up": MADE_UP,
            "left_out": list(LEFT_OUT),
        }


def why_not_walk(explanation: Mapping[str, Any]) -> str:
    """Why a login must not be walked through PAM; empty where it may."""
    if explanation["decision"] == wire.VERDICT_CHECK or explanation["check"] is not None:
        return "its rule asks for a check, and nobody but a login may start one"
    return ""


def judge(login: Login) -> Check:
    """Whether PAM does what the agent says."""
    name = "login"
    if login.explanation is None:
        return unknown(
            name, f"the agent does not explain it: {login.why_not_explained}", "systemctl status pam-tailscale-agent"
        )
    says = str(login.explanation["decision"])
    if login.walked is None:
        if why_not_walk(login.explanation):
            return ok(name, f"the agent says {says}; PAM was not asked: {login.why_not_walked}")
        return unknown(
            name, f"the agent says {says}; PAM was not asked: {login.why_not_walked}", "pam-tailscale status"
        )
    allowed = says == wire.VERDICT_ALLOW
    seen = f"the agent says {says}, {login.walked.step} answers {login.walked.code}"
    if login.walked.succeeded and not allowed:
        return problem(name, seen, "PAM lets in whom the policy does not", "pam-tailscale disable")
    if allowed and not login.walked.succeeded:
        means = "the policy lets them in, and something else in PAM, or its configuration, does not"
        service = "journalctl -t sshd -t sshd-session; see the account lines of the PAM service"
        return problem(name, seen, means, service)
    return ok(name, seen)
