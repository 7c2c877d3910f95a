"""The decision about one login: a pure function of the request, what was found out, and the time.

The steps come in the order of the numbers; the first that does not hold answers. Each has its own reason, and a detail
for the administrator. Whatever cannot be found out is a no.
"""

import dataclasses

from pam_tailscale.model import (
    Account,
    Decision,
    Demand,
    Mode,
    Peer,
    Pin,
    Reason,
    Request,
    Verdict,
    in_tailnet,
)
from pam_tailscale.policy.evaluate import ROOT, Outcome, Query, evaluate, unknown_fields
from pam_tailscale.policy.facts import Facts, Knowledge, Limits, Problem
from pam_tailscale.policy.limits import limit
from pam_tailscale.policy.narrowing import narrowed
from pam_tailscale.policy.onepeer import MAY_BE_CHECKED
from pam_tailscale.policy.withholding import needs_key, withheld

RUNNING = "Running"


def decide(request: Request, facts: Facts, limits: Limits, now: float, decision_id: str) -> Decision:
    """Answer one request. `now` is Unix time; `decision_id` finds the decision in the journal."""
    return decide_with_trace(request, facts, limits, now, decision_id, trace=False)[0]


def decide_with_trace(
    request: Request, facts: Facts, limits: Limits, now: float, decision_id: str, *, trace: bool = True
) -> tuple[Decision, Outcome | None]:
    """The same decision, and what the policy says; with `trace` of every rule. None where it could not be asked."""
    peer = facts.peer if isinstance(facts.peer, Peer) else None
    account = facts.account
    unfit = _account(request.user, account, limits)
    problem = (
        _right_tailscaled(request, facts, limits)
        or unfit
        or _addresses(request, facts)
        or _identity(request, facts, now)
    )
    if problem is not None or peer is None or account is None:
        problem = problem or Problem(Reason.INTERNAL_ERROR, "a step let through what it should not: report this")
        decision = _denied(problem, decision_id, peer)
        if problem is unfit:
            decision = _told_as_if_fit(decision, request, facts, now)
        return decision, _only_trace(request, facts, now) if trace else None
    query = Query.of(peer, request.connection.client, request.user, account.uid)
    outcome = evaluate(facts.knowledge.policies, query, now, trace=trace)
    problem = _rule(outcome) or limit(outcome, account, limits)
    if problem is None:
        less = narrowed(outcome, peer, account, query, facts, limits, now)
        problem, outcome = (less, outcome) if isinstance(less, Problem) else (_check(less, peer, limits), less)
    decision = _decision(problem, outcome, peer, decision_id)
    if decision.allowed and outcome.reason is Reason.CHECK_NEEDED:
        decision = _demanded(decision, outcome, request, peer)
    if outcome.narrowed and decision.detail:
        decision = dataclasses.replace(decision, detail=f"{decision.detail} ({_NARROWED})")
    return decision, outcome


def _told_as_if_fit(decision: Decision, request: Request, facts: Facts, now: float) -> Decision:
    """Tell the person what an account that can be used would be told, so that nobody learns by it which exist."""
    later = _addresses(request, facts) or _identity(request, facts, now)
    if later is not None or not isinstance(facts.peer, Peer):
        return dataclasses.replace(decision, told=later.reason if later else None)
    query = Query.of(facts.peer, request.connection.client, request.user, None)
    outcome = evaluate(facts.knowledge.policies, query, now)
    if outcome.reason in (Reason.ACCEPTED, Reason.CHECK_NEEDED) and outcome.user != request.user:
        return dataclasses.replace(decision, told=Reason.RULE_MAPS_USER, mapped_user=outcome.user)
    return decision


def _only_trace(request: Request, facts: Facts, now: float) -> Outcome | None:
    """What the policy would have said, for an explanation of a login that failed before it was asked."""
    if not isinstance(facts.peer, Peer):
        return None
    uid = facts.account.uid if facts.account else None
    query = Query.of(facts.peer, request.connection.client, request.user, uid)
    return evaluate(facts.knowledge.policies, query, now, trace=True)


def _right_tailscaled(request: Request, facts: Facts, limits: Limits) -> Problem | None:
    """Step 0: is it the tailscaled that root trusts, is it running, and is what we know of it fresh?"""
    knowledge = facts.knowledge
    if request.mode is not limits.mode and request.mode is Mode.ENFORCE:
        return Problem(
            Reason.MODE_MISMATCH,
            "sshd is set up to enforce, the agent's configuration says observe: set mode in agent.toml as the module's",
        )
    if isinstance(limits.narrowing, Problem):
        return limits.narrowing
    if knowledge.problem is not None:
        return knowledge.problem
    if knowledge.backend_state != RUNNING:
        return Problem(
            Reason.TAILSCALED_NOT_RUNNING,
            f"tailscaled is in state {knowledge.backend_state!r}: see 'tailscale status', run 'tailscale up'",
        )
    if isinstance(facts.pin, Problem):
        return facts.pin
    return (
        _pin(facts.pin, facts) or _operator(knowledge, limits) or _freshness(facts, limits) or knowledge.policy_problem
    )


def operator_problem(name: str) -> Problem:
    """Why nobody is let in where somebody else than root may have chosen the policy.

    An operator may log the node in to a control plane of their own, which gives it any ids, and then change the
    setting ControlURL back: tailscaled stays where it is (ipn/ipnlocal, setPrefsLocked) and shows what the pin demands.
    Only when it starts does it go where its settings say.
    """
    return Problem(
        Reason.OPERATOR,
        f"the account {name!r} is tailscale's operator, or was since tailscaled started, and could have led this host "
        "to a tailnet of their own unseen: run 'tailscale set --operator=' and restart tailscaled, or set "
        "trust_operator in agent.toml if that account may be root",
    )


def _operator(known: Knowledge, limits: Limits) -> Problem | None:
    return None if limits.trust_operator or not known.operator else operator_problem(known.operator)


def _pin(pin: Pin, facts: Facts) -> Problem | None:
    known = facts.knowledge
    pairs = (
        ("control plane", pin.control_url, known.control_url),
        ("node", pin.node_id, known.node_id),
        ("tailnet", pin.tailnet_id, known.tailnet_id),
    )
    for what, pinned, seen in pairs:
        if pinned != seen:
            return Problem(
                Reason.PIN_MISMATCH,
                f"this host is pinned to {what} {pinned!r}, tailscaled is at {seen!r}: if root means this change, "
                "run 'pam-tailscale enable --repin'",
            )
    return None


def _freshness(facts: Facts, limits: Limits) -> Problem | None:
    if facts.knowledge.cached:
        return Problem(
            Reason.NETMAP_CACHED,
            "tailscaled works from a netmap of its disk, the control plane has not answered yet: "
            "wait, or see 'tailscale status'",
        )
    if facts.age > limits.max_age:
        return Problem(
            Reason.KNOWLEDGE_STALE,
            f"nothing was heard from tailscaled for {facts.age:.0f} s: see 'systemctl status tailscaled'",
        )
    return None


def _account(user: str, account: Account | None, limits: Limits) -> Problem | None:
    """Step 1: the account is the one that was named, letter by letter, and could log in at all."""
    if user.isdecimal():
        return Problem(Reason.ACCOUNT_NUMERIC, "a name of digits alone could be taken for a uid: rename the account")
    if account is None:
        return Problem(Reason.ACCOUNT_UNKNOWN, "there is no such account on this host: create it")
    if account.name != user:
        return Problem(
            Reason.ACCOUNT_ALIAS,
            f"the name leads to the account {account.name!r}: log in under that name, as it is spelt",
        )
    if not account.shell_usable:
        return Problem(Reason.ACCOUNT_SHELL, f"the shell {account.shell!r} is missing or not executable: see chsh(1)")
    if (account.uid == 0 or user == ROOT) and not limits.allow_root:
        return Problem(Reason.ROOT_NOT_ALLOWED, "allow_root is false in agent.toml")
    return None


def _addresses(request: Request, facts: Facts) -> Problem | None:
    """Step 2: from another node to this one, and the answer goes back into the tailnet."""
    connection, own = request.connection, facts.knowledge.self_addresses
    if connection.server not in own:
        return Problem(
            Reason.SERVER_NOT_SELF,
            f"{connection.server} is not an address tailscaled gave this host: does another program use the range?",
        )
    if not in_tailnet(connection.client):
        return Problem(Reason.CLIENT_NOT_TAILNET, f"{connection.client} is not an address of a tailnet")
    if connection.client in own:
        return Problem(Reason.CLIENT_IS_LOCAL, "a connection from this host to itself has no other node behind it")
    if isinstance(facts.route, Problem):
        return facts.route
    if facts.route.local:
        return Problem(Reason.CLIENT_IS_LOCAL, f"{connection.client} is an address of this host itself")
    if facts.route.interface != facts.knowledge.interface:
        return Problem(
            Reason.ROUTE_NOT_TAILNET,
            f"the way back to {connection.client} leaves by another interface than tailscaled's: see 'ip route get'",
        )
    # A host that answers by the interface a packet came in by, with a mark on it, has a way back we cannot ask for.
    if request.interface is not None and request.interface != facts.knowledge.interface:
        return Problem(
            Reason.ARRIVED_ELSEWHERE,
            "the connection did not come in by tailscaled's interface: does somebody else use the tailnet's range?",
        )
    return None


def _identity(request: Request, facts: Facts, now: float) -> Problem | None:
    """Step 3: tailscaled knows the peer, at this address, and its key is valid."""
    peer, client = facts.peer, request.connection.client
    if isinstance(peer, Problem):
        return peer
    if peer is None:
        return Problem(Reason.PEER_UNKNOWN, f"tailscaled knows no peer at {client}: see 'tailscale whois {client}'")
    if client not in peer.addresses:
        return Problem(Reason.PEER_ADDRESS_MISMATCH, f"asked about {client}, tailscaled answered about {peer.name}")
    if peer.stable_id == facts.knowledge.node_id:
        return Problem(Reason.PEER_IS_SELF, "tailscaled says the peer is this host itself")
    if peer.expired or (peer.key_expiry is not None and peer.key_expiry <= now):
        return Problem(Reason.PEER_EXPIRED, f"the key of {peer.name} has expired: its owner runs 'tailscale up' there")
    return None


_NARROWED = "as narrowed by this host's narrow.hujson"
_RULE_DETAILS = {
    Reason.NO_RULE: "no rule of the tailnet's SSH policy is about this peer and this host: add one if it should",
    Reason.USER_NOT_IN_RULE: "rules are about this peer, but none names this account: add it to one if it should",
    Reason.RULE_REJECTS: "the rule rejects",
    Reason.RULE_MALFORMED: "the rule's action neither accepts nor rejects nor asks for a check: mend the policy",
}


_BY_ROLE = (
    "asks for a check by a role in the tailnet, which no host knows of anybody, so that it cannot be told whether this "
    "login needs it: name people or groups in its src"
)


def _rule(outcome: Outcome) -> Problem | None:
    """Step 4: a rule accepts, or asks for a check."""
    if outcome.reason in (Reason.ACCEPTED, Reason.CHECK_NEEDED):
        return None
    if outcome.reason is Reason.POLICY_SHAPE:
        fields = ", ".join(unknown_fields(outcome.rule)) if outcome.rule else ""
        detail = f"a rule that could decide has fields this version does not know ({fields}): upgrade pam-tailscale"
        return Problem(Reason.POLICY_SHAPE, detail)
    if outcome.rule is not None and outcome.rule.action is MAY_BE_CHECKED:
        return Problem(outcome.reason, f"entry {outcome.rule.number} of the policy file {_BY_ROLE}")
    return Problem(outcome.reason, _RULE_DETAILS[outcome.reason])


def _check(outcome: Outcome, peer: Peer, limits: Limits) -> Problem | None:
    """Step 6: a check is a person's, and a tagged node has none. It counts as long as the rule says, or not at all."""
    action = outcome.rule.action if outcome.rule else None
    if outcome.reason is not Reason.CHECK_NEEDED or action is None:
        return None
    if not peer.tags:
        asks_control = bool(action.hold_and_delegate) and action.period is None
        return None if asks_control or limits.check_period is not None else CHECK_IS_OURS
    return Problem(
        Reason.CHECK_TAGGED,
        f"the rule asks for a check, and {peer.name} is tagged, so there is no person behind it who could pass one: "
        "use an accept rule for tagged nodes",
    )


CHECK_IS_OURS = Problem(
    Reason.ATTRIBUTE_NOT_ENFORCED,
    "the check has a period of its own, or is not the tailnet's, and the control plane knows only what its own rules "
    'ask for: set by = "oidc" in [check] to have such checks made',
)


def _demanded(decision: Decision, outcome: Outcome, request: Request, peer: Peer) -> Decision:
    """All but the check holds: say what has to be shown."""
    action = outcome.rule.action if outcome.rule else None
    delegate = action.hold_and_delegate if action else ""
    demand = Demand(peer, request.user, request.connection, delegate, period=action.period if action else None)
    return dataclasses.replace(
        decision,
        verdict=Verdict.CHECK,
        reason=Reason.CHECK_NEEDED,
        detail="the rule asks for a check: the person has to authenticate, which needs a login that can show a prompt",
        message="",
        demand=demand,
    )


def _decision(problem: Problem | None, outcome: Outcome, peer: Peer, decision_id: str) -> Decision:
    rule = outcome.rule
    if problem is not None:
        mapped = outcome.user if problem.reason is Reason.RULE_MAPS_USER else ""
        return Decision(
            verdict=Verdict.DENY,
            reason=problem.reason,
            id=decision_id,
            detail=problem.detail,
            rule=rule.number if rule else None,
            source=outcome.source,
            peer=peer,
            mapped_user=mapped,
        )
    if rule is None or rule.action is None:
        return _denied(Problem(Reason.INTERNAL_ERROR, "accepted without a rule: report this"), decision_id, peer)
    lacking = withheld(rule.action)
    return Decision(
        verdict=Verdict.ALLOW,
        reason=Reason.ACCEPTED,
        id=decision_id,
        detail=needs_key(lacking),
        rule=rule.number,
        source=outcome.source,
        peer=peer,
        message=rule.action.message,
        withheld=lacking,
    )


def _denied(problem: Problem, decision_id: str, peer: Peer | None) -> Decision:
    return Decision(Verdict.DENY, problem.reason, decision_id, problem.detail, peer=peer)
