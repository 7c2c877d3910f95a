"""The decision: each step has its reason, the first that fails answers, and no bad fact lets through."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.model import Account, Decision, Demand, IPAddress, Mode, Reason, Request, Verdict, parse_address
from pam_tailscale.policy.decision import decide, decide_with_trace
from pam_tailscale.policy.facts import Facts, Limits, Problem, RouteBack
from pam_tailscale.policy.words import person_text
from tests.support.facts import (
    ACCEPT,
    ALICE,
    CHECK,
    CONNECTION,
    INTERFACE,
    LIMITS,
    NOW,
    PEER,
    PIN,
    REJECT,
    SERVER,
    TAGGED,
    facts,
    knowledge,
    request,
    rule,
)
from tests.support.narrowing import narrow


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A login: all of it in order."""

    request: Request = dataclasses.field(default_factory=request)
    facts: Facts = dataclasses.field(default_factory=facts)
    limits: Limits = LIMITS

    def decide(self) -> Decision:
        """The decision."""
        return decide(self.request, self.facts, self.limits, NOW, "ab12cd34")


Change = Callable[[Case], Case]


def known(**changes: Any) -> Change:
    """What tailscaled says is another."""
    return lambda case: dataclasses.replace(
        case, facts=dataclasses.replace(case.facts, knowledge=dataclasses.replace(case.facts.knowledge, **changes))
    )


def found(**changes: Any) -> Change:
    """Another fact is."""
    return lambda case: dataclasses.replace(case, facts=dataclasses.replace(case.facts, **changes))


def asked(user: str = "alice", **changes: Any) -> Change:
    """The request is."""
    return lambda case: dataclasses.replace(case, request=request(user, **changes))


def bounded(**changes: Any) -> Change:
    """The host's own limits are."""
    return lambda case: dataclasses.replace(case, limits=dataclasses.replace(case.limits, **changes))


def ruled(*rules: object) -> Change:
    """The policy is."""
    return known(policies=knowledge(*rules).policies)


def account(**changes: Any) -> Change:
    """The account is."""
    return found(account=dataclasses.replace(ALICE, **changes))


def peer(**changes: Any) -> Change:
    """The node behind the address is."""
    return found(peer=dataclasses.replace(PEER, **changes))


def problem(reason: Reason) -> Problem:
    """Something that could not be found out."""
    return Problem(reason, f"detail of {reason.value}")


def client(text: str) -> Change:
    """Another address connects, which the peer has too."""

    def change(case: Case) -> Case:
        address = parse_address(text)
        return peer(addresses=(address,))(asked(client=address)(case))

    return change


ELSEWHERE = parse_address("100.64.9.9")

# One fact turned bad, in the order of the steps: every row goes before all rows of later steps.
BAD: list[tuple[float, str, Change, Reason]] = [
    (0, "mode", bounded(mode=Mode.OBSERVE), Reason.MODE_MISMATCH),
    (0.5, "narrowing damaged", bounded(narrowing=problem(Reason.NARROW_DAMAGED)), Reason.NARROW_DAMAGED),
    (1, "agent starting", known(problem=problem(Reason.AGENT_STARTING)), Reason.AGENT_STARTING),
    (1, "unreachable", known(problem=problem(Reason.TAILSCALED_UNREACHABLE)), Reason.TAILSCALED_UNREACHABLE),
    (1, "not root", known(problem=problem(Reason.TAILSCALED_NOT_ROOT)), Reason.TAILSCALED_NOT_ROOT),
    (2, "stopped", known(backend_state="Stopped"), Reason.TAILSCALED_NOT_RUNNING),
    (2, "no state", known(backend_state=""), Reason.TAILSCALED_NOT_RUNNING),
    (2, "almost running", known(backend_state="running"), Reason.TAILSCALED_NOT_RUNNING),
    (3, "no pin", found(pin=problem(Reason.NOT_PINNED)), Reason.NOT_PINNED),
    (3, "damaged pin", found(pin=problem(Reason.PIN_DAMAGED)), Reason.PIN_DAMAGED),
    (3, "other control plane", known(control_url="https://control.example/"), Reason.PIN_MISMATCH),
    (3, "other node", known(node_id="n2CNTRL"), Reason.PIN_MISMATCH),
    (3, "no node", known(node_id=""), Reason.PIN_MISMATCH),
    (3, "other tailnet", known(tailnet_id="tOTHER"), Reason.PIN_MISMATCH),
    (3, "no tailnet", known(tailnet_id=""), Reason.PIN_MISMATCH),
    (3, "pinned without one", found(pin=dataclasses.replace(PIN, tailnet_id="")), Reason.PIN_MISMATCH),
    (3.5, "operator", known(operator="bob"), Reason.OPERATOR),
    (4, "cached", known(cached=True), Reason.NETMAP_CACHED),
    (5, "stale", found(age=60.001), Reason.KNOWLEDGE_STALE),
    (6, "no policy", known(policy_problem=problem(Reason.POLICY_UNAVAILABLE)), Reason.POLICY_UNAVAILABLE),
    (6, "policy of another shape", known(policy_problem=problem(Reason.POLICY_SHAPE)), Reason.POLICY_SHAPE),
    (7, "digits", asked("1001"), Reason.ACCOUNT_NUMERIC),
    (7, "zero", asked("0"), Reason.ACCOUNT_NUMERIC),
    (7, "zeros", asked("00"), Reason.ACCOUNT_NUMERIC),
    (7, "other digits", asked("\u0661\u0662"), Reason.ACCOUNT_NUMERIC),
    (8, "no account", found(account=None), Reason.ACCOUNT_UNKNOWN),
    (9, "alias", account(name="alice2"), Reason.ACCOUNT_ALIAS),
    (9, "case folded", asked("ALICE"), Reason.ACCOUNT_ALIAS),
    (9, "domain", asked("DOM\\alice"), Reason.ACCOUNT_ALIAS),
    (9, "trailing byte", asked("alice "), Reason.ACCOUNT_ALIAS),
    (9, "leading blank", asked(" 0"), Reason.ACCOUNT_ALIAS),
    (9, "sign", asked("+0"), Reason.ACCOUNT_ALIAS),
    (9, "empty", asked(""), Reason.ACCOUNT_ALIAS),
    (9, "star", asked("*"), Reason.ACCOUNT_ALIAS),
    (9, "not UTF-8", asked("alice\udcff"), Reason.ACCOUNT_ALIAS),
    (10, "shell", account(shell_usable=False), Reason.ACCOUNT_SHELL),
    (12, "server elsewhere", asked(server=ELSEWHERE), Reason.SERVER_NOT_SELF),
    (12, "server on the LAN", asked(server=parse_address("192.0.2.1")), Reason.SERVER_NOT_SELF),
    (12, "no own addresses", known(self_addresses=frozenset()), Reason.SERVER_NOT_SELF),
    (13, "client on the LAN", client("192.0.2.7"), Reason.CLIENT_NOT_TAILNET),
    (13, "client on loopback", client("127.0.0.1"), Reason.CLIENT_NOT_TAILNET),
    (13, "client beside the range", client("100.128.0.1"), Reason.CLIENT_NOT_TAILNET),
    (14, "client is this host", client(str(SERVER)), Reason.CLIENT_IS_LOCAL),
    (14, "client is this host, v6", client("fd7a:115c:a1e0::1"), Reason.CLIENT_IS_LOCAL),
    (15, "no route", found(route=problem(Reason.ROUTE_NOT_TAILNET)), Reason.ROUTE_NOT_TAILNET),
    (16, "local route", found(route=RouteBack(local=True, interface=INTERFACE)), Reason.CLIENT_IS_LOCAL),
    (17, "another interface", found(route=RouteBack(local=False, interface=2)), Reason.ROUTE_NOT_TAILNET),
    (17, "no interface", known(interface=None), Reason.ROUTE_NOT_TAILNET),
    (17, "came in elsewhere", asked(interface=2), Reason.ARRIVED_ELSEWHERE),
    (17, "came in by an interface nobody knows", asked(interface=0), Reason.ARRIVED_ELSEWHERE),
    (18, "whois fails", found(peer=problem(Reason.TAILSCALED_UNREACHABLE)), Reason.TAILSCALED_UNREACHABLE),
    (18, "state changes", found(peer=problem(Reason.STATE_CHANGED)), Reason.STATE_CHANGED),
    (18, "nobody", found(peer=None), Reason.PEER_UNKNOWN),
    (19, "another peer's address", peer(addresses=(ELSEWHERE,)), Reason.PEER_ADDRESS_MISMATCH),
    (19, "a peer without addresses", peer(addresses=()), Reason.PEER_ADDRESS_MISMATCH),
    (20, "this node", peer(stable_id="n1CNTRL"), Reason.PEER_IS_SELF),
    (21, "expired", peer(expired=True), Reason.PEER_EXPIRED),
    (21, "expired this moment", peer(key_expiry=NOW), Reason.PEER_EXPIRED),
    (21, "expired long ago", peer(key_expiry=1.0), Reason.PEER_EXPIRED),
    (22, "empty policy", known(policies=()), Reason.NO_RULE),
    (22, "other peers", ruled(rule({"alice": "="}, ACCEPT, {"node": "other"})), Reason.NO_RULE),
    (22, "other users", ruled(rule({"bob": "="})), Reason.USER_NOT_IN_RULE),
    (22, "reject", ruled(rule({}, REJECT)), Reason.RULE_REJECTS),
    (22, "malformed", ruled(rule({"alice": "="}, {})), Reason.RULE_MALFORMED),
    (22, "unknown field", ruled(rule({"alice": "="}, newField=1)), Reason.POLICY_SHAPE),
    (22, "mapped", ruled(rule({"alice": "deploy"})), Reason.RULE_MAPS_USER),
    (22, "mapped to root", ruled(rule({"*": "root"})), Reason.RULE_MAPS_USER),
    (22, "duration", ruled(rule({"*": "="}, ACCEPT | {"sessionDuration": 1})), Reason.ATTRIBUTE_NOT_ENFORCED),
    (23, "narrowed", bounded(narrowing=narrow(ssh=[])), Reason.NARROWED),
]
IDS = [name for _, name, _, _ in BAD]


def test_all_in_order() -> None:
    """The only way in."""
    decision = Case().decide()
    assert decision == Decision(
        Verdict.ALLOW, Reason.ACCEPTED, "ab12cd34", rule=1, source="netmap", peer=PEER, message=""
    )


@pytest.mark.parametrize("action", [{"accept": True}, ACCEPT | {"allowAgentForwarding": False}], ids=str)
def test_a_rule_with_limits_lets_in_and_says_which(action: dict[str, bool]) -> None:
    """What is withheld goes with the decision: whether the method can carry it is asked last."""
    decision = ruled(rule({"*": "="}, action))(Case()).decide()
    assert decision.allowed
    assert decision.withheld.agent_forwarding
    assert decision.withheld.local_forwarding is ("allowAgentForwarding" not in action)
    assert "allowAgentForwarding withheld" in decision.detail


@pytest.mark.parametrize(("step", "name", "turn_bad", "reason"), BAD, ids=IDS)
def test_each_fact_turned_bad_alone_denies(step: float, name: str, turn_bad: Change, reason: Reason) -> None:  # noqa: ARG001 (the table's columns)
    """With the reason of its step, and words for the administrator."""
    decision = turn_bad(Case()).decide()
    assert (decision.verdict, decision.reason) == (Verdict.DENY, reason)
    assert decision.detail
    assert not decision.allowed


def test_an_earlier_failing_step_wins() -> None:
    """For every two facts that are bad together. Changes of the same record undo each other and are left out."""
    checked = 0
    for (one, _, first, reason), (two, _, second, _) in itertools.combinations(BAD, 2):
        both = first(second(Case()))
        if one == two or both == first(Case()) or second(both) != both:
            continue
        assert both.decide().reason is reason
        checked += 1
    assert checked > 500


def test_every_reason_of_a_decision_has_a_row() -> None:
    """But those that stand beside: what no login on these facts can come to is listed here."""
    elsewhere = {
        Reason.ACCEPTED,
        Reason.CHECK_NEEDED,  # below: no refusal, but nobody is let in by it
        Reason.CHECK_TAGGED,
        Reason.CHECK_PASSED,  # the agent's, see test_logins.py
        Reason.CHECK_REJECTED,
        Reason.CHECK_WRONG_PERSON,
        Reason.CHECK_EXPIRED,
        Reason.CHECK_UNAVAILABLE,
        Reason.CHECK_BUSY,
        Reason.ROOT_NOT_ALLOWED,  # below, with the accounts it is about
        Reason.SYSTEM_ACCOUNT,
        Reason.NOLOGIN_ACCOUNT,
        Reason.METHOD_CANNOT_LIMIT,  # the agent's, see test_withholding.py
        Reason.SECOND_METHOD,  # the agent's, see test_handlers.py
        Reason.INTERNAL_ERROR,
    }
    assert {reason for *_, reason in BAD} == set(Reason) - elsewhere


ROOT = Account("root", 0, "/bin/bash", shell_usable=True)
TOOR = Account("toor", 0, "/bin/bash", shell_usable=True)
GIT = Account("git", 104, "/bin/sh", shell_usable=True)
NEWS = Account("news", 105, "/usr/sbin/nologin", shell_usable=True)
NO_ROOT = dataclasses.replace(LIMITS, allow_root=False)


@pytest.mark.parametrize(
    ("who", "users", "limits", "reason"),
    [
        (ROOT, {"root": "root"}, LIMITS, Reason.ACCEPTED),
        (ROOT, {"*": "="}, LIMITS, Reason.USER_NOT_IN_RULE),
        (ROOT, {"root": "="}, LIMITS, Reason.USER_NOT_IN_RULE),
        (ROOT, {"root": "root"}, NO_ROOT, Reason.ROOT_NOT_ALLOWED),
        (TOOR, {"toor": "toor"}, NO_ROOT, Reason.ROOT_NOT_ALLOWED),
        (dataclasses.replace(ROOT, uid=1), {"root": "root"}, NO_ROOT, Reason.ROOT_NOT_ALLOWED),
        (TOOR, {"toor": "toor"}, LIMITS, Reason.ACCEPTED),
        (TOOR, {"*": "toor"}, LIMITS, Reason.SYSTEM_ACCOUNT),
        (TOOR, {"*": "="}, LIMITS, Reason.USER_NOT_IN_RULE),
        (TOOR, {"toor": "="}, LIMITS, Reason.USER_NOT_IN_RULE),
        (GIT, {"*": "="}, LIMITS, Reason.SYSTEM_ACCOUNT),
        (GIT, {"git": "="}, LIMITS, Reason.ACCEPTED),
        (NEWS, {"news": "news"}, LIMITS, Reason.NOLOGIN_ACCOUNT),
    ],
)
def test_accounts(who: Account, users: dict[str, str], limits: Limits, reason: Reason) -> None:
    """Root and system accounts, by their name and by `*`."""
    case = Case(request(who.name), facts(knowledge(rule(users)), account=who), limits)
    assert case.decide().reason is reason


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (asked(mode=Mode.OBSERVE), "an observing module with an enforcing agent"),
        (found(age=60.0), "knowledge as old as it may be"),
        (peer(key_expiry=NOW + 0.001), "a key that is valid for another moment"),
        (found(peer=TAGGED), "a tagged node"),
        (known(warnings=("something",)), "a warning"),
        (lambda case: bounded(trust_operator=True)(known(operator="bob")(case)), "an operator who may be root"),
    ],
)
def test_what_is_still_in_order(change: Change, what: str) -> None:
    """The other side of each bound."""
    assert change(Case()).decide().allowed, what


def test_both_v6() -> None:
    """A login over IPv6 is one as any other."""
    v6: IPAddress = parse_address("fd7a:115c:a1e0::7")
    case = asked(client=v6, server=parse_address("fd7a:115c:a1e0::1"))(Case())
    case = ruled(rule({"alice": "="}, ACCEPT, {"nodeIP": str(v6)}))(case)
    assert case.decide().allowed


def test_a_headscale_pin_has_no_tailnet() -> None:
    """Where the control plane has no id of the tailnet, none is what must be seen."""
    case = found(pin=dataclasses.replace(PIN, tailnet_id=""))(known(tailnet_id="")(Case()))
    assert case.decide().allowed


def test_the_rule_and_the_peer_are_named_also_on_a_refusal() -> None:
    """The journal says which rule refused whom."""
    decision = ruled(rule({"bob": "="}), rule({"alice": "deploy"}))(Case()).decide()
    assert (decision.rule, decision.source, decision.peer, decision.mapped_user) == (2, "netmap", PEER, "deploy")


def test_the_message_is_the_rules() -> None:
    """And only an accepted login gets it."""
    assert ruled(rule({"alice": "="}, ACCEPT | {"message": "hi"}))(Case()).decide().message == "hi"
    assert ruled(rule({"alice": "="}, REJECT | {"message": "hi"}))(Case()).decide().message == ""


def test_a_trace_comes_also_where_the_policy_was_not_asked() -> None:
    """An explanation shows the rules for a login that failed before them."""
    case = found(account=None)(Case())
    decision, outcome = decide_with_trace(case.request, case.facts, case.limits, NOW, "x")
    assert decision.reason is Reason.ACCOUNT_UNKNOWN
    assert outcome is not None
    assert len(outcome.trace) == 1


def test_without_a_peer_there_is_no_trace() -> None:
    """There is nobody the rules could be about."""
    case = found(peer=None)(Case())
    assert decide_with_trace(case.request, case.facts, case.limits, NOW, "x")[1] is None


def test_a_check_is_demanded_of_whom_all_else_lets_in() -> None:
    """It says of whom, as which account, over which connection, and whom the rule asks."""
    decision = ruled(rule({"*": "="}, CHECK | {"message": "hello"}))(Case()).decide()
    assert (decision.verdict, decision.reason, decision.allowed) == (Verdict.CHECK, Reason.CHECK_NEEDED, False)
    assert (decision.rule, decision.source, decision.peer, decision.message) == (1, "netmap", PEER, "")
    assert decision.detail
    assert decision.demand == Demand(PEER, "alice", CONNECTION, CHECK["holdAndDelegate"], period=None)


@pytest.mark.parametrize(("step", "name", "turn_bad", "reason"), BAD, ids=IDS)
def test_strangers_and_unknown_names_create_no_checks(step: float, name: str, turn_bad: Change, reason: Reason) -> None:  # noqa: ARG001 (the table's columns)
    """Whatever is wrong before the check comes first, and demands nothing."""
    decision = turn_bad(ruled(rule({"*": "="}, CHECK))(Case())).decide()
    assert (decision.verdict, decision.demand) == (Verdict.DENY, None)


def test_a_tagged_node_has_no_person_to_check() -> None:
    """Whoever is at its keyboard could approve for anybody."""
    decision = found(peer=TAGGED)(ruled(rule({"*": "="}, CHECK))(Case())).decide()
    assert (decision.verdict, decision.reason, decision.demand) == (Verdict.DENY, Reason.CHECK_TAGGED, None)
    assert "accept rule" in decision.detail


POLICIES: dict[str, list[dict[str, Any]]] = {
    "maps everybody": [rule({"*": "deploy"})],
    "maps some": [rule({"alice": "deploy"}), rule({"*": "="}, REJECT, {"node": "other"})],
    "checks and maps": [rule({"*": "deploy"}, CHECK)],
    "is about others": [rule({"bob": "="})],
    "rejects": [rule({}, REJECT)],
    "is about nobody": [rule({"*": "="}, ACCEPT, {"node": "other"})],
    "is not understood": [rule({"*": "="}, newField=1)],
    "demands too much": [rule({"*": "="}, ACCEPT | {"recorders": ["100.64.0.9:80"]})],
}
TROUBLES: dict[str, Change] = {
    "none": lambda case: case,
    "whois fails": found(peer=problem(Reason.TAILSCALED_UNREACHABLE)),
    "state changes": found(peer=problem(Reason.STATE_CHANGED), route=problem(Reason.STATE_CHANGED)),
    "nobody": found(peer=None),
    "expired": peer(expired=True),
    "cached": known(cached=True),
    "agent starting": known(problem=problem(Reason.AGENT_STARTING)),
    "observe": bounded(mode=Mode.OBSERVE),
    "client local": found(route=RouteBack(local=True, interface=INTERFACE)),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
@pytest.mark.parametrize("rules", POLICIES.values(), ids=POLICIES.keys())
def test_nobody_learns_which_accounts_exist(rules: list[dict[str, Any]], trouble: Change) -> None:
    """A refusal reads the same for an account that is missing, an alias, unusable, a system account, or in order."""
    case = trouble(ruled(*rules)(Case()))
    accounts = [
        ALICE,
        None,
        dataclasses.replace(ALICE, name="alice2"),
        dataclasses.replace(ALICE, shell_usable=False),
        dataclasses.replace(ALICE, uid=104),
        Account("alice", 1001, "/usr/sbin/nologin", shell_usable=True),
        Account("alice", 0, "/bin/sh", shell_usable=True),
    ]
    texts = {person_text(found(account=one)(case).decide(), "alice") for one in accounts}
    assert len(texts) == 1, texts


@given(
    st.sampled_from(BAD),
    st.lists(st.sampled_from(BAD), max_size=4),
)
def test_no_set_of_bad_facts_lets_through(last: Any, before: list[Any]) -> None:
    """Two wrongs make no right."""
    case = Case()
    for _, _, turn_bad, _ in before:
        case = turn_bad(case)
    assert not last[2](case).decide().allowed
