"""Judges the host's accounts: empty passwords, root's doubles, accounts that share a uid."""

from collections import defaultdict
from collections.abc import Sequence

from pam_tailscale.host.accounts import Entry
from pam_tailscale.host.doctor.check import Check, ok, problem, unknown, warning
from pam_tailscale.host.doctor.walking import Walked

ROOT = "root"


def judge_empty(names: Sequence[str], walked: Sequence[Walked], *, switched_on: bool) -> Check:
    """Accounts with an empty password, and what PAM said of them to a connection that must be refused."""
    name = "empty-passwords"
    let_in = [one.user for one in walked if one.succeeded]
    if let_in:
        means = "whoever is in the tailnet gets in as them, whatever the policy says"
        return problem(name, "PAM lets in without a password, over the tailnet", means, "pam-tailscale disable", let_in)
    if not names:
        return ok(name, "no account has an empty password")
    mend = f"passwd --lock {names[0]}"
    if not switched_on:
        means = "enable would make sshd hand logins without a password to PAM, and prove that they are refused"
        return warning(name, "accounts with an empty password", means, mend, names)
    refused = {one.user for one in walked}
    if not set(names) <= refused:
        return warning(
            name, "accounts with an empty password", "that the tailnet is refused was not tried", mend, names
        )
    means = "over the tailnet the policy decides: it was tried that PAM refuses them; at the console nothing is asked"
    return warning(name, "accounts with an empty password", means, mend, names)


def judge_root(walked: Sequence[Walked], why_not: str) -> Check:
    """Root from an address from which nobody may come in. `why_not`: why PAM was not asked; empty where it was."""
    name = "pam-refuses"
    about = [one for one in walked if one.user == ROOT]
    if not about:
        return unknown(name, why_not or "PAM was not asked", "pam-tailscale status")
    if about[0].succeeded:
        means = "whoever is in the tailnet gets in, whatever the policy says"
        return problem(name, "PAM lets in root from this host's own address", means, "pam-tailscale disable")
    return ok(name, f"PAM refuses root from this host's own address ({about[0].code})")


def judge_uids(accounts: Sequence[Entry]) -> list[Check]:
    """Accounts that are another one."""
    return [_doubles_of_root(accounts), _shared_uids(accounts)]


def _doubles_of_root(accounts: Sequence[Entry]) -> Check:
    name = "uid-0"
    found = [account.name for account in accounts if account.uid == 0 and account.name != ROOT]
    if not found:
        return ok(name, "root alone has uid 0")
    means = "a rule that names one of them makes root of whoever it is about"
    mend = "vipw: give each a uid of its own, or remove it"
    return warning(name, "accounts with uid 0 beside root", means, mend, found)


def _shared_uids(accounts: Sequence[Entry]) -> Check:
    name = "shared-uids"
    by_uid: defaultdict[int, list[str]] = defaultdict(list)
    for account in accounts:
        if account.uid != 0:
            by_uid[account.uid].append(account.name)
    found = [f"{uid}: {', '.join(names)}" for uid, names in sorted(by_uid.items()) if len(names) > 1]
    if not found:
        return ok(name, "no two accounts share a uid")
    means = "a rule that names one of them lets in as all of them"
    return warning(name, "accounts that share a uid", means, "vipw: give each a uid of its own", found)
