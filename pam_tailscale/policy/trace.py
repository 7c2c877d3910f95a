"""What became of each rule when one login was decided, as a document for people and programs. Pure."""

import datetime
from typing import Any, Final

from pam_tailscale.policy.evaluate import Mismatch, unknown_fields
from pam_tailscale.policy.limits import unenforced
from pam_tailscale.policy.rules import Rule
from pam_tailscale.policy.withholding import names, withheld

_WORDS: Final = {
    Mismatch.MATCHED: "matches",
    Mismatch.NO_ACTION: "has no action",
    Mismatch.PRINCIPAL: "is not about this peer",
    Mismatch.USER: "is about this peer, but not for this account",
    Mismatch.NOT_REACHED: "comes after the rule that decides",
}


def document(source: str, rule: Rule, mismatch: Mismatch) -> dict[str, Any]:
    """A rule, whether it decided, and if not, why."""
    expired = f"expired at {moment_text(rule.expires)}" if rule.expires is not None else ""
    return {
        "source": source,
        "rule": rule.number,
        "outcome": mismatch.value,
        "why": expired if mismatch is Mismatch.EXPIRED else _WORDS[mismatch],
        "action": action_word(rule),
        "users": dict(rule.users),
        "principals": len(rule.principals),
        "not_enforced": list(unenforced(rule.action)) if rule.action else [],
        "withheld": list(names(withheld(rule.action))) if rule.action and not rule.action.reject else [],
        "unknown_fields": list(unknown_fields(rule)),
    }


def action_word(rule: Rule) -> str:
    """What a rule does, in a word."""
    action = rule.action
    if action is None:
        return "none"
    if action.reject:
        return "reject"
    if action.hold_and_delegate:
        return "check"
    return "accept" if action.accept else "malformed"


def moment_text(moment: float) -> str:
    """A Unix time as the documents have it, in ISO 8601."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")
