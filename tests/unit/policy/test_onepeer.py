"""A policy file for one host and one peer: what whois tells of it, and what no host knows."""

import dataclasses
import gc
import json
import weakref
from typing import Any

import pytest
from hypothesis import given, settings

from pam_tailscale.model import Reason
from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.godurations import quote
from pam_tailscale.policy.onepeer import PEERS_MAX, PeerCompiler, by_role, node_of, unfit_member
from pam_tailscale.policy.roster import Node, Tailnet
from pam_tailscale.policy.selectors import parse as selector
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


def test_what_was_compiled_goes_with_the_policy() -> None:
    """By counting references alone: the agent spares policies from the collector, and each edit makes another one."""
    gone = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            made = compiler(entry("alice@example.com", "alice"))
            assert reason(made) is Reason.ACCEPTED
            gone.append(weakref.ref(made))
        del made
        assert [one() for one in gone] == [None] * 2
    finally:
        gc.enable()


ANY = entry("autogroup:member", "root")
CHECKS = {
    "person": "Alice@Example.com",
    "domain": "user:*@EXAMPLE.com",
    "group": "group:ops",
}


@pytest.mark.parametrize("src", CHECKS.values(), ids=CHECKS.keys())
@pytest.mark.parametrize("login", ["alice@example.com", "ALICE@example.COM"])
def test_a_check_in_other_letters_is_not_passed_over(src: str, login: str) -> None:
    """The next entry would let them in without it."""
    made = compiler(entry(src, "root", action="check"), ANY, groups={"group:ops": ["Alice@example.com"]})
    assert reason(made, "root", peer=dataclasses.replace(PEER, login=login)) is Reason.CHECK_NEEDED


@pytest.mark.parametrize(("src", "login"), [("alice@", "alice"), ("alice@", "alice@"), ("group:ops", "alice")])
def test_a_login_without_a_domain(src: str, login: str) -> None:
    """As headscale has them, and as its policies write them."""
    made = compiler(entry(src, "deploy"), groups={"group:ops": ["alice@"]})
    assert reason(made, "deploy", peer=dataclasses.replace(PEER, login=login)) is Reason.ACCEPTED
    assert reason(made, "deploy", peer=dataclasses.replace(PEER, login="alice@example.com")) is Reason.NO_RULE


@pytest.mark.parametrize("member", ["user:*@example.com", "autogroup:admin", "tag:ci", "*", "100.64.0.7"])
def test_members_of_a_group_are_login_names(member: str) -> None:
    """A host would not know who else is meant."""
    policy = compiler(groups={"group:ops": ["alice@example.com", "bob", member]}).policy
    assert quote(member) in unfit_member(policy, selector("group:ops"))
    assert unfit_member(policy, selector("group:none")) == ""


@pytest.mark.parametrize("login", ["toor@example.com", "git@example.com"])
def test_a_login_name_names_no_system_account(login: str) -> None:
    """Whoever may choose theirs would be root, or backup, on every host."""
    made = compiler(entry("autogroup:member", "localpart:*@example.com"))
    peer, name = dataclasses.replace(PEER, login=login), login.partition("@")[0]
    policy = made.rules_for(OWN, node_of(peer, shared=False))
    query = Query.of(peer, CLIENT, name, 0 if name == "toor" else 105)
    outcome = evaluate([policy], query, NOW)
    if name == "toor":
        assert outcome.reason is Reason.USER_NOT_IN_RULE
    else:
        assert (outcome.reason, outcome.user, outcome.exact) == (Reason.ACCEPTED, "git", False)
    named = compiler(entry("autogroup:member", "localpart:*@example.com", name))
    outcome = evaluate([named.rules_for(OWN, node_of(peer, shared=False))], query, NOW)
    assert (outcome.reason, outcome.exact) == (Reason.ACCEPTED, True)


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
