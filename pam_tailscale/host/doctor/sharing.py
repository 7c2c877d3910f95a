"""Who is let in to which account: the policy, evaluated for every identity and every account of the host. Pure.

An account that several identities get into is one security domain (design section 11); and what authorized_keys
restricts it does not restrict over the tailnet, where keys do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pam_tailscale.config import Source
from pam_tailscale.host.doctor.check import Check, ok, unknown, warning
from pam_tailscale.host.doctor.peers import Node, by_identity
from pam_tailscale.model import Account, Reason
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.facts import Limits
from pam_tailscale.policy.limits import is_nologin, limit
from pam_tailscale.policy.rules import Policy

EVALUATIONS_MAX = 20_000
"""Of a node and an account; a second or two."""
_ANY = "*"
SHOWN = 6
"""Identities that are named for one account."""


@dataclass(frozen=True, slots=True)
class Access:
    """Account to the identities that a rule lets in there, by accept or check."""

    let_in: Mapping[str, tuple[str, ...]]
    not_evaluated: int = 0
    """Pairs of a node and an account that were too many."""
    not_asked: tuple[str, ...] = ()
    """Sources of rules that were not asked: what they give is different for each peer."""


def of_sources(policy: Policy, sources: Sequence[Source]) -> tuple[list[Policy], tuple[str, ...]]:
    """The rules that all peers share: the netmap's, if it is a source. And the names of the other sources."""
    rest = tuple(source.value for source in sources if source is not Source.NETMAP)
    return [policy] if Source.NETMAP in sources else [], rest


def access(
    nodes: Sequence[Node],
    accounts: Sequence[Account],
    policies: Sequence[Policy],
    limits: Limits,
    now: float,
    not_asked: tuple[str, ...] = (),
) -> Access:
    """Evaluate the policy, node by node; the first that lets an identity in is enough. `now` is Unix time."""
    accounts = [account for account in accounts if account.shell_usable and not is_nologin(account)]
    found: dict[str, list[str]] = {account.name: [] for account in accounts}
    left, skipped = EVALUATIONS_MAX, 0
    for identity, its_nodes in by_identity(nodes).items():
        for node in its_nodes:
            named = _named(node, policies)
            for account in accounts:
                if not named & {account.name, _ANY} or identity in found[account.name][-1:]:
                    continue
                if left == 0:
                    skipped += 1
                    continue
                left -= 1
                if _lets_in(node, account, policies, limits, now):
                    found[account.name].append(identity)
    return Access({name: tuple(identities) for name, identities in found.items() if identities}, skipped, not_asked)


def _named(node: Node, policies: Sequence[Policy]) -> set[str]:
    """Every name in a rule that could be about a node. A rule lets nobody in under a name that it does not have."""
    address, login = node.addresses[0], node.login
    rules = (rule for policy in policies for rule in policy.candidates(address, node.stable_id, login))
    return {name for rule in rules for name in rule.users}


def _lets_in(node: Node, account: Account, policies: Sequence[Policy], limits: Limits, now: float) -> bool:
    """Steps 1, 4, 5 and 6 of the decision, as far as they do not depend on a connection."""
    if account.uid == 0 and not limits.allow_root:
        return False
    query = Query(
        address=node.addresses[0],
        node=node.stable_id,
        login=node.login,
        user=account.name,
        uid=account.uid,
        tagged=bool(node.tags),
    )
    outcome = evaluate(policies, query, now)
    if outcome.reason not in (Reason.ACCEPTED, Reason.CHECK_NEEDED):
        return False
    return limit(outcome, account, limits) is None and not (outcome.reason is Reason.CHECK_NEEDED and node.tags)


def judge(found: Access, restricted: Mapping[str, frozenset[str]], unread: Sequence[str]) -> list[Check]:
    """Shared accounts, and those that authorized_keys restricts.

    `restricted`: account to the options by which its keys may do less. `unread`: files that could not be read.
    """
    return [_shared(found), _restricted(found, restricted, unread)]


def _shared(found: Access) -> Check:
    name = "shared-accounts"
    shared = [f"{account}: {_some(who)}" for account, who in sorted(found.let_in.items()) if len(who) > 1]
    if shared:
        means = "whoever gets in there gets at what the others have there: two people on one account are one"
        mend = "give each an account of their own in the tailnet's ssh rules, and let them use sudo"
        return warning(name, "accounts that several identities are let in to", means, mend, shared)
    return _not_all(name, found) or ok(name, "no account is shared by several identities")


def _not_all(name: str, found: Access) -> Check | None:
    """That something may have been missed; None where all was looked at."""
    if found.not_asked:
        seen = f"rules of {' and '.join(found.not_asked)} were not looked at: they are different for each peer"
        return unknown(name, seen, "pam-tailscale explain ACCOUNT --from ADDR")
    if not found.not_evaluated:
        return None
    seen = f"the tailnet is too large: {found.not_evaluated} pairs of a node and an account were not looked at"
    return unknown(name, seen, "pam-tailscale explain ACCOUNT --from ADDR")


def _some(identities: Sequence[str]) -> str:
    more = len(identities) - SHOWN
    return ", ".join(identities[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _restricted(found: Access, restricted: Mapping[str, frozenset[str]], unread: Sequence[str]) -> Check:
    name = "restricted-keys"
    theirs = [
        f"{account} ({', '.join(sorted(restricted[account]))}): {_some(found.let_in[account])}"
        for account in sorted(restricted)
        if account in found.let_in
    ]
    if theirs:
        means = "over the tailnet keys do not count: whoever the policy lets in there gets a whole shell"
        mend = "name them in no ssh rule, or put the restriction into sshd_config (Match User, ForceCommand)"
        return warning(name, "accounts whose authorized_keys restrict what a login may do", means, mend, theirs)
    if unread:
        return unknown(name, f"could not be read: {', '.join(unread[:SHOWN])}", "ls -l " + unread[0])
    fine = "no account that the policy lets anybody in to is restricted by authorized_keys"
    return _not_all(name, found) or ok(name, fine)


def not_seen(why: str, mend: str) -> list[Check]:
    """The same checks where the policy or the peers are not to be had."""
    return [unknown(name, why, mend) for name in ("shared-accounts", "restricted-keys")]
