"""What the person who logs in may read. Few forms, so that nobody can find out by them which accounts exist.

Text for the administrator is made elsewhere and never comes here.
"""

from pam_tailscale.model import Decision, Reason, Verdict
from pam_tailscale.wire import PROMPT_MAX, TEXT_TRY_AGAIN

USER_SHOWN = 64
"""Characters of a user name that are repeated to the person."""
HOLD_SHOWN = 1400
"""Characters of what a provider of checks wants the person to read."""
NOWHERE = "tailscale: this login needs a check, and whoever asks for it names no page: ask your administrator."
"""What a person reads where a provider holds a login without a word."""
BY_KEY = "tailscale: your rule lets you in by key alone: any key will do, ssh-keygen makes one"
"""What a person reads whom the policy accepts, where no other method could withhold what their rule withholds."""
REFUSAL_SHOWN = 600
"""The same in bytes, where it stands before a refusal: shims cut at TEXT_MAX, and the decision's id comes last."""

_PASSING = frozenset(
    {
        Reason.AGENT_STARTING,
        Reason.MODE_MISMATCH,
        Reason.TAILSCALED_UNREACHABLE,
        Reason.TAILSCALED_NOT_ROOT,
        Reason.TAILSCALED_NOT_RUNNING,
        Reason.NETMAP_CACHED,
        Reason.KNOWLEDGE_STALE,
        Reason.NOT_PINNED,
        Reason.PIN_DAMAGED,
        Reason.PIN_MISMATCH,
        Reason.OPERATOR,
        Reason.STATE_CHANGED,
        Reason.POLICY_UNAVAILABLE,
        Reason.NARROW_DAMAGED,
        Reason.CHECK_UNAVAILABLE,
        Reason.CHECK_BUSY,
        Reason.INTERNAL_ERROR,
    }
)
"""Reasons that say nothing about the person: the host cannot tell at the moment."""


def person_text(decision: Decision, user: str) -> str:
    """The line for whoever is refused, with the decision's id; for an accepted login the rule's own message, if any.

    A refusal has a message in front of it only after a check, whose prompt has told already that there is an account.
    The first form repeats the words of Tailscale's own server (tailssh.go), which people search for.
    """
    if decision.allowed:
        return printable(decision.message)
    if decision.verdict is Verdict.CHECK:
        return ""
    told = printable(decision.message) if decision.demand is not None else ""
    before = told.encode()[:REFUSAL_SHOWN].decode("utf-8", "ignore").rstrip() + "\n" if told else ""
    reason = decision.told or decision.reason
    if reason in _PASSING:
        said = TEXT_TRY_AGAIN
    elif reason is Reason.METHOD_CANNOT_LIMIT:
        said = BY_KEY
    elif reason is Reason.RULE_MAPS_USER:
        said = f"tailscale: log in as {quoted(decision.mapped_user)}"
    else:
        said = f"tailscale: tailnet policy does not permit you to SSH as user {quoted(user)}"
    return f"{before}{said} (decision {decision.id})"


def prompt_text(hold: str, code: str, decision_id: str) -> str:
    """The prompt of a check: where to go, as the provider says it, and that Enter goes on.

    Nothing is shown while PAM waits (design section 2), so the prompt itself says all. A QR code that does not fit is
    left out.
    """
    where = printable(hold[:HOLD_SHOWN]).rstrip() or NOWHERE
    enter = f"Press Enter now, or after approving (check {decision_id}): "
    with_code = f"{where}\n{code}{enter}"
    return with_code if len(with_code.encode()) <= PROMPT_MAX else f"{where}\n{enter}"


def quoted(text: str, longest: int = USER_SHOWN) -> str:
    """Text in double quotes, cut to `longest` characters, with everything that a terminal could act on escaped."""
    shown = text[:longest] + ("…" if len(text) > longest else "")
    if shown.isprintable() and '"' not in shown and "\\" not in shown:
        return f'"{shown}"'
    return '"' + "".join(_escaped(char) for char in shown) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")


def printable(text: str) -> str:
    """Text from the policy with control characters, line ends aside, replaced."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
