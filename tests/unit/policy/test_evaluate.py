"""Which rule decides: Tailscale's own order and edge cases, and the places where we are stricter."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.model import Peer, Reason, parse_address
from pam_tailscale.policy.evaluate import Mismatch, Outcome, Query, evaluate, map_user
from pam_tailscale.policy.rules import Policy, parse_policy
from tests.support.facts import ACCEPT, ANYBODY, CHECK, CLIENT, NOW, PEER, REJECT, TAGGED, policy, rule

UNKNOWN_USER = None


def ask(
    *rules: object,
    user: str = "alice",
    uid: int | None = 1001,
    peer: Peer = PEER,
    address: str = str(CLIENT),
    trace: bool = False,
    now: float = NOW,
) -> Outcome:
    """What these rules say."""
    query = Query.of(peer, parse_address(address), user, uid)
    return evaluate([policy(*rules)], query, now, trace=trace)


DEGENERATE: dict[str, tuple[list[object], Reason, int | None]] = {
    "no rules": ([], Reason.NO_RULE, None),
    "null rule": ([None], Reason.NO_RULE, None),
    "empty rule": ([{}], Reason.NO_RULE, None),
    "null action": ([rule({"*": "="}, None)], Reason.NO_RULE, None),
    "null action goes before the principal": ([rule({"*": "="}, None, {"any": True})], Reason.NO_RULE, None),
    "empty action": ([rule({"*": "="}, {})], Reason.RULE_MALFORMED, 1),
    "action with a message alone": ([rule({"*": "="}, {"message": "hello"})], Reason.RULE_MALFORMED, 1),
    "both flags false": ([rule({"*": "="}, {"accept": False, "reject": False})], Reason.RULE_MALFORMED, 1),
    "no principals": ([rule({"*": "="}) | {"principals": []}], Reason.NO_RULE, None),
    "null principals": ([rule({"*": "="}) | {"principals": None}], Reason.NO_RULE, None),
    "null principal": ([rule({"*": "="}, ACCEPT, None)], Reason.NO_RULE, None),
    "empty principal": ([rule({"*": "="}, ACCEPT, {})], Reason.NO_RULE, None),
    "null principal beside one": ([rule({"*": "="}, ACCEPT, None, ANYBODY)], Reason.ACCEPTED, 1),
    "no users": ([rule({})], Reason.USER_NOT_IN_RULE, None),
    "null users": ([rule(None)], Reason.USER_NOT_IN_RULE, None),
    "other user": ([rule({"bob": "bob"})], Reason.USER_NOT_IN_RULE, None),
    "other case": ([rule({"Alice": "alice"})], Reason.USER_NOT_IN_RULE, None),
    "exact": ([rule({"alice": "alice"})], Reason.ACCEPTED, 1),
    "star": ([rule({"*": "="})], Reason.ACCEPTED, 1),
    "empty star": ([rule({"*": ""})], Reason.USER_NOT_IN_RULE, None),
    "exact empty blocks star": ([rule({"*": "=", "alice": ""})], Reason.USER_NOT_IN_RULE, None),
    "exact before star": ([rule({"*": "", "alice": "="})], Reason.ACCEPTED, 1),
    "users ignored by reject": ([rule({}, REJECT)], Reason.RULE_REJECTS, 1),
    "reject of other users": ([rule({"bob": "bob"}, REJECT)], Reason.RULE_REJECTS, 1),
    "reject beats accept": ([rule({"*": "="}, {"accept": True, "reject": True})], Reason.RULE_REJECTS, 1),
    "reject beats check": ([rule({"*": "="}, CHECK | REJECT)], Reason.RULE_REJECTS, 1),
    "check": ([rule({"*": "="}, CHECK)], Reason.CHECK_NEEDED, 1),
    "check beats accept": ([rule({"*": "="}, CHECK | ACCEPT)], Reason.CHECK_NEEDED, 1),
    "first match": ([rule({"*": "="}), rule({"*": "="}, REJECT)], Reason.ACCEPTED, 1),
    "reject first": ([rule({"*": "="}, REJECT), rule({"*": "="})], Reason.RULE_REJECTS, 1),
    "user miss goes on": ([rule({"bob": "="}), rule({"alice": "="})], Reason.ACCEPTED, 2),
    "principal miss after user miss": (
        [rule({"bob": "="}), rule({}, ACCEPT, {"node": "x"})],
        Reason.USER_NOT_IN_RULE,
        None,
    ),
    "a malformed rule stops": ([rule({"*": "="}, {}), rule({"*": "="})], Reason.RULE_MALFORMED, 1),
    "nothing of a blocked name": ([rule({"*": "=", "alice": ""}), rule({"alice": "="})], Reason.ACCEPTED, 2),
}


@pytest.mark.parametrize(("rules", "reason", "number"), DEGENERATE.values(), ids=DEGENERATE.keys())
def test_rules(rules: list[object], reason: Reason, number: int | None) -> None:
    """What the rules say about alice on her laptop, and which one of them."""
    outcome = ask(*rules)
    assert outcome.reason is reason
    assert (outcome.rule.number if outcome.rule else None) == number


PRINCIPALS: dict[str, tuple[dict[str, Any], bool]] = {
    "any": ({"any": True}, True),
    "not any": ({"any": False}, False),
    "its v4 address": ({"nodeIP": "100.64.0.7"}, True),
    "its v6 address, connected by v4": ({"nodeIP": "fd7a:115c:a1e0::7"}, False),
    "another address": ({"nodeIP": "100.64.0.8"}, False),
    "its address v4-mapped": ({"nodeIP": "::ffff:100.64.0.7"}, False),
    "its address with a zone": ({"nodeIP": "100.64.0.7%tailscale0"}, False),
    "its address as a network": ({"nodeIP": "100.64.0.7/32"}, False),
    "a name for an address": ({"nodeIP": "laptop"}, False),
    "its stable id": ({"node": "n7CNTRL"}, True),
    "its stable id in another case": ({"node": "N7cntrl"}, False),
    "its numeric id": ({"node": "7"}, False),
    "its login": ({"userLogin": "alice@example.com"}, True),
    "its login in another case": ({"userLogin": "Alice@example.com"}, False),
    "another login": ({"userLogin": "bob@example.com"}, False),
    "one field of two": ({"nodeIP": "100.64.0.8", "userLogin": "alice@example.com"}, True),
    "empty fields": ({"node": "", "nodeIP": "", "userLogin": "", "any": False}, False),
}


@pytest.mark.parametrize(("principal", "about"), PRINCIPALS.values(), ids=PRINCIPALS.keys())
def test_principals(principal: dict[str, Any], about: bool) -> None:  # noqa: FBT001 (a column of the table)
    """One field that matches is enough."""
    expected = Reason.ACCEPTED if about else Reason.NO_RULE
    assert ask(rule({"*": "="}, ACCEPT, principal)).reason is expected


def test_the_address_is_the_connections() -> None:
    """The same peer over v6 is matched by its v6 address, however that is written."""
    written = rule({"*": "="}, ACCEPT, {"nodeIP": "FD7A:115C:A1E0:0:0:0:0:7"})
    assert ask(written, address="fd7a:115c:a1e0::7").reason is Reason.ACCEPTED


def test_a_login_lets_no_tagged_node_in() -> None:
    """A tagged node has no person, only the login that all tagged nodes share."""
    by_login = {"userLogin": "tagged-devices"}
    assert ask(rule({"*": "="}, ACCEPT, by_login), peer=TAGGED).reason is Reason.NO_RULE
    assert ask(rule({"*": "="}, CHECK, by_login), peer=TAGGED).reason is Reason.NO_RULE


def test_a_login_rejects_a_tagged_node() -> None:
    """What Tailscale refuses, we refuse too."""
    by_login = {"userLogin": "tagged-devices"}
    outcome = ask(rule({}, REJECT, by_login), rule({"*": "="}, ACCEPT, ANYBODY), peer=TAGGED)
    assert outcome.reason is Reason.RULE_REJECTS


def test_a_tagged_node_is_matched_by_address_and_id() -> None:
    """That is how tags arrive: expanded to their nodes."""
    assert ask(rule({"*": "="}), peer=TAGGED).reason is Reason.ACCEPTED
    assert ask(rule({"*": "="}, ACCEPT, {"node": "n7CNTRL"}), peer=TAGGED).reason is Reason.ACCEPTED


USERS: dict[str, tuple[dict[str, str], str, int | None, str, bool]] = {
    "exact": ({"alice": "alice"}, "alice", 1001, "alice", True),
    "exact, equal sign": ({"alice": "="}, "alice", 1001, "alice", True),
    "star": ({"*": "="}, "alice", 1001, "alice", False),
    "mapped": ({"alice": "deploy"}, "alice", 1001, "deploy", True),
    "mapped by star": ({"*": "deploy"}, "alice", 1001, "deploy", False),
    "exact goes before star": ({"*": "deploy", "alice": "="}, "alice", 1001, "alice", True),
    "root by name": ({"root": "root"}, "root", 0, "root", True),
    "root by star to root": ({"*": "root"}, "root", 0, "root", False),
    "equal sign is not root": ({"*": "="}, "root", 0, "", False),
    "not even by name": ({"root": "="}, "root", 0, "", True),
    "nor a root that does not exist": ({"*": "="}, "root", UNKNOWN_USER, "", False),
    "nor a root with another uid": ({"*": "="}, "root", 1001, "", False),
    "nor another name of uid 0": ({"*": "="}, "toor", 0, "", False),
    "not even by its name": ({"toor": "="}, "toor", 0, "", True),
    "another name of uid 0 by name": ({"toor": "toor"}, "toor", 0, "toor", True),
    "nonroot": ({"*": "=", "root": ""}, "alice", 1001, "alice", False),
    "nonroot and root": ({"*": "=", "root": ""}, "root", 0, "", True),
    "no entry": ({"bob": "="}, "alice", 1001, "", False),
    "nothing": ({}, "alice", 1001, "", False),
    "the empty name": ({"": "alice"}, "alice", 1001, "", False),
    "asked for the empty name": ({"": "="}, "", UNKNOWN_USER, "", True),
    "asked for the empty name by star": ({"*": "="}, "", UNKNOWN_USER, "", False),
    "a name called star is not named by star": ({"*": "="}, "*", 1001, "*", False),
    "no uid of digits": ({"0": ""}, "0", UNKNOWN_USER, "", True),
    "blanks are no digits": ({"0": "root"}, " 0", UNKNOWN_USER, "", False),
    "two digits": ({"0": "root"}, "00", UNKNOWN_USER, "", False),
    "a sign": ({"0": "root"}, "+0", UNKNOWN_USER, "", False),
    "a trailing byte": ({"alice": "="}, "alice\n", UNKNOWN_USER, "", False),
    "not UTF-8": ({"alice": "="}, "alice\udcff", UNKNOWN_USER, "", False),
    "another normal form": ({"jos\u00e9": "="}, "jose\u0301", UNKNOWN_USER, "", False),
}


@pytest.mark.parametrize(("users", "user", "uid", "local", "exact"), USERS.values(), ids=USERS.keys())
def test_users(users: dict[str, str], user: str, uid: int | None, local: str, exact: bool) -> None:  # noqa: FBT001 (a column)
    """To which local name a rule maps a requested one, and whether it names it."""
    assert map_user(users, user, uid) == (local, exact)
    outcome = ask(rule(users), user=user, uid=uid)
    assert (outcome.user, outcome.exact) == (local, exact if local else False)


@pytest.mark.parametrize(
    ("expires", "expired"),
    [
        ("0001-01-01T00:00:00Z", True),
        ("2027-01-15T07:59:59Z", True),
        ("2027-01-15T07:59:59.999999999Z", True),
        ("2027-01-15T08:00:00Z", False),
        ("2027-01-15T08:00:00.000001Z", False),
        ("2027-01-15T09:00:00+01:00", False),
        ("2027-01-15T08:59:59+01:00", True),
    ],
)
def test_expiry(expires: str, expired: bool) -> None:  # noqa: FBT001 (a column of the table)
    """A rule is skipped from the moment after its expiry, as RuleExpires.Before(now) says."""
    outcome = ask(rule({"*": "="}, REJECT, ruleExpires=expires), rule({"*": "="}))
    assert outcome.reason is (Reason.ACCEPTED if expired else Reason.RULE_REJECTS)


ODD: dict[str, list[object]] = {
    "in the rule": [rule({"*": "="}, newField=1)],
    "in the rule, null": [rule({"*": "="}, newField=None)],
    "in the action": [rule({"*": "="}, ACCEPT | {"newField": 1})],
    "in a principal that matches": [rule({"*": "="}, ACCEPT, {"any": True, "newField": 1})],
    "in a principal that does not": [rule({"*": "="}, ACCEPT, {"nodeIP": "100.64.0.8", "newField": 1})],
    "in another principal of the rule": [rule({"*": "="}, ACCEPT, ANYBODY, {"newField": 1})],
    "in a rule of other users": [rule({"bob": "="}, ACCEPT | {"newField": 1})],
    "in a rule that rejects": [rule({}, REJECT | {"newField": 1})],
    "an action of another type": [rule({"*": "="}, "accept")],
    "users of another type": [rule(["alice"])],
    "a user that is null": [rule({"alice": None})],
    "principals of another type": [rule({"*": "="}) | {"principals": {"any": True}}],
    "a rule of another type": ["accept alice"],
    "nobody but an unknown field": [{"who": ["tag:ci"], "sshUsers": {"*": "="}, "action": REJECT}],
    "a time that is none": [rule({"*": "="}, ruleExpires="soon")],
    "a flag of another type": [rule({"*": "="}, {"accept": "yes"})],
}


@pytest.mark.parametrize("rules", ODD.values(), ids=ODD.keys())
def test_what_is_unknown_refuses(rules: list[object]) -> None:
    """Also where a later rule accepts: the one that is not understood might have been a no."""
    outcome = ask(*rules, rule({"*": "="}))
    assert (outcome.reason, outcome.rule and outcome.rule.number) == (Reason.POLICY_SHAPE, 1)


HARMLESS: dict[str, object] = {
    "about somebody else": rule({"*": "="}, REJECT, {"nodeIP": "100.64.0.8"}, newField=1),
    "expired": rule({"*": "="}, REJECT, newField=1, ruleExpires="2026-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("odd", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_unknown_elsewhere_refuses_nobody_else(odd: object) -> None:
    """A rule that this peer has nothing to do with."""
    assert ask(odd, rule({"*": "="})).reason is Reason.ACCEPTED


def test_what_comes_after_the_deciding_rule_does_not_matter() -> None:
    """First match wins, before anything unknown."""
    assert ask(rule({"*": "="}), rule({"*": "="}, newField=1)).reason is Reason.ACCEPTED


def test_a_trace_says_of_every_rule_what_became_of_it() -> None:
    """In order, with the reason that came first."""
    outcome = ask(
        None,
        rule({"*": "="}, ruleExpires="2026-01-01T00:00:00Z"),
        rule({"*": "="}, ACCEPT, {"node": "other"}),
        rule({"bob": "="}),
        rule({"alice": "="}),
        rule({"alice": "="}),
        trace=True,
    )
    assert [(source, one.number, why) for source, one, why in outcome.trace] == [
        ("netmap", 1, Mismatch.NO_ACTION),
        ("netmap", 2, Mismatch.EXPIRED),
        ("netmap", 3, Mismatch.PRINCIPAL),
        ("netmap", 4, Mismatch.USER),
        ("netmap", 5, Mismatch.MATCHED),
        ("netmap", 6, Mismatch.NOT_REACHED),
    ]


def test_sources_are_asked_in_their_order() -> None:
    """The first match of all sources wins; a source's own numbers are kept."""
    first = policy(rule({"bob": "="}), source="file")
    second = policy(rule({"x": "="}), rule({"alice": "="}), source="netmap")
    query = Query.of(PEER, CLIENT, "alice", 1001)
    outcome = evaluate([first, second], query, NOW)
    assert (outcome.source, outcome.rule and outcome.rule.number) == ("netmap", 2)
    rejecting = policy(rule({}, REJECT), source="file")
    assert evaluate([rejecting, second], query, NOW).reason is Reason.RULE_REJECTS


# What follows draws policies and peers from small alphabets, so that rules do meet peers.

_ADDRESSES = ["100.64.0.7", "100.64.0.8", "fd7a:115c:a1e0::7"]
_LOGINS = ["alice@example.com", "bob@example.com", "tagged-devices"]
_NAMES = ["alice", "bob", "root", "deploy"]
_PRINCIPAL = st.fixed_dictionaries(
    {},
    optional={
        "nodeIP": st.sampled_from([*_ADDRESSES, "", "x"]),
        "node": st.sampled_from(["n7CNTRL", "n8CNTRL", ""]),
        "userLogin": st.sampled_from([*_LOGINS, ""]),
        "any": st.booleans(),
        "odd": st.just(1),
    },
)
_RULE = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "principals": st.lists(st.none() | _PRINCIPAL, max_size=3),
        "sshUsers": st.dictionaries(st.sampled_from([*_NAMES, "*"]), st.sampled_from([*_NAMES, "=", ""]), max_size=3),
        "action": st.sampled_from([None, {}, ACCEPT, REJECT, CHECK, ACCEPT | REJECT, {"odd": 1}]),
        "ruleExpires": st.sampled_from(["2026-01-01T00:00:00Z", "2028-01-01T00:00:00Z", "odd"]),
        "odd": st.just(1),
    },
)
_RULES = st.lists(_RULE, max_size=6)
_QUERY = st.builds(
    lambda address, node, login, user, uid, tagged: Query(parse_address(address), node, login, user, uid, tagged),
    st.sampled_from(_ADDRESSES),
    st.sampled_from(["n7CNTRL", "n9CNTRL"]),
    st.sampled_from(_LOGINS),
    st.sampled_from(_NAMES),
    st.sampled_from([None, 0, 1001]),
    st.booleans(),
)


class _Walked(Policy):
    """A policy without its index: every rule is looked at."""

    __slots__ = ()

    def candidates(self, address: object, node: object, login: object) -> Any:  # noqa: ARG002 (the index's signature)
        return list(self.rules)


def _untraced(outcome: Outcome) -> Outcome:
    return dataclasses.replace(outcome, trace=())


@given(_RULES, _QUERY)
def test_the_index_agrees_with_a_walk(rules: list[Any], query: Query) -> None:
    """Leaving rules out by their principals never changes the answer."""
    indexed = parse_policy({"rules": rules})
    assert evaluate([indexed], query, NOW) == evaluate([_Walked("netmap", indexed.rules)], query, NOW)


@given(_RULES, _QUERY)
def test_a_trace_changes_nothing(rules: list[Any], query: Query) -> None:
    """What explain says is what the login gets."""
    read = parse_policy({"rules": rules})
    traced = evaluate([read], query, NOW, trace=True)
    assert _untraced(traced) == evaluate([read], query, NOW)
    assert [one for _, one, _ in traced.trace] == list(read.rules)
    matched = [one for _, one, why in traced.trace if why is Mismatch.MATCHED]
    assert matched == ([traced.rule] if traced.rule else [])


@given(_RULES, _QUERY, st.sampled_from([None, {}, rule({"*": "="}, REJECT, {"node": "elsewhere"})]))
def test_a_rule_in_front_that_does_not_match_changes_nothing(rules: list[Any], query: Query, front: Any) -> None:
    """But the numbers of those behind it."""
    plain = evaluate([parse_policy({"rules": rules})], query, NOW)
    shifted = evaluate([parse_policy({"rules": [front, *rules]})], query, NOW)
    assert (plain.reason, plain.user, plain.exact) == (shifted.reason, shifted.user, shifted.exact)
    assert (plain.rule.number + 1 if plain.rule else None) == (shifted.rule.number if shifted.rule else None)


@given(_RULES, _QUERY, st.randoms(use_true_random=False))
def test_the_order_of_unrelated_rules_does_not_matter(rules: list[Any], query: Query, random: Any) -> None:
    """Rules about other peers can stand anywhere between those about this one."""
    others = [rule({"*": "="}, REJECT, {"node": f"other-{number}"}) for number in range(3)]
    mixed = list(rules)
    for other in others:
        mixed.insert(random.randint(0, len(mixed)), other)
    plain = evaluate([parse_policy({"rules": rules})], query, NOW)
    assert evaluate([parse_policy({"rules": mixed})], query, NOW).reason is plain.reason


@given(_RULES, _QUERY)
def test_equal_sign_never_means_root(rules: list[Any], query: Query) -> None:
    """Whatever the policy, root is only reached by a rule that writes a name of root's."""
    query = dataclasses.replace(query, uid=0)
    outcome = evaluate([parse_policy({"rules": rules})], query, NOW)
    if outcome.reason is Reason.ACCEPTED:
        assert outcome.rule is not None
        assert outcome.user in outcome.rule.users.values()
