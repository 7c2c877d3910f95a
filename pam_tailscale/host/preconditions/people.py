"""Preconditions about people: that somebody gets in when the tailnet is down, and whoever runs this, afterwards."""

from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Answer, Facts, Unknown
from pam_tailscale.host.preconditions.row import Action, Row
from pam_tailscale.model import IPAddress, in_tailnet

_ALLOW, _CHECK = "allow", "check"
_NOT_YET = {"not_pinned", "pin_mismatch", "pin_damaged"}
"""Reasons that end with this very run, which pins the host and then asks again."""


def _is_public(address: IPAddress) -> bool:
    """Whether others than this host and its tailnet can reach it."""
    return not (address.is_loopback or address.is_link_local or address.is_unspecified or in_tailnet(address))


def _is_proven(facts: Facts) -> bool:
    """Whether this very run shows another way in."""
    session = facts.own_session
    return facts.host.console or (session is not None and session.is_open and not session.over_tailnet)


def _no_other_way(facts: Facts) -> str:
    if _is_proven(facts):
        return ""
    listening = {end.address for end in facts.sshd.sockets}
    if listening and all(in_tailnet(address) or address.is_loopback for address in listening):
        return "sshd listens on tailnet addresses alone"
    if not any(_is_public(one.address) for one in facts.host.addresses):
        return "this host has no address but those of the tailnet"
    if not facts.host.ways_in:
        return "no account could log in from elsewhere than the tailnet: none has a key, or a password that is taken"
    return ""


def _answer(facts: Facts) -> Answer | None:
    found = facts.own_session.answer if facts.own_session else None
    return found if isinstance(found, Answer) else None


def _from(facts: Facts) -> str:
    session = facts.own_session
    return f"you are logged in as {session.account} from {session.client}" if session else ""


def _cut_off(facts: Facts) -> str:
    found = _answer(facts)
    if found is None or not found.can_tell or found.reason in _NOT_YET or found.decision in (_ALLOW, _CHECK):
        return ""
    return f"{_from(facts)}, and the policy refuses that: {found.detail or found.reason}"


def _cannot_tell(facts: Facts) -> str:
    session, found = facts.own_session, _answer(facts)
    if session is not None and not session.is_open:
        return f"{_from(facts)} by a connection that is closed, and how you come in now is not known"
    if session is None or session.answer is None:
        return ""
    if isinstance(session.answer, Unknown):
        return f"{_from(facts)}, and what the policy says to that could not be found out: {session.answer.why}"
    if found is not None and not found.can_tell:
        return f"{_from(facts)}, and the agent cannot say what the policy says to that: {found.detail or found.reason}"
    return ""


def _not_yet(facts: Facts) -> str:
    found = _answer(facts)
    return f"{_from(facts)}, over the tailnet" if found and found.reason in _NOT_YET else ""


def _check(facts: Facts) -> str:
    found = _answer(facts)
    return f"{_from(facts)}, and the policy wants a check for that" if found and found.decision == _CHECK else ""


def _cut_off_answered(answers: Answers) -> str:
    return "this session goes on; another like it may be refused, as you said" if answers.cut_me_off else ""


ROWS = (
    Row(
        "no_other_way",
        Action.ASK,
        _no_other_way,
        "nobody gets in while the tailnet, its policy or the agent is out of order",
        "give an account a key or a password for the LAN, see that its console works, or say '--no-other-way'",
        "--no-other-way",
        lambda answers: "there is no way in but the tailnet, as you said" if answers.no_other_way else "",
    ),
    Row(
        "cut_off",
        Action.ASK,
        _cut_off,
        "this session goes on, but you could not log in again like this",
        "have the tailnet's policy accept it, or say '--cut-me-off'",
        "--cut-me-off",
        _cut_off_answered,
    ),
    Row(
        "cut_off_unknown",
        Action.ASK,
        _cannot_tell,
        "this session goes on, but it is not known whether you could log in again like this",
        "see 'pam-tailscale status', or say '--cut-me-off'",
        "--cut-me-off",
        _cut_off_answered,
    ),
    Row("asked_after_pinning", Action.HANDLE, _not_yet, "the policy is asked about that once this host is pinned"),
    Row("check_ahead", Action.HANDLE, _check, "your next login like this shows a page on which to authenticate"),
)
