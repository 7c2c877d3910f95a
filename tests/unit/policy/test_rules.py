"""Reading the policy: every field, and what becomes of documents that are not as this version knows them."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.errors import PolicyShapeError
from pam_tailscale.model import parse_address
from pam_tailscale.policy.rules import Action, Policy, Principal, Rule, parse_action, parse_policy, parse_rule
from tests.support.facts import ACCEPT, rule

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


def test_a_rule_with_every_field() -> None:
    """Each field of tailcfg.SSHRule and its parts has its place."""
    action = ACCEPT | {
        "message": "hello",
        "reject": True,
        "sessionDuration": 1_500_000_000,
        "holdAndDelegate": "https://u",
        "recorders": ["100.64.0.9:80"],
        "onRecordingFailure": {"NotifyURL": "https://n"},
    }
    principal = {"node": "n7", "nodeIP": "100.64.0.7", "userLogin": "a@example.com", "any": True}
    raw = rule({"*": "="}, action, principal, ruleExpires="2027-01-15T08:00:00Z", acceptEnv=["LANG", "LC_*"])
    assert parse_rule(raw, 3) == Rule(
        number=3,
        principals=(Principal("n7", bytes([100, 64, 0, 7]), "a@example.com", any=True),),
        users={"*": "="},
        action=Action(
            accept=True,
            reject=True,
            hold_and_delegate="https://u",
            message="hello",
            session_duration=1.5,
            allow_agent_forwarding=True,
            allow_local_port_forwarding=True,
            allow_remote_port_forwarding=True,
            recorders=("100.64.0.9:80",),
            on_recording_failure=True,
        ),
        expires=1_800_000_000.0,
        accept_env=("LANG", "LC_*"),
    )


@pytest.mark.parametrize("raw", [None, {}], ids=["null", "empty"])
def test_a_rule_of_nothing_is_about_nobody(raw: object) -> None:
    """A null rule and an empty one are known shapes: they say nothing."""
    assert parse_rule(raw, 1) == Rule(1)


@pytest.mark.parametrize("nothing", ["principals", "sshUsers", "action", "ruleExpires", "acceptEnv"])
def test_null_is_absent(nothing: str) -> None:
    """Go writes and reads null for what is not there."""
    raw = {name: value for name, value in rule({"a": "a"}).items() if name != nothing}
    assert parse_rule(raw | {nothing: None}, 1) == parse_rule(raw, 1)


@pytest.mark.parametrize(
    ("raw", "unknown"),
    [
        ("text", "str in place of an object"),
        ([], "list in place of an object"),
        (rule({}) | {"newField": 1}, "newField"),
        (rule({}) | {"newField": None}, "newField"),
        (rule({}) | {"principals": {}}, "principals"),
        (rule([]), "sshUsers"),
        (rule({"a": None}), "sshUsers"),
        (rule({"a": 1}), "sshUsers"),
        (rule({}, "accept"), "action"),
        (rule({}, [ACCEPT]), "action"),
        (rule({}, ruleExpires=5), "ruleExpires"),
        (rule({}, acceptEnv="LANG"), "acceptEnv"),
        (rule({}, acceptEnv=["LANG", 1]), "acceptEnv"),
    ],
)
def test_what_a_rule_does_not_know_it_names(raw: object, unknown: str) -> None:
    """An unknown field, also a null one, and a wrong type are written down, never read past."""
    assert parse_rule(raw, 1).unknown == (unknown,)


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        ({"accept": 1}, "accept"),
        ({"accept": "true"}, "accept"),
        ({"reject": "false"}, "reject"),
        ({"sessionDuration": 1.5}, "sessionDuration"),
        ({"sessionDuration": True}, "sessionDuration"),
        ({"sessionDuration": 2**63}, "sessionDuration"),
        ({"sessionDuration": 10**400}, "sessionDuration"),
        ({"holdAndDelegate": ["u"]}, "holdAndDelegate"),
        ({"recorders": [1]}, "recorders"),
        ({"recorders": "100.64.0.9:80"}, "recorders"),
        ({"onRecordingFailure": True}, "onRecordingFailure"),
        ({"allowX11Forwarding": False}, "allowX11Forwarding"),
    ],
)
def test_what_an_action_does_not_know_it_names(change: dict[str, object], unknown: str) -> None:
    """The same for an action."""
    action = parse_rule(rule({}, ACCEPT | change), 1).action
    assert action is not None
    assert action.unknown == (unknown,)
    assert parse_action(ACCEPT | change) == action


@pytest.mark.parametrize("raw", [None, [], "accept", 1, True], ids=repr)
def test_what_is_no_action_at_all_accepts_nothing(raw: object) -> None:
    """As it may come from the control plane."""
    action = parse_action(raw)
    assert action.unknown
    assert not action.accept


@pytest.mark.parametrize(
    ("raw", "unknown"),
    [
        ("100.64.0.7", "str in place of an object"),
        ({"nodeIP": 1}, "nodeIP"),
        ({"any": "yes"}, "any"),
        ({"any": True, "pubKeys": []}, "pubKeys"),
        ({"tag": "tag:ci"}, "tag"),
    ],
)
def test_what_a_principal_does_not_know_it_names(raw: object, unknown: str) -> None:
    """The same for a principal; also for public keys, which narrowed it once and are gone."""
    (principal,) = parse_rule(rule({}, ACCEPT, raw), 1).principals
    assert principal.unknown == (unknown,)


def test_a_null_principal_is_nobody() -> None:
    """As for Tailscale."""
    assert parse_rule(rule({}, ACCEPT, None, {"any": True}), 1).principals == (Principal(any=True),)


@pytest.mark.parametrize("raw", ["text", {"principals": {"any": True}}, {"who": ["tag:ci"]}], ids=str)
def test_a_rule_that_names_nobody_we_understand_may_be_about_anybody(raw: object) -> None:
    """Whom it is about may stand in what was not understood, so every peer has it among its rules."""
    odd = Policy("netmap", (parse_rule(raw, 1),))
    assert odd.candidates(parse_address("100.64.0.99"), "n99", "stranger@example.com") == list(odd.rules)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "100.64.0.07",
        "100.64.0",
        "100.64.0.7/32",
        "100.64.0.7%eth0",
        "fe80::1%eth0",
        " 100.64.0.7",
        "1684275207",
        "100.64.0.7\x00",
        "\ud800",
        "::ffff:100.64.0.256",
    ],
)
def test_an_address_that_is_none_matches_nobody(text: str) -> None:
    """As in Go's netip.ParseAddr, and what that takes with a zone is no node's either."""
    (principal,) = parse_rule(rule({}, ACCEPT, {"nodeIP": text}), 1).principals
    assert principal == Principal()


def test_a_mapped_address_is_not_the_address_it_maps() -> None:
    """For Go ::ffff:100.64.0.7 and 100.64.0.7 differ."""
    mapped = Policy("netmap", (parse_rule(rule({}, ACCEPT, {"nodeIP": "::ffff:100.64.0.7"}), 1),))
    assert mapped.candidates(parse_address("100.64.0.7"), "", "") == []


@pytest.mark.parametrize(
    ("text", "expires"),
    [
        ("1970-01-01T00:01:40Z", 100.0),
        ("1970-01-01T00:01:40.123456789Z", 100.123456),
        ("1970-01-01T02:01:40+02:00", 100.0),
        ("0001-01-01T00:00:00Z", -62135596800.0),
    ],
)
def test_times(text: str, expires: float) -> None:
    """RFC 3339 as Go writes it; Go's zero time is a time like any other here, long past."""
    assert parse_rule(rule({}, ruleExpires=text), 1).expires == expires


@pytest.mark.parametrize(
    "text",
    ["soon", "2026-05-01", "2026-05-01T12:00:00", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:00", "\ud800"],
)
def test_a_time_that_is_none_is_not_understood(text: str) -> None:
    """It must not become a rule that never expires."""
    read = parse_rule(rule({}, ruleExpires=text), 1)
    assert (read.expires, read.unknown) == (None, ("ruleExpires",))


@pytest.mark.parametrize("raw", [{}, {"rules": None}, {"rules": []}], ids=str)
def test_a_policy_without_rules(raw: object) -> None:
    """It is one, and lets nobody in."""
    assert parse_policy(raw).rules == ()


@pytest.mark.parametrize("raw", [None, [], "rules", {"rules": {}}, {"rules": [], "version": 2}, {"Rules": []}], ids=str)
def test_a_policy_of_another_shape_is_refused(raw: object) -> None:
    """The document itself is refused, with a message."""
    with pytest.raises(PolicyShapeError, match="upgrade pam-tailscale"):
        parse_policy(raw)


def test_rules_are_numbered_from_one_within_their_source() -> None:
    """Also behind null ones, as the administrator counts them."""
    read = parse_policy({"rules": [None, rule({}), None, {}]}, "file")
    assert read.source == "file"
    assert [one.number for one in read.rules] == [1, 2, 3, 4]


@given(JSON)
def test_reading_a_rule_never_raises(raw: Any) -> None:
    """Whatever stands where a rule should."""
    parse_rule(raw, 1)
    parse_rule(rule(raw, raw, raw, ruleExpires=raw, acceptEnv=raw), 1)


PRINCIPALS = st.sampled_from(
    [
        {"any": True},
        {"nodeIP": "100.64.0.7"},
        {"nodeIP": "fd7a:115c:a1e0::7"},
        {"nodeIP": ""},
        {"node": "n7"},
        {"node": ""},
        {"userLogin": "a@example.com"},
        {"userLogin": ""},
        {"nodeIP": "100.64.0.8", "userLogin": "a@example.com"},
        {"odd": 1},
        {},
        None,
    ]
)


@given(st.lists(st.lists(PRINCIPALS, max_size=3), max_size=6))
def test_candidates_come_once_and_in_order(groups: list[list[object]]) -> None:
    """However often a rule names the peer."""
    read = parse_policy({"rules": [{"principals": group} for group in groups]})
    found = read.candidates(parse_address("100.64.0.7"), "n7", "a@example.com")
    assert all(before.number < after.number for before, after in itertools.pairwise(found))


def test_nothing_empty_is_looked_up() -> None:
    """A peer without a login is not the one that a rule with an empty login is about."""
    read = parse_policy({"rules": [{"principals": [{"userLogin": "", "node": "", "nodeIP": ""}]}]})
    assert read.candidates(parse_address("100.64.0.7"), "", "") == []
