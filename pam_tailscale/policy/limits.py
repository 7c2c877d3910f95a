"""What this host refuses although a rule accepts.

Names that map elsewhere, system accounts, attributes of a rule that sshd cannot enforce. Pure, as all of the package.
"""

from pam_tailscale.model import Account, Reason
from pam_tailscale.policy.evaluate import ROOT, Outcome
from pam_tailscale.policy.facts import Limits, Problem
from pam_tailscale.policy.rules import Action
from pam_tailscale.policy.withholding import can_be_quoted

NOLOGIN_SHELLS = frozenset({"nologin", "false"})


def limit(outcome: Outcome, account: Account, limits: Limits) -> Problem | None:
    """Why an accepting rule is not enough, or None. Both accept and check rules come here."""
    rule = outcome.rule
    if rule is None or rule.action is None:
        raise ValueError("only the outcome of a rule with an action can be limited")
    if outcome.user != account.name:
        return Problem(
            Reason.RULE_MAPS_USER,
            f"rule {rule.number} lets this peer in as {outcome.user!r}, and sshd cannot change the account: "
            f"log in as that account, or name {account.name!r} in the rule",
        )
    if is_nologin(account):
        return Problem(
            Reason.NOLOGIN_ACCOUNT,
            f"{account.name!r} has the shell {account.shell}: nobody logs in there, but sshd would forward",
        )
    if account.uid < limits.uid_min and account.name != ROOT and not outcome.exact:
        return Problem(
            Reason.SYSTEM_ACCOUNT,
            f"{account.name!r} is a system account (uid {account.uid} < {limits.uid_min}) and rule {rule.number} "
            "does not name it: name it in the rule's users",
        )
    if attributes := unenforced(rule.action):
        return Problem(
            Reason.ATTRIBUTE_NOT_ENFORCED,
            f"rule {rule.number} demands what this version cannot enforce ({', '.join(attributes)}): "
            "remove that from the rule, or upgrade pam-tailscale",
        )
    return None


def is_nologin(account: Account) -> bool:
    """Whether the account's shell says that nobody may log in."""
    return account.shell.rsplit("/", 1)[-1] in NOLOGIN_SHELLS


def unenforced(action: Action) -> tuple[str, ...]:
    """Attributes of an action that sshd would not enforce for us, by their name in the policy."""
    found = []
    if action.session_duration:
        found.append("sessionDuration")
    if action.recorders or action.on_recording_failure:
        found.append("recorders")
    if not can_be_quoted(action.command):
        found.append("a command that sshd's options of a key cannot hold")
    return tuple(found)
