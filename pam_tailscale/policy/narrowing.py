"""What the narrowing policy of this host takes from a login that the tailnet's policy lets in. Pure.

Whatever comes out here is no more than what came in: an outcome stays, becomes a check, loses forwardings, gets a
shorter period, or becomes a problem.
"""

import dataclasses

from pam_tailscale.model import Account, Peer, Reason
from pam_tailscale.policy.evaluate import ROOT, Outcome, Query, evaluate, map_user
from pam_tailscale.policy.facts import Facts, Limits, Problem
from pam_tailscale.policy.narrow import AS_THE_RULE, THIS_HOST, Narrowing
from pam_tailscale.policy.onepeer import node_of, users_with_localpart
from pam_tailscale.policy.rules import Action

FILE = "narrow.hujson"


def narrowed(
    outcome: Outcome, peer: Peer, account: Account, query: Query, facts: Facts, limits: Limits, now: float
) -> Outcome | Problem:
    """An outcome that accepts or asks for a check, as far as this host's own policy also lets in."""
    narrowing = limits.narrowing
    if narrowing is None or isinstance(narrowing, Problem):
        return outcome if narrowing is None else narrowing
    found = (_routing(narrowing, peer, facts), _system(narrowing, account, limits), _account(narrowing, peer, query))
    if problem := next(filter(None, found), None):
        return problem
    outcome = _without_forwarding(outcome, narrowing)
    if narrowing.rules is None:
        return outcome
    policy = narrowing.rules.rules_for(THIS_HOST, node_of(peer, shared=facts.shared))
    own = evaluate([policy], query, now)
    if own.reason is Reason.ACCEPTED:
        return outcome
    if own.reason is Reason.CHECK_NEEDED:
        return _checked(outcome, own, limits)
    return Problem(
        Reason.NARROWED,
        f"rule {_number(outcome)} of {outcome.source} lets in, but no entry of the ssh section of this host's {FILE} "
        "lets this peer in as this account: add one if it should",
    )


def _number(outcome: Outcome) -> int:
    return outcome.rule.number if outcome.rule is not None else 0


def _routing(narrowing: Narrowing, peer: Peer, facts: Facts) -> Problem | None:
    if narrowing.routing_nodes or not facts.routes:
        return None
    return Problem(
        Reason.NARROWED,
        f"{peer.name} routes for others ({', '.join(facts.routes[:4])}), who could come as it, and allowRoutingNodes "
        f"is false in this host's {FILE}: log in from another node",
    )


def _system(narrowing: Narrowing, account: Account, limits: Limits) -> Problem | None:
    if narrowing.system_accounts or account.name == ROOT or account.uid >= limits.uid_min:
        return None
    return Problem(
        Reason.NARROWED,
        f"{account.name!r} is a system account (uid {account.uid} < {limits.uid_min}), and allowSystemAccounts is "
        f"false in this host's {FILE}",
    )


def _account(narrowing: Narrowing, peer: Peer, query: Query) -> Problem | None:
    """A person's accounts. A tagged node has no person."""
    line = None if peer.tags else narrowing.accounts_of(peer.login)
    if line is None:
        return None
    users, _ = users_with_localpart(line, peer.login)
    if map_user(users, query.user, query.uid)[0] == query.user:
        return None
    return Problem(
        Reason.NARROWED,
        f"accounts in this host's {FILE} does not let {peer.login!r} use this account: add it to their line there "
        f"(line {line.number} of accounts) if it should",
    )


def _without_forwarding(outcome: Outcome, narrowing: Narrowing) -> Outcome:
    action = outcome.rule.action if outcome.rule is not None else None
    takes_nothing = narrowing.agent_forwarding and narrowing.local_forwarding and narrowing.remote_forwarding
    if action is None or takes_nothing:
        return outcome
    # A check of the tailnet's says nothing of forwarding: the control plane's answer does, and is looked at there.
    silent = bool(action.hold_and_delegate) and not action.forwarding_said
    less = dataclasses.replace(
        action,
        allow_agent_forwarding=narrowing.agent_forwarding and (silent or action.allow_agent_forwarding),
        allow_local_port_forwarding=narrowing.local_forwarding and (silent or action.allow_local_port_forwarding),
        allow_remote_port_forwarding=narrowing.remote_forwarding and (silent or action.allow_remote_port_forwarding),
        forwarding_said=True,
    )
    return _with_action(outcome, less)


def _checked(outcome: Outcome, own: Outcome, limits: Limits) -> Outcome:
    """The same after a check, for whichever period is shorter; 0, always, is the shortest."""
    action = outcome.rule.action if outcome.rule is not None else None
    wanted = own.rule.action.period if own.rule is not None and own.rule.action is not None else None
    if action is None or wanted is None:
        raise ValueError("only rules with an action accept or ask for a check")
    periods = [] if wanted == AS_THE_RULE else [wanted]
    if outcome.reason is Reason.CHECK_NEEDED:
        rules_own = limits.check_period if action.period is None else action.period
        periods += [] if rules_own is None else [rules_own]
    period = min(periods) if periods else None
    # It neither accepts any more, nor does it name a control plane where it did not.
    changed = dataclasses.replace(action, accept=False, period=period)
    return dataclasses.replace(_with_action(outcome, changed), reason=Reason.CHECK_NEEDED)


def _with_action(outcome: Outcome, action: Action) -> Outcome:
    if outcome.rule is None:
        return outcome
    narrowed = outcome.narrowed or action != outcome.rule.action
    return dataclasses.replace(outcome, rule=dataclasses.replace(outcome.rule, action=action), narrowed=narrowed)
