"""Which rule decides about a peer, as Tailscale's own SSH server evaluates (tailssh.go, evalSSHPolicy and matchRule).

Stricter than Tailscale in four places, each on the side of "no": reject beats accept where an action has both; a login
principal lets no tagged node in, which has no person; a check's URL beside an accept is a check; and what this version
does not know (an unknown field) refuses where it could matter, instead of being read past.
"""

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pam_tailscale.model import IPAddress, Peer, Reason
from pam_tailscale.policy.rules import Action, Policy, Principal, Rule

ROOT = "root"


class Mismatch(enum.Enum):
    """What became of one rule."""

    MATCHED = "matched"
    NO_ACTION = "no_action"
    EXPIRED = "expired"
    PRINCIPAL = "principal"
    USER = "user"
    NOT_REACHED = "not_reached"


@dataclass(frozen=True, slots=True)
class Query:
    """Who asks for which account; the account's uid where it exists, since `=` never means uid 0."""

    address: IPAddress
    node: str
    login: str
    user: str
    uid: int | None
    tagged: bool = False
    """The node has tags, and so nobody's login: rules may only reject it by one."""

    @classmethod
    def of(cls, peer: Peer, address: IPAddress, user: str, uid: int | None) -> "Query":
        """The query for a peer that connects from `address`."""
        return cls(address=address, node=peer.stable_id, login=peer.login, user=user, uid=uid, tagged=bool(peer.tags))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the policy says. `rule` is the deciding one, `user` the local name it maps to."""

    reason: Reason
    rule: Rule | None = None
    source: str = ""
    """Name of the policy source that holds the rule."""
    user: str = ""
    exact: bool = False
    """The rule names the requested account itself, not only `*`."""
    narrowed: bool = False
    """The host's own policy has taken something from what the rule gives."""
    trace: tuple[tuple[str, Rule, Mismatch], ...] = ()
    """For every rule its source and what became of it; only where it was asked for."""


def evaluate(policies: Iterable[Policy], query: Query, now: float, *, trace: bool = False) -> Outcome:
    """Find the first rule that matches, over all sources in their order. `now` is Unix time.

    The reason is ACCEPTED, CHECK_NEEDED, RULE_REJECTS, RULE_MALFORMED or POLICY_SHAPE where a rule decided, else
    USER_NOT_IN_RULE where some rule is about the peer but not about the account, else NO_RULE.
    """
    deciding: Outcome | None = None
    seen: list[tuple[str, Rule, Mismatch]] = []
    for source, rule in _rules(policies, query, all_of_them=trace):
        if deciding is not None:
            seen.append((source, rule, Mismatch.NOT_REACHED))
            continue
        mismatch = match(rule, query, now)
        seen.append((source, rule, mismatch))
        if mismatch is Mismatch.MATCHED:
            deciding = _outcome(rule, source, query)
            if not trace:
                return deciding
    if deciding is None:
        about_peer = any(mismatch is Mismatch.USER for _, _, mismatch in seen)
        deciding = Outcome(Reason.USER_NOT_IN_RULE if about_peer else Reason.NO_RULE)
    if not trace:
        return deciding
    return dataclasses.replace(deciding, trace=tuple(seen))


def _rules(policies: Iterable[Policy], query: Query, *, all_of_them: bool) -> Iterator[tuple[str, Rule]]:
    """Every rule for a trace; for a decision those that the index does not already exclude by principal."""
    for policy in policies:
        candidates = policy.rules if all_of_them else policy.candidates(query.address, query.node, query.login)
        yield from ((policy.source, rule) for rule in candidates)


def match(rule: Rule, query: Query, now: float) -> Mismatch:
    """Whether a rule decides about this query, or the first reason why not."""
    if rule.action is None and not rule.unknown:
        return Mismatch.NO_ACTION
    if rule.expires is not None and rule.expires < now:
        return Mismatch.EXPIRED
    rejects = rule.action is not None and rule.action.reject
    if not any(_is_about(principal, query, rejects=rejects) for principal in rule.principals):
        return Mismatch.PRINCIPAL
    # A reject rule is about the peer whatever the account; an unknown field may widen or narrow the accounts.
    if not rejects and not _unknown(rule):
        mapped, _ = map_user(rule.users, query.user, query.uid)
        if not mapped:
            return Mismatch.USER
    return Mismatch.MATCHED


def map_user(users: Mapping[str, str], user: str, uid: int | None) -> tuple[str, bool]:
    """The local name for a requested one, empty where there is none, and whether the rule names it exactly.

    An exact entry wins over `*` also where it is empty: `{"*": "=", "root": ""}` is how autogroup:nonroot arrives.
    """
    exact = user in users and user != "*"
    local = users[user] if exact else users.get("*", "")
    if local == "=":
        local = "" if uid == 0 or user == ROOT else user
    return local, exact


def _is_about(principal: Principal, query: Query, *, rejects: bool) -> bool:
    return (
        principal.any
        or bool(principal.unknown)
        or (bool(principal.address) and principal.address == query.address.packed)
        or (bool(principal.node) and principal.node == query.node)
        or (bool(principal.login) and principal.login == query.login and (rejects or not query.tagged))
    )


def _unknown(rule: Rule) -> tuple[str, ...]:
    return (
        *rule.unknown,
        *(rule.action.unknown if rule.action else ()),
        *(name for principal in rule.principals for name in principal.unknown),
    )


def _outcome(rule: Rule, source: str, query: Query) -> Outcome:
    if _unknown(rule) or rule.action is None:
        return Outcome(Reason.POLICY_SHAPE, rule, source)
    mapped, exact = map_user(rule.users, query.user, query.uid)
    return Outcome(_verdict(rule.action), rule, source, mapped, exact and query.user != rule.localpart)


def _verdict(action: Action) -> Reason:
    if action.reject:
        return Reason.RULE_REJECTS
    if action.hold_and_delegate:
        return Reason.CHECK_NEEDED
    return Reason.ACCEPTED if action.accept else Reason.RULE_MALFORMED


def unknown_fields(rule: Rule) -> tuple[str, ...]:
    """Names of everything in a rule that this version does not know."""
    return tuple(sorted(set(_unknown(rule))))
