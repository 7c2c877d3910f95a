"""Rules in an app capability: the language of the ssh section, and nothing that is not understood."""

import dataclasses
from typing import Any

import pytest

from pam_tailscale.errors import PolicyShapeError
from pam_tailscale.model import Reason, parse_address
from pam_tailscale.policy.evaluate import Outcome, Query, evaluate
from pam_tailscale.policy.grants import RULES_MAX, compile_grants
from pam_tailscale.policy.onepeer import node_of
from pam_tailscale.policy.rules import Action, Policy
from pam_tailscale.policy.withholding import withheld
from tests.support.facts import CLIENT, NOW, PEER, TAGGED

CAPABILITY = "acme.example/cap/ssh"
NODE = node_of(PEER, shared=False)


def granted(*rules: Any) -> Policy:
    """What alice's laptop is granted."""
    return compile_grants(CAPABILITY, list(rules), NODE)


def grant(*users: str, action: str = "accept", **more: Any) -> dict[str, Any]:
    """One rule."""
    return {"users": list(users), "action": action, **more}


def asked(policy: Policy, user: str, uid: int | None = 1000) -> Outcome:
    """What becomes of a login."""
    return evaluate([policy], Query.of(PEER, CLIENT, user, uid), NOW)


def action_of(policy: Policy) -> Action:
    """Of the only rule."""
    (rule,) = policy.rules
    assert rule.action is not None
    return rule.action


@pytest.mark.parametrize("value", [None, []])
def test_without_rules_nobody_gets_in(value: object) -> None:
    """A capability that is not granted, null or empty is a policy all the same."""
    policy = compile_grants(CAPABILITY, value, NODE)
    assert (policy.source, policy.rules) == ("grants", ())


@pytest.mark.parametrize(
    ("users", "user", "uid", "reason"),
    [
        (("alice",), "alice", 1000, Reason.ACCEPTED),
        (("alice",), "bob", 1001, Reason.USER_NOT_IN_RULE),
        (("root",), "root", 0, Reason.ACCEPTED),
        (("autogroup:nonroot",), "bob", 1001, Reason.ACCEPTED),
        (("autogroup:nonroot",), "root", 0, Reason.USER_NOT_IN_RULE),
        (("autogroup:nonroot",), "toor", 0, Reason.USER_NOT_IN_RULE),
        (("localpart:*@example.com",), "alice", 1000, Reason.ACCEPTED),
        (("localpart:*@example.com",), "bob", 1001, Reason.USER_NOT_IN_RULE),
        (("localpart:*@example.org",), "alice", 1000, Reason.USER_NOT_IN_RULE),
    ],
)
def test_users_as_in_an_ssh_entry(users: tuple[str, ...], user: str, uid: int, reason: Reason) -> None:
    """Names, root, autogroup:nonroot, localpart."""
    assert asked(granted(grant(*users)), user, uid).reason is reason


def test_a_tagged_node_and_one_of_another_tailnet_have_no_localpart() -> None:
    """There is no person behind the first, and behind the second one of somebody else's."""
    value = [grant("localpart:*@example.com", "bob")]
    tagged = dataclasses.replace(PEER, tags=("tag:ci",))
    for node in (node_of(tagged, shared=False), node_of(TAGGED, shared=False), node_of(PEER, shared=True)):
        policy = compile_grants(CAPABILITY, value, node)
        assert asked(policy, "alice").reason is Reason.USER_NOT_IN_RULE
        assert asked(policy, "bob").reason is Reason.ACCEPTED


def test_rules_are_about_the_peer_whatever_its_address() -> None:
    """Whois was asked about it: the rules have no other principal."""
    query = Query.of(PEER, parse_address("100.64.9.9"), "alice", 1000)
    assert evaluate([granted(grant("alice"))], query, NOW).reason is Reason.ACCEPTED


def test_checks_come_first_and_keep_their_numbers() -> None:
    """The control plane's order is nobody's choice: a rule that accepts does not spare the check of another one."""
    policy = granted(grant("alice", "bob"), grant("alice", action="check", checkPeriod="1h"))
    alice, bob = asked(policy, "alice"), asked(policy, "bob", 1001)
    assert alice.rule is not None
    assert bob.rule is not None
    assert (alice.reason, alice.rule.number) == (Reason.CHECK_NEEDED, 2)
    assert (bob.reason, bob.rule.number) == (Reason.ACCEPTED, 1)


@pytest.mark.parametrize(
    ("period", "seconds"),
    [({}, 43200.0), ({"checkPeriod": "90m"}, 5400.0), ({"checkPeriod": "always"}, 0.0), ({"checkPeriod": "1s"}, 60.0)],
)
def test_periods_as_in_an_ssh_entry(period: dict[str, str], seconds: float) -> None:
    """12 h where it does not say, and never less than a minute but for always."""
    assert action_of(granted(grant("alice", action="check", **period))).period == seconds


@pytest.mark.parametrize("action", ["accept", "check"])
def test_an_absent_limit_limits_nothing(action: str) -> None:
    """As an ssh entry, which has none."""
    assert withheld(action_of(granted(grant("alice", action=action)))).nothing


@pytest.mark.parametrize("action", ["accept", "check"])
@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("allowAgentForwarding", False, "agent_forwarding"),
        ("allowLocalPortForwarding", False, "local_forwarding"),
        ("allowRemotePortForwarding", False, "remote_forwarding"),
        ("pty", False, "pty"),
        ("command", "/usr/bin/uptime", "command"),
    ],
)
def test_each_limit_is_withheld(action: str, field: str, value: object, name: str) -> None:
    """That one and no other, after a check, too."""
    found = withheld(action_of(granted(grant("alice", action=action, **{field: value}))))
    expected = {one: "" if one == "command" else False for one in found.__dataclass_fields__}
    assert {one: getattr(found, one) for one in found.__dataclass_fields__} == expected | {name: value or True}


def test_accept_env_is_kept() -> None:
    """For whoever looks at the rule."""
    assert granted(grant("alice", acceptEnv=["LC_*"])).rules[0].accept_env == ("LC_*",)


WRONG: dict[str, tuple[object, str]] = {
    "no list": ({}, "its value: a list is expected here"),
    "a text": ("x", "its value: a list is expected here"),
    "no object": ([1], "rule 1: an object is expected here"),
    "null": ([None], "rule 1: an object is expected here"),
    "no users": ([{"action": "accept"}], "rule 1: users must be specified"),
    "empty users": ([grant()], "rule 1, users: users must be specified"),
    "star": ([grant("*")], 'rule 1, users, item 1: user "*" is not valid'),
    "users of a wrong type": ([grant("alice") | {"users": "alice"}], "rule 1, users: a list is expected"),
    "a number as user": ([grant("alice") | {"users": [1]}], "rule 1, users, item 1: a text"),
    "no action": ([{"users": ["alice"]}], "rule 1: action must be specified"),
    "unknown action": ([grant("alice", action="allow")], 'rule 1, action: "allow" is not a valid action'),
    "unknown field": ([grant("alice"), grant("bob", sessionDuration=60)], "rule 2, sessionDuration: unknown field"),
    "src": ([grant("alice", src=["*"])], 'rule 1, src: unknown field "src"'),
    "dst": ([grant("alice", dst=["*"])], 'rule 1, dst: unknown field "dst"'),
    "wrong flag": ([grant("alice", allowAgentForwarding="no")], "rule 1, allowAgentForwarding: true or false"),
    "wrong number": ([grant("alice", pty=0)], "rule 1, pty: true or false"),
    "wrong command": ([grant("alice", command=["ls"])], "rule 1, command: a text"),
    "empty command": ([grant("alice", command=" ")], "rule 1, command: the command is empty"),
    "wrong period": ([grant("alice", action="check", checkPeriod=3600)], "rule 1, checkPeriod: a text"),
    "no duration": ([grant("alice", action="check", checkPeriod="soon")], "rule 1, checkPeriod: "),
    "period too long": ([grant("alice", action="check", checkPeriod="169h")], "above the max"),
    "period of an accept": ([grant("alice", checkPeriod="1h")], "rule 1, checkPeriod: only a check has one"),
    "field twice": ([grant("alice", Users=["bob"])], "in another spelling"),
    "too many": ([grant("alice")] * (RULES_MAX + 1), f"its value: {RULES_MAX + 1} rules"),
}


@pytest.mark.parametrize(("value", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_understood_is_an_error(value: object, message: str) -> None:
    """It names the peer, the capability, the rule and the field; it may have been meant to withhold something."""
    with pytest.raises(PolicyShapeError) as caught:
        compile_grants(CAPABILITY, value, NODE)
    assert message in str(caught.value)
    assert f"laptop.tailnet.example is granted {CAPABILITY}" in str(caught.value)


@pytest.mark.parametrize("field", ["pty", "command", "allowAgentForwarding", "checkPeriod", "users"])
def test_null_is_not_taken_for_absent(field: str) -> None:
    """Whoever wrote it meant to say something."""
    with pytest.raises(PolicyShapeError, match="null says nothing"):
        granted(grant("alice", action="check") | {field: None})


@pytest.mark.parametrize(("name", "uid"), [("toor", 0), ("postgres", 105)])
def test_a_login_name_names_no_system_account(name: str, uid: int) -> None:
    """`localpart:` is whoever may choose their login name."""
    peer = dataclasses.replace(PEER, login=f"{name}@example.com")
    policy = compile_grants(CAPABILITY, [grant("localpart:*@example.com")], node_of(peer, shared=False))
    outcome = evaluate([policy], Query.of(peer, CLIENT, name, uid), NOW)
    assert outcome.reason is (Reason.ACCEPTED if uid else Reason.USER_NOT_IN_RULE)
    assert not outcome.exact
    named = compile_grants(CAPABILITY, [grant("localpart:*@example.com", name)], node_of(peer, shared=False))
    assert evaluate([named], Query.of(peer, CLIENT, name, uid), NOW).exact
