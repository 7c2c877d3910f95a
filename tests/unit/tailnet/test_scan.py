"""What is taken out of a netmap, and which netmaps are refused."""

import json
from typing import Any

import pytest

from pam_tailscale.errors import PolicyShapeError, TailscaledError
from pam_tailscale.tailnet import scan
from tests.support.localapi import small_tailnet


def encoded(**changes: object) -> bytes:
    """A netmap with some of its fields set otherwise."""
    return json.dumps(small_tailnet().netmap() | changes, separators=(",", ":"), ensure_ascii=False).encode()


def test_what_a_decision_needs_is_taken() -> None:
    """The node itself, and each rule with the very bytes that came."""
    tailnet = small_tailnet()
    reduced = scan.netmap(encoded())
    assert reduced.stable_id == tailnet.own.stable_id
    assert reduced.addresses == ("100.64.0.1/32", "fd7a:115c:a1e0::1/128")
    assert reduced.cached is False
    assert reduced.rules is not None
    assert [json.loads(rule) for rule in reduced.rules] == tailnet.rules


def test_white_space_does_not_matter() -> None:
    """A netmap that is indented says the same; each rule is on one line."""
    tailnet = small_tailnet()
    reduced = scan.netmap(json.dumps(tailnet.netmap(), indent="\t").encode() + b"\r\n ")
    assert reduced.rules is not None
    assert [json.loads(rule) for rule in reduced.rules] == tailnet.rules
    assert not any(b"\n" in rule for rule in reduced.rules)


def test_bytes_of_a_rule_are_not_changed() -> None:
    """Names in any script come through as they were sent."""
    rule = {"principals": [{"userLogin": "ålice@例え.example"}], "action": {"message": "\u2028 \U0001f511"}}
    reduced = scan.netmap(encoded(SSHPolicy={"rules": [rule]}))
    assert reduced.rules == (json.dumps(rule, separators=(",", ":"), ensure_ascii=False).encode(),)


@pytest.mark.parametrize(
    ("policy", "rules"),
    [(None, None), ({}, ()), ({"rules": None}, ()), ({"rules": []}, ()), ({"rules": [None, 5]}, (b"null", b"5"))],
    ids=["null", "empty", "no list", "no rules", "odd rules"],
)
def test_policies_without_rules(policy: object, rules: tuple[bytes, ...] | None) -> None:
    """No policy and a policy without rules are not the same; what is odd in a rule is judged where rules are read."""
    assert scan.netmap(encoded(SSHPolicy=policy)).rules == rules


def test_a_netmap_without_policy() -> None:
    """An absent policy is none."""
    netmap = small_tailnet().netmap()
    del netmap["SSHPolicy"]
    assert scan.netmap(json.dumps(netmap).encode()).rules is None


def test_a_cached_netmap_says_so() -> None:
    """A netmap from tailscaled's disk is told apart."""
    assert scan.netmap(encoded(Cached=True)).cached is True


@pytest.mark.parametrize("policy", [[], "text", 5, False, {"rules": {}}, {"rules": "all"}, {"rules": [], "version": 2}])
def test_an_unknown_shape_of_policy_is_refused(policy: object) -> None:
    """The policy's shape is internal to Tailscale: a new one is refused, not guessed at."""
    with pytest.raises(PolicyShapeError, match="upgrade pam-tailscale"):
        scan.netmap(encoded(SSHPolicy=policy))


def test_two_rule_lists_are_refused() -> None:
    """Which of them counts is for nobody here to say."""
    with pytest.raises(PolicyShapeError):
        scan.netmap(b'{"SelfNode":{"StableID":"n1"},"SSHPolicy":{"rules":[],"rules":[]}}')


@pytest.mark.parametrize(
    "changes",
    [
        {"Cached": "no"},
        {"Cached": 1},
        {"SelfNode": {"StableID": 5, "Addresses": []}},
        {"SelfNode": {"Addresses": []}},
        {"SelfNode": {"StableID": "n1", "Addresses": [1]}},
        {"SelfNode": {"StableID": "n1", "Addresses": "100.64.0.1/32"}},
    ],
)
def test_a_node_of_an_unknown_shape_is_refused(changes: dict[str, object]) -> None:
    """What this host is, is never guessed."""
    with pytest.raises(TailscaledError, match="upgrade pam-tailscale"):
        scan.netmap(encoded(**changes))


@pytest.mark.parametrize("own", [None, [], "node"])
def test_a_netmap_without_its_node_is_refused(own: object) -> None:
    """A netmap that is nobody's has no policy for us."""
    with pytest.raises(TailscaledError, match="tailscale status"):
        scan.netmap(encoded(SelfNode=own))


@pytest.mark.parametrize("key", ["SSHPolicy", "SelfNode", "Cached", "Peers"])
def test_a_key_that_stands_twice_is_refused(key: str) -> None:
    """JSON parsers differ in which one counts."""
    twice = encoded()[:-1] + f',"{key}":null,"{key}":null}}'.encode()
    if key != "Peers":
        with pytest.raises(TailscaledError, match="twice"):
            scan.netmap(twice)
    else:
        assert scan.netmap(twice).rules  # what is passed over cannot mislead


@pytest.mark.parametrize("position", range(0, len(encoded()) - 1, 61))
def test_a_netmap_that_is_cut_is_refused(position: int) -> None:
    """Wherever it ends early, nothing of it is used."""
    with pytest.raises(TailscaledError, match="not complete JSON"):
        scan.netmap(encoded()[:position])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}x",
        b"{,}",
        b'{"a"}',
        b'{"a":1,}',
        b'{"a":1 "b":2}',
        b"{5:1}",
        b'{"Peers":[1,]}',
        b'{"Peers":[,1]}',
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """The walk is as strict as a JSON parser."""
    with pytest.raises(TailscaledError):
        scan.netmap(body)


@pytest.mark.parametrize("rest", [b"x", b"{}", b"\x00", b"]"])
def test_nothing_may_follow_a_netmap(rest: bytes) -> None:
    """One document, and only white space after it."""
    with pytest.raises(TailscaledError, match="something follows"):
        scan.netmap(encoded() + rest)


@pytest.mark.parametrize("key", ["Peers", "SSHPolicy", "SelfNode", "DNS"])
def test_deep_nesting_is_refused(key: str) -> None:
    """It ends in an error, not in a crash."""
    with pytest.raises(TailscaledError):
        scan.netmap(b'{"' + key.encode() + b'":' + b"[" * 200_000)


class TestFirstNotify:
    def notify(self, **fields: object) -> bytes:
        """The first message of a bus, up to 1.102."""
        document: dict[str, Any] = {"Version": "1.102.5", "ErrMessage": None, "Prefs": {"ControlURL": ""}}
        return json.dumps(document | fields).encode()

    def test_the_netmap_in_it_is_reduced(self) -> None:
        """What surrounds the netmap is passed over."""
        reduced = scan.first_notify(self.notify(NetMap=small_tailnet().netmap(), Engine=None))
        assert (reduced.stable_id, reduced.cached) == (small_tailnet().own.stable_id, False)
        assert reduced.rules is not None
        assert [json.loads(rule) for rule in reduced.rules] == small_tailnet().rules

    @pytest.mark.parametrize("fields", [{}, {"NetMap": None}])
    def test_a_node_that_is_logged_out_has_none(self, fields: dict[str, object]) -> None:
        """The message then says to log in."""
        with pytest.raises(TailscaledError, match="tailscale up"):
            scan.first_notify(self.notify(**fields))

    def test_a_message_of_error_is_handed_on(self) -> None:
        """In tailscaled's own words."""
        with pytest.raises(TailscaledError, match="in use by other"):
            scan.first_notify(self.notify(ErrMessage="in use by other"))
