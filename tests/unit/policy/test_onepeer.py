"""A policy file for one host and one peer: what whois tells of it, and what no host knows."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings

from pam_tailscale.model import Reason
from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.onepeer import PEERS_MAX, PeerCompiler, by_role, node_of
from pam_tailscale.policy.roster import Node, Tailnet
from pam_tailscale.policy.validate import validate
from tests.support.any_policy import ACCOUNTS, policies, tailnets
from tests.support.facts import CLIENT, NOW, PEER, SERVER, TAGGED

OWN = Node("server.tailnet.example", (SERVER,), ("tag:server",), "", "n1CNTRL")
BOBS = Node("desktop.tailnet.example", (SERVER,), (), "bob@example.com", "n1CNTRL")


def compiler(*entries: dict[str, Any], **sections: Any) -> PeerCompiler:
    """A policy file with these entries."""
    text = {"tagOwners": {"tag:server": [], "tag:ci": []}, "ssh": list(entries), **sections}
    policy = document.read(json.dumps(text).encode(), "policy")
    validate(policy, None)
    return PeerCompiler(policy)


def entry(src: str, *users: str, action: str = "accept", dst: str = "tag:server") -> dict[str, Any]:
    """One of the ssh section."""
    return {"action": action, "src": [src], "dst": [dst], "users": list(users)}


def reason(
    made: PeerCompiler, user: str = "alice", *, own: Node = OWN, peer: Any = PEER, shared: bool = False
) -> Reason:
    """What becomes of a login."""
    policy = made.rules_for(own, node_of(peer, shared=shared))
    return evaluate([policy], Query.of(peer, CLIENT, user, 0 if user == "root" else 1000), NOW).reason


@pytest.mark.parametrize("src", ["alice@example.com", "group:ops", "autogroup:member", "user:*@example.com"])
def test_a_person_by_the_login_of_whois(src: str) -> None:
    """Whatever the entry calls them."""
    made = compiler(entry(src, "alice"), groups={"group:ops": ["alice@example.com"]})
    assert reason(made) is Reason.ACCEPTED
    assert reason(made, peer=dataclasses.replace(PEER, login="eve@example.org")) in (
        (Reason.ACCEPTED,) if src == "autogroup:member" else (Reason.NO_RULE,)
    )
    assert reason(made, peer=TAGGED) is Reason.NO_RULE


@pytest.mark.parametrize("src", ["tag:ci", "autogroup:tagged"])
def test_a_tagged_node_by_its_tags(src: str) -> None:
    """And never by the login that whois has for all of them."""
    made = compiler(entry(src, "alice"), entry("user:*@tagged-devices", "alice"))
    assert reason(made, peer=TAGGED) is Reason.ACCEPTED
    assert reason(made) is Reason.NO_RULE


@pytest.mark.parametrize("src", ["alice@example.com", "autogroup:member", "user:*@example.com"])
def test_a_node_of_another_tailnet_is_nobody(src: str) -> None:
    """Who its person is, another tailnet says: they are no member of this one."""
    assert reason(compiler(entry(src, "alice")), shared=True) is Reason.NO_RULE
    assert reason(compiler(entry("tag:ci", "alice")), peer=TAGGED, shared=True) is Reason.NO_RULE


def test_ones_own_host() -> None:
    """autogroup:self is about whose host it is."""
    made = compiler(entry("autogroup:member", "alice", dst="autogroup:self"))
    assert reason(made, own=dataclasses.replace(BOBS, owner="alice@example.com")) is Reason.ACCEPTED
    assert reason(made, own=BOBS) is Reason.NO_RULE
    assert reason(made) is Reason.NO_RULE


def test_a_role_lets_nobody_in() -> None:
    """No host knows who has it."""
    made = compiler(entry("autogroup:admin", "alice"), entry("bob@example.com", "alice"))
    assert reason(made) is Reason.NO_RULE
    assert by_role(made.policy) == (1,)


def test_a_check_by_a_role_is_not_passed_over() -> None:
    """Whoever has the role would else be let in without the check; accounts that it does not name are as they were."""
    made = compiler(entry("autogroup:admin", "root", action="check"), entry("autogroup:member", "root", "alice"))
    assert reason(made, "root") is Reason.RULE_MALFORMED
    assert reason(made, "alice") is Reason.ACCEPTED
    # Whom the entry also names otherwise is asked for the check.
    both = {
        "action": "check",
        "src": ["autogroup:admin", "alice@example.com"],
        "dst": ["tag:server"],
        "users": ["root"],
    }
    assert reason(compiler(both, entry("autogroup:member", "root")), "root") is Reason.CHECK_NEEDED


def test_peers_are_remembered_and_not_for_ever() -> None:
    """The same object again; a peer that changed is another one."""
    made = compiler(entry("alice@example.com", "alice"))
    node = node_of(PEER, shared=False)
    assert made.rules_for(OWN, node) is made.rules_for(OWN, node)
    assert made.rules_for(OWN, dataclasses.replace(node, owner="bob@example.com")).rules == ()
    for number in range(PEERS_MAX + 9):
        made.rules_for(OWN, dataclasses.replace(node, stable_id=f"n{number}"))
    assert made.rules_for.cache_info().currsize == PEERS_MAX


def _outcome(rules: Any, peer: Node, user: str, uid: int | None) -> Reason:
    query = Query(peer.addresses[0], peer.stable_id, peer.owner, user, uid, tagged=bool(peer.tags))
    return evaluate([rules], query, NOW).reason


@given(policies(), tailnets())
@settings(max_examples=60, deadline=None)
def test_as_the_control_plane_for_whom_a_host_knows(raw: dict[str, Any], tailnet: Tailnet) -> None:
    """Never more than what it sends the host, and without roles the same."""
    policy = document.read(json.dumps(raw).encode(), "policy")
    own, *peers = tailnet.nodes
    whole, here = Compiler(policy, tailnet).policy_for(own), PeerCompiler(policy)
    known = {person.login for person in tailnet.people}
    for peer in peers:
        if not peer.tags and peer.owner not in known:
            continue  # a host knows no better than whois, which names them
        for user, uid in ACCOUNTS:
            theirs, ours = _outcome(whole, peer, user, uid), _outcome(here.rules_for(own, peer), peer, user, uid)
            if not by_role(policy):
                assert ours is theirs or {ours, theirs} <= {Reason.NO_RULE, Reason.USER_NOT_IN_RULE}
            if ours is Reason.ACCEPTED:
                assert theirs is Reason.ACCEPTED
            if ours is Reason.CHECK_NEEDED:
                assert theirs is Reason.CHECK_NEEDED
