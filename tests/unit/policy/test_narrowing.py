"""What a host takes away: each switch, the stricter of two answers, and never anything that was not there."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pam_tailscale.model import Account, Decision, Reason, Verdict, Withheld
from pam_tailscale.policy import document
from pam_tailscale.policy.decision import decide
from pam_tailscale.policy.facts import Facts, Limits, Problem
from pam_tailscale.policy.grants import compile_grants
from pam_tailscale.policy.narrow import Narrowing
from pam_tailscale.policy.onepeer import PeerCompiler, node_of
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Policy
from tests.support.facts import (
    ACCEPT,
    ALICE,
    CHECK,
    LIMITS,
    NOW,
    PEER,
    SERVER,
    TAGGED,
    facts,
    knowledge,
    policy,
    request,
    rule,
)
from tests.support.narrowing import narrow

ROOT = Account("root", 0, "/bin/bash", shell_usable=True)
GIT = Account("git", 104, "/bin/sh", shell_usable=True)
BY_OIDC = dataclasses.replace(LIMITS, check_period=7200.0)
CHECKED = {"action": "check", "src": ["autogroup:member"], "users": ["alice"]}
ACCEPTED = {"action": "accept", "src": ["autogroup:member"], "users": ["alice"]}


def decision(
    narrowing: Narrowing | Problem | None, *rules: object, limits: Limits = LIMITS, **changes: Any
) -> Decision:
    """About alice, whom a rule accepts unless other rules are given."""
    found = facts(changes.pop("known", knowledge(*rules)), **changes)
    user = found.account.name if found.account else "alice"
    return decide(request(user), found, dataclasses.replace(limits, narrowing=narrowing), NOW, "id")


def test_no_file_and_an_empty_one_take_nothing_away() -> None:
    """The very same decision."""
    assert decision(None) == decision(narrow())
    assert decision(None).allowed


def test_damage_lets_nobody_in() -> None:
    """With a reason of its own, and what to do."""
    found = decision(Problem(Reason.NARROW_DAMAGED, "narrow.hujson:1:1: mend it"))
    assert (found.verdict, found.reason, found.detail) == (
        Verdict.DENY,
        Reason.NARROW_DAMAGED,
        "narrow.hujson:1:1: mend it",
    )


@pytest.mark.parametrize(
    ("src", "users", "reason"),
    [
        ("alice@example.com", ["alice"], Reason.ACCEPTED),
        ("user:*@example.com", ["localpart:*@example.com"], Reason.ACCEPTED),
        ("autogroup:member", ["autogroup:nonroot"], Reason.ACCEPTED),
        ("alice@example.com", ["bob"], Reason.NARROWED),
        ("bob@example.com", ["alice"], Reason.NARROWED),
        ("autogroup:tagged", ["alice"], Reason.NARROWED),
        ("tag:ci", ["alice"], Reason.NARROWED),
    ],
)
def test_a_login_needs_both(src: str, users: list[str], reason: Reason) -> None:
    """The policy's rule and an entry here."""
    assert decision(narrow(ssh=[{"action": "accept", "src": [src], "users": users}])).reason is reason


def test_an_empty_ssh_section_lets_nobody_in() -> None:
    """It is there, and has no entry."""
    found = decision(narrow(ssh=[]))
    assert found.reason is Reason.NARROWED
    assert "rule 1 of netmap lets in, but" in found.detail
    assert (found.rule, found.source) == (1, "netmap")


def test_an_entry_here_alone_lets_nobody_in() -> None:
    """What the policy does not give cannot be taken."""
    everybody = narrow(ssh=[{**ACCEPTED, "users": ["autogroup:nonroot", "root"]}])
    assert decision(everybody, rule({"bob": "="})).reason is Reason.USER_NOT_IN_RULE
    assert decision(everybody, rule({"*": "="}), account=ROOT).reason is Reason.USER_NOT_IN_RULE


def test_a_tagged_node_by_its_tags() -> None:
    """As in the policy file; no tag needs an owner here."""
    entry = {"action": "accept", "src": ["tag:ci"], "users": ["alice"]}
    assert decision(narrow(ssh=[entry]), peer=TAGGED).allowed
    assert decision(narrow(ssh=[CHECKED, {**CHECKED, "src": ["tag:ci"]}]), peer=TAGGED).reason is Reason.CHECK_TAGGED


def test_a_node_of_another_tailnet_is_no_member() -> None:
    """Whatever its login name."""
    assert decision(narrow(ssh=[ACCEPTED]), shared=True).reason is Reason.NARROWED
    assert decision(narrow(), shared=True).allowed


def grant(action: str, **more: Any) -> Policy:
    """A rule of the source grants."""
    return compile_grants(
        "acme.example/cap/ssh", [{"users": ["alice"], "action": action, **more}], node_of(PEER, shared=False)
    )


NETMAP_ACCEPT = policy(rule({"alice": "="}))
NETMAP_CHECK = policy(rule({"alice": "="}, CHECK))


@pytest.mark.parametrize(
    ("rules", "here", "limits", "period"),
    [
        (grant("accept"), {"checkPeriod": "1h"}, BY_OIDC, 3600.0),
        (grant("accept"), {}, BY_OIDC, None),
        (grant("check", checkPeriod="30m"), {"checkPeriod": "1h"}, BY_OIDC, 1800.0),
        (grant("check", checkPeriod="2h"), {"checkPeriod": "1h"}, BY_OIDC, 3600.0),
        (grant("check", checkPeriod="2h"), {"checkPeriod": "always"}, BY_OIDC, 0.0),
        (grant("check", checkPeriod="always"), {"checkPeriod": "1h"}, BY_OIDC, 0.0),
        (grant("check", checkPeriod="30m"), {}, BY_OIDC, 1800.0),
        (NETMAP_CHECK, {"checkPeriod": "1h"}, BY_OIDC, 3600.0),
        (NETMAP_CHECK, {"checkPeriod": "3h"}, BY_OIDC, 7200.0),
        (NETMAP_CHECK, {"checkPeriod": "3h"}, dataclasses.replace(LIMITS, check_period=0.0), 0.0),
        (NETMAP_CHECK, {}, LIMITS, None),
        (NETMAP_ACCEPT, {"checkPeriod": "3h"}, BY_OIDC, 10800.0),
    ],
)
def test_the_stricter_of_two_and_the_shorter_period(
    rules: Policy, here: dict[str, str], limits: Limits, period: float | None
) -> None:
    """A check on either side is a check; always is the shortest."""
    found = decision(narrow(ssh=[CHECKED | here]), limits=limits, known=knowledge(policies=(rules,)))
    assert found.reason is Reason.CHECK_NEEDED
    assert found.demand is not None
    assert found.demand.period == period


def test_a_check_of_the_policy_stays_one() -> None:
    """An entry here that accepts does not spare it."""
    found = decision(narrow(ssh=[ACCEPTED]), rule({"alice": "="}, CHECK))
    assert found.reason is Reason.CHECK_NEEDED


@pytest.mark.parametrize(
    ("rules", "here"),
    [
        (NETMAP_CHECK, {"checkPeriod": "1h"}),
        (NETMAP_ACCEPT, {}),
        (NETMAP_ACCEPT, {"checkPeriod": "1h"}),
        (grant("check"), {}),
    ],
)
def test_what_the_control_plane_cannot_check_is_refused(rules: Policy, here: dict[str, str]) -> None:
    """It knows only its own rules, and remembers as long as they say."""
    found = decision(narrow(ssh=[CHECKED | here]), known=knowledge(policies=(rules,)))
    assert found.reason is Reason.ATTRIBUTE_NOT_ENFORCED
    assert 'by = "oidc"' in found.detail
    assert found.demand is None


def test_nodes_that_route_for_others() -> None:
    """Are let in unless they are not to be."""
    routes = ("10.0.0.0/24",)
    assert decision(narrow(), routes=routes).allowed
    found = decision(narrow(allowRoutingNodes=False), routes=routes)
    assert found.reason is Reason.NARROWED
    assert "10.0.0.0/24" in found.detail
    assert decision(narrow(allowRoutingNodes=False)).allowed


@pytest.mark.parametrize(("account", "allowed"), [(GIT, False), (ALICE, True), (ROOT, True)])
def test_system_accounts(account: Account, allowed: bool) -> None:  # noqa: FBT001 (a column)
    """By their exact name, or not even so; root is none."""
    named = rule({account.name: account.name})
    assert decision(narrow(), named, account=account).allowed
    assert decision(narrow(allowSystemAccounts=False), named, account=account).allowed is allowed


def test_no_switch_opens_system_accounts() -> None:
    """What `*` alone names stays closed, whatever stands here."""
    for narrowing in (narrow(), narrow(allowSystemAccounts=True)):
        assert decision(narrowing, rule({"*": "="}), account=GIT).reason is Reason.SYSTEM_ACCOUNT


@pytest.mark.parametrize(
    ("accounts", "account", "allowed"),
    [
        ({"user:*@example.com": ["localpart:*@example.com"]}, ALICE, True),
        ({"user:*@example.com": ["localpart:*@example.com"]}, ROOT, False),
        ({"user:*@example.com": ["localpart:*@example.org"]}, ALICE, False),
        ({"user:*@example.org": ["bob"]}, ALICE, True),
        ({"alice@example.com": ["bob"]}, ALICE, False),
        ({"ALICE@example.com": ["bob"]}, ALICE, False),
        ({"alice@example.com": ["root"], "user:*@example.com": ["alice"]}, ROOT, True),
        ({"alice@example.com": ["root"], "user:*@example.com": ["alice"]}, ALICE, False),
        ({"alice@example.com": ["autogroup:nonroot"]}, ALICE, True),
        ({"alice@example.com": ["autogroup:nonroot"]}, ROOT, False),
    ],
)
def test_accounts_a_login_may_use(accounts: dict[str, list[str]], account: Account, allowed: bool) -> None:  # noqa: FBT001
    """Only those of its line."""
    found = decision(narrow(accounts=accounts), rule({account.name: account.name}), account=account)
    assert found.allowed is allowed
    assert found.reason in (Reason.ACCEPTED, Reason.NARROWED)


def test_accounts_are_of_people() -> None:
    """The login that whois has for all tagged nodes is nobody's."""
    assert decision(
        narrow(accounts={"user:*@example.com": ["x"]}), peer=dataclasses.replace(PEER, tags=("tag:ci",))
    ).allowed


@pytest.mark.parametrize(
    ("switch", "withheld"),
    [
        ("allowAgentForwarding", Withheld(agent_forwarding=True)),
        ("allowLocalPortForwarding", Withheld(local_forwarding=True)),
        ("allowRemotePortForwarding", Withheld(remote_forwarding=True)),
    ],
)
@pytest.mark.parametrize("action", [ACCEPT, CHECK])
def test_forwarding_is_taken_away(switch: str, withheld: Withheld, action: dict[str, Any]) -> None:
    """That kind alone, of a check, too; what the rule withholds stays withheld."""
    found = decision(narrow(**{switch: False}), rule({"alice": "="}, action), limits=BY_OIDC)
    assert found.reason in (Reason.ACCEPTED, Reason.CHECK_NEEDED)
    assert found.withheld == withheld
    bare = decision(narrow(**{switch: False}), rule({"alice": "="}, {"accept": True}))
    assert bare.withheld == Withheld(agent_forwarding=True, local_forwarding=True, remote_forwarding=True)


# For any policy, narrowing and login


_USERS = st.lists(
    st.sampled_from(["alice", "autogroup:nonroot", "localpart:*@example.com", "root", "git"]), min_size=1, max_size=3
)
_SOURCES = st.lists(
    st.sampled_from(["alice@example.com", "autogroup:member", "autogroup:tagged", "tag:ci", "user:*@example.com"]),
    min_size=1,
    max_size=2,
)
_PERIODS = st.fixed_dictionaries({}, optional={"checkPeriod": st.sampled_from(["always", "30m", "3h", "168h"])})


def _entries(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    entry = st.fixed_dictionaries({"action": st.sampled_from(["accept", "check"]), "users": _USERS, **more})
    whole = st.tuples(entry, _PERIODS).map(lambda pair: pair[0] | (pair[1] if pair[0]["action"] == "check" else {}))
    return st.lists(whole, max_size=3)


def _netmap(draw: st.DrawFn) -> Policy:
    users = st.dictionaries(st.sampled_from(["*", "root", "alice", "git"]), st.sampled_from(["=", "", "root", "alice"]))
    flags = st.fixed_dictionaries({}, optional={name: st.booleans() for name in ACCEPT if name != "accept"})
    actions = st.sampled_from([{"accept": True}, {"accept": True}, CHECK, {"reject": True}, {}])
    rules = st.lists(st.tuples(users, actions, flags), max_size=3)
    return policy(*(rule(names, action | more, {"any": True}) for names, action, more in draw(rules)))


def _granted(draw: st.DrawFn, peer: Node) -> Policy:
    limits = {"allowAgentForwarding": st.booleans(), "pty": st.booleans(), "command": st.just("/bin/true")}
    items = draw(
        st.lists(st.fixed_dictionaries({"users": _USERS, "action": st.just("accept")}, optional=limits), max_size=2)
    )
    checks = draw(st.lists(st.tuples(st.fixed_dictionaries({"users": _USERS}), _PERIODS), max_size=2))
    return compile_grants("x", [*items, *({**users, **period, "action": "check"} for users, period in checks)], peer)


def _file(draw: st.DrawFn, peer: Node) -> Policy:
    entries = draw(_entries(src=_SOURCES, dst=st.just(["tag:server"])))
    text = {"tagOwners": {"tag:server": [], "tag:ci": []}, "ssh": entries}
    made = PeerCompiler(document.read(json.dumps(text).encode(), "policy"))
    return made.rules_for(Node("server", (SERVER,), ("tag:server",)), peer)


@st.composite
def logins(draw: st.DrawFn) -> tuple[Facts, Limits]:
    """Any login on a host that is in order, by any rules of any sources."""
    peer, shared = draw(st.sampled_from([PEER, TAGGED])), draw(st.booleans())
    node = node_of(peer, shared=shared)
    sources = draw(st.permutations([_netmap(draw), _granted(draw, node), _file(draw, node)]))[: draw(st.integers(1, 3))]
    found = facts(
        knowledge(policies=tuple(sources)),
        peer=peer,
        account=draw(st.sampled_from([ALICE, ALICE, ALICE, ROOT, GIT])),
        shared=shared,
        routes=draw(st.sampled_from([(), ("0.0.0.0/0",)])),
    )
    return found, dataclasses.replace(LIMITS, check_period=draw(st.sampled_from([3600.0, 7200.0, 0.0, None])))


def narrowings() -> st.SearchStrategy[Narrowing]:
    """Any file."""
    switches = ["RoutingNodes", "SystemAccounts", "AgentForwarding", "LocalPortForwarding", "RemotePortForwarding"]
    lines = st.dictionaries(st.sampled_from(["alice@example.com", "user:*@example.com"]), _USERS)
    parts: dict[str, st.SearchStrategy[Any]] = {f"allow{name}": st.booleans() for name in switches}
    parts |= {"ssh": _entries(src=_SOURCES), "accounts": lines}
    return st.fixed_dictionaries({}, optional=parts).map(lambda parts: narrow(**parts))


def _seconds(found: Decision, limits: Limits) -> float:
    """For how long an authentication counts; without a check, however long ago it was."""
    if found.demand is None:
        return float("inf")
    period = limits.check_period if found.demand.period is None else found.demand.period
    return float("inf") if period is None else period


@given(logins(), narrowings())
@settings(max_examples=600, deadline=None)
def test_narrowing_never_adds(login: tuple[Facts, Limits], narrowing: Narrowing) -> None:
    """Whom it lets in, in whichever way, got in without it, in that way or an easier one, and with no less."""
    found, limits = login
    assert found.account is not None
    asked = request(found.account.name)
    before = decide(asked, found, limits, NOW, "id")
    after = decide(asked, found, dataclasses.replace(limits, narrowing=narrowing), NOW, "id")
    if after.verdict is Verdict.DENY:
        return
    assert before.verdict in ((Verdict.ALLOW,) if after.verdict is Verdict.ALLOW else (Verdict.ALLOW, Verdict.CHECK))
    assert (after.rule, after.source) == (before.rule, before.source)
    assert _seconds(after, limits) <= _seconds(before, limits)
    for name in ("agent_forwarding", "local_forwarding", "remote_forwarding", "pty"):
        assert getattr(after.withheld, name) >= getattr(before.withheld, name)
    assert after.withheld.command == before.withheld.command


def test_what_is_narrowed_says_so() -> None:
    """Or the administrator would look for the check, or for what is withheld, in the rule."""
    words = "as narrowed by this host's narrow.hujson"
    assert words in decision(narrow(ssh=[CHECKED]), limits=BY_OIDC).detail
    assert words in decision(narrow(ssh=[CHECKED])).detail
    assert words in decision(narrow(allowAgentForwarding=False)).detail
    for takes_nothing in (narrow(ssh=[ACCEPTED]), narrow(allowAgentForwarding=True)):
        assert words not in decision(takes_nothing).detail
