"""The tests section, as far as it is about port 22."""

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.policy.acltests import run
from pam_tailscale.policy.named import nodes_of
from pam_tailscale.policy.network import Network
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.selectors import parse
from pam_tailscale.policy.sshtests import Wanted
from tests.support.tailnets import ALICE, BOB, compiled

ACLS = [{"action": "accept", "src": [ALICE, "tag:db"], "dst": ["tag:web:22", "autogroup:self:22", "10.0.0.9:22"]}]


def outcome(**test: Any) -> list[tuple[bool, str, str]]:
    """What one test comes to: for each thing that it says whether it passes, what was found, and by what."""
    groups = {"group:ops": [ALICE, BOB], "group:empty": []}
    hosts = {"net": "10.0.0.0/8", "web": "100.64.0.5", "one": "100.64.0.5/32"}
    found = run(compiled(acls=ACLS, groups=groups, hosts=hosts, tests=[test]))
    return [(result.passed, result.found, result.by) for result in found]


@pytest.mark.parametrize(
    ("test", "passes", "found"),
    [
        ({"src": ALICE, "accept": ["tag:web:22"]}, True, "accept"),
        ({"src": ALICE, "deny": ["tag:web:22"]}, False, "accept"),
        ({"src": ALICE, "accept": ["10.0.0.9:22"]}, True, "accept"),
        ({"src": ALICE, "deny": ["10.0.0.10:22"]}, True, "deny"),
        ({"src": ALICE, "accept": ["autogroup:self:22"]}, True, "accept"),
        ({"src": "tag:db", "accept": ["tag:web:22"]}, True, "accept"),
        ({"src": BOB, "deny": ["tag:web:22"]}, True, "deny"),
        ({"src": BOB, "accept": ["tag:web:22"]}, False, "deny"),
        ({"src": "group:ops", "accept": ["tag:web:22"]}, False, "deny"),
        ({"src": "group:ops", "deny": ["tag:web:22"]}, False, "accept"),
        ({"src": "100.64.0.1", "accept": ["tag:web:22"]}, True, "accept"),
        ({"src": ALICE, "accept": ["100.64.0.5:22"]}, True, "accept"),
        ({"src": ALICE, "accept": ["web:22"]}, True, "accept"),
        ({"src": ALICE, "deny": ["group:ops:22"]}, False, "accept"),
        ({"src": "tag:web", "deny": ["group:ops:22"]}, True, "deny"),
        ({"user": ALICE, "allow": ["tag:web:22"]}, True, "accept"),
        ({"user": BOB, "allow": ["tag:web:22"]}, False, "deny"),
        ({"src": ALICE, "srcPostureAttrs": {"node:os": "linux"}, "accept": ["tag:web:22"]}, True, "accept"),
        ({"src": "web", "deny": ["tag:db:22"]}, True, "deny"),
    ],
)
def test_what_a_test_says(test: dict[str, Any], passes: bool, found: str) -> None:  # noqa: FBT001 (of a test)
    """Of several nodes all have to do what it says."""
    ((passed, did, _),) = outcome(**test)
    assert (passed, did) == (passes, found)


@pytest.mark.parametrize(
    "test",
    [
        {"src": "tag:nothing", "accept": ["tag:web:22"]},
        {"src": "nobody@example.com", "deny": ["tag:web:22"]},
        {"src": "group:none", "deny": ["tag:web:22"]},
        {"src": "autogroup:none", "deny": ["tag:web:22"]},
        {"deny": ["tag:web:22"]},
        {"src": ALICE, "accept": ["net:22"]},
        {"src": ALICE, "deny": ["10.0.0.0/8:22"]},
        {"src": ALICE, "deny": ["100.64.0.5/32:22"]},
        {"src": ALICE, "deny": ["one:22"]},
        {"src": ALICE, "deny": ["group:empty:22"]},
        {"src": ALICE, "deny": ["group:none:22"]},
        {"src": ALICE, "deny": ["svc:db:22"]},
        {"src": ALICE, "deny": ["*:22"]},
        {"src": ALICE, "deny": ["user:*@example.com:22"]},
        {"src": "autogroup:member", "deny": ["tag:db:22"]},
        {"src": "autogroup:tagged", "deny": ["tag:db:22"]},
        {"src": "*", "deny": ["tag:db:22"]},
        {"src": "net", "deny": ["tag:db:22"]},
        {"src": ALICE, "deny": ["nowhere:22"]},
        {"src": "tag:db", "deny": ["autogroup:self:22"]},
    ],
)
def test_what_is_about_nothing_fails(test: dict[str, Any]) -> None:
    """It would pass for the wrong reason."""
    ((passed, found, _),) = outcome(**test)
    assert not passed
    assert found.endswith("is no node of the tailnet")


@pytest.mark.parametrize(
    "port", ["20-30", "*", "22,80", "80,22", "443-444", "ssh", "-1", "99999", "", "22-", "2_2", "٢٢"]
)
@pytest.mark.parametrize("wanted", ["accept", "deny"])
def test_what_is_not_one_port_fails(port: str, wanted: str) -> None:
    """As with the control plane [recorded], and never without a word."""
    assert outcome(src=ALICE, **{wanted: [f"tag:db:{port}"]}) == [(False, f'"{port}" is not one port', "")]


def test_what_says_nothing_fails() -> None:
    """As with the control plane [recorded]; a field that is spelt wrong may be what was to say something."""
    nothing = (False, "it says nothing: accept or deny is missing", "")
    assert outcome(src=ALICE) == [nothing]
    assert outcome(src=ALICE, proto="tcp", accept=[]) == [nothing]
    assert outcome(src=ALICE, denied=["tag:web:22"]) == [(False, 'unknown field "denied"', ""), nothing]


def test_what_cannot_be_told_fails() -> None:
    """Whichever way the test wants it."""
    grants = [{"src": ["*"], "dst": ["ipset:prod"], "ip": ["*"]}]
    tests = [{"src": ALICE, "accept": ["tag:web:22"], "deny": ["tag:db:22"]}]
    accept, deny = run(compiled(grants=grants, tests=tests))
    assert (accept.passed, accept.wanted, accept.found, accept.by) == (
        False,
        Wanted.ACCEPT,
        "cannot tell: ipset:prod",
        "grants 1",
    )
    assert (deny.passed, deny.wanted, deny.found) == (False, Wanted.DENY, "cannot tell: ipset:prod")


ENDS = (ALICE, BOB, "group:ops", "tag:web", "tag:db", "autogroup:member", "100.64.0.5", "100.64.0.0/29", "*", "ipset:x")
NAMED = (ALICE, BOB, "group:ops", "tag:web", "tag:db", "100.64.0.1", "192.0.2.1")


@given(
    st.lists(st.tuples(st.sampled_from(ENDS), st.sampled_from((*ENDS, "autogroup:self"))), max_size=4),
    st.sampled_from(NAMED[:-1]),
    st.sampled_from((*NAMED, "autogroup:self")),
    st.sampled_from(["accept", "deny"]),
)
def test_every_pair_counts(grants: list[tuple[str, str]], source: str, destination: str, wanted: str) -> None:
    """The same as asking of each pair of nodes by itself: the test fails at the first that does not what it says."""
    compiler = compiled(
        grants=[{"src": [one], "dst": [other], "ip": ["22"]} for one, other in grants],
        groups={"group:ops": [BOB, ALICE]},
        tests=[{"src": source, wanted: [f"{destination}:22"]}],
    )
    (result,) = run(compiler)
    network = Network(compiler)
    each = []
    for one in nodes_of(compiler, parse(source)):
        others = nodes_of(compiler, parse(destination)) or (Node("elsewhere", (ip_address("192.0.2.1"),)),)
        if destination == "autogroup:self":
            others = () if one.tags else compiler.tailnet.owned[one.owner]
        each += [network.decides(network.source(one), network.destination(other)) for other in others]
    failed = [found for found in each if found[0] != wanted]
    assert result.passed == (bool(each) and not failed)
    if failed:
        assert (result.found, result.by) == failed[0]


@pytest.mark.timeout(30)
def test_a_thousand_sources_and_destinations() -> None:
    """Nodes that the same entries are about are looked at once."""
    logins = [f"p{number}@example.com" for number in range(1000)]
    nodes = tuple(
        Node(f"n{number}", (ip_address(0x64400000 + number),), owner=login) for number, login in enumerate(logins)
    )
    tailnet = Tailnet(tuple(map(Person, logins)), nodes)
    entries = [{"src": [login], "dst": [f"10.0.0.{number}"], "ip": ["22"]} for number, login in enumerate(logins[:250])]
    compiler = compiled(
        tailnet,
        grants=[*entries, {"src": ["group:all"], "dst": ["autogroup:self"], "ip": ["22"]}],
        groups={"group:all": logins, "group:some": logins[:500], "group:others": logins[500:]},
        tests=[{"src": "group:some", "deny": ["group:others:22"]}] * 4,
    )
    assert all(result.passed for result in run(compiler))


def test_other_ports_and_protocols_are_passed_over() -> None:
    """They are nothing of SSH's."""
    assert outcome(src=ALICE, accept=["tag:web:80"]) == []
    assert outcome(src=ALICE, accept=["tag:web:22"], proto="udp") == []
    assert len(outcome(src=ALICE, accept=["tag:web:22", "tag:web:443"], deny=["tag:db:22"], proto="tcp")) == 2


def test_what_decided_is_named() -> None:
    """For whoever has to change it."""
    assert outcome(src=ALICE, accept=["tag:web:22"]) == [(True, "accept", "acls 1")]
