"""Of any policy and tailnet: the compiled rules say what the entries say, and how a file is written does not matter."""

import json
import random
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from pam_tailscale.model import Reason
from pam_tailscale.policy import document, sshtests
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import PolicyFile
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.roster import Node, Tailnet
from pam_tailscale.policy.rules import Policy, parse_policy
from pam_tailscale.policy.validate import validate
from tests.conformance import recordings
from tests.support import hujson_texts
from tests.support.any_policy import ACCOUNTS, policies, tailnets
from tests.support.policy_reference import Login, Word, answer, logins
from tests.support.tailnets import ALICE, BOB, BOTH, CAROL, DB, DESKTOP, LAPTOP, OWNERS, PHONE, TABLET, TAILNET, WEB

RECORDED = Path(__file__).parents[2] / "data" / "conformance"
WORDS: dict[Reason, Word] = {Reason.ACCEPTED: "accept", Reason.CHECK_NEEDED: "check"}


def compiled(text: str, tailnet: Tailnet) -> Compiler:
    """A policy file's text for a tailnet."""
    policy = document.read(text.encode(), "policy")
    validate(policy, tailnet.domains)
    return Compiler(policy, tailnet)


def said(policy: Policy, login: Login) -> set[Word]:
    """What rules say about a login, from each address that it could come from."""
    source = login.source
    queries = (
        Query(address, source.stable_id, source.owner, login.account, login.uid, tagged=bool(source.tags))
        for address in source.addresses
    )
    return {WORDS.get(evaluate([policy], query, 0.0).reason, "no") for query in queries}


@given(policies(), tailnets())
@settings(max_examples=200)
def test_rules_say_what_the_entries_say(policy: dict[str, Any], tailnet: Tailnet) -> None:
    """For every node that connects, every node, every account."""
    compiler = compiled(json.dumps(policy), tailnet)
    received = {node.name: compiler.policy_for(node) for node in tailnet.nodes}
    for login in logins(tailnet, ACCOUNTS):
        assert said(received[login.destination.name], login) == {answer(policy, tailnet, login)}, login


@pytest.mark.parametrize("word", get_args(Word))
def test_each_answer_is_generated(word: Word) -> None:
    """The property above is not about refusals alone: an account that is not root gets each answer, from elsewhere."""

    def has(pair: tuple[dict[str, Any], Tailnet]) -> bool:
        policy, tailnet = pair
        return any(
            answer(policy, tailnet, login) == word
            for login in logins(tailnet, ACCOUNTS)
            if login.account != "root" and login.source.owner != login.destination.owner
        )

    several = settings(max_examples=1000, phases=[Phase.generate], database=None)
    assert has(find(st.tuples(policies(), tailnets()), has, settings=several))


def accounts_of(policy: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Accounts that a recorded policy names, its people's names, and others."""
    named = {user.strip() for entry in policy.get("ssh", []) for user in entry["users"]}
    return [
        ("root", 0),
        ("toor", 0),
        *((name, None) for name in sorted(named | {"odin", "thor", "freya", "x"} - {"root"})),
    ]


def test_the_reference_says_what_the_control_plane_recorded() -> None:
    """Rules that real nodes received, evaluated, and the reference, which does not know them."""
    words: set[Word] = set()
    for path in sorted(RECORDED.glob("*.json")):
        recorded = json.loads(path.read_text())
        if recorded["response"]["code"] != recordings.ACCEPTED:
            continue
        tailnet = recordings.read(path.read_text()).tailnet
        received = {name: parse_policy({"rules": rules}) for name, rules in recorded["ssh_policy"].items()}
        for login in logins(tailnet, accounts_of(recorded["policy"])):
            word = answer(recorded["policy"], tailnet, login)
            assert said(received[login.destination.name], login) == {word}, (path.name, login)
            words.add(word)
    assert words == set(get_args(Word))


def entry(source: str, destination: str, *users: str, action: str = "accept") -> dict[str, Any]:
    """An entry of ssh."""
    return {"action": action, "src": [source], "dst": [destination], "users": list(users)}


CASES: list[tuple[dict[str, Any], Node, Node, str, Word]] = [
    (entry(ALICE, "tag:web", "root"), LAPTOP, WEB, "root", "accept"),
    (entry(ALICE, "tag:web", "root"), LAPTOP, DB, "root", "no"),
    (entry(ALICE, "tag:web", "root"), DESKTOP, WEB, "root", "no"),
    (entry(ALICE, "tag:web", "root"), LAPTOP, WEB, "alice", "no"),
    (entry(ALICE, "tag:web", "root", action="check"), LAPTOP, BOTH, "root", "check"),
    (entry(ALICE, "tag:web", "autogroup:nonroot"), LAPTOP, WEB, "root", "no"),
    (entry(ALICE, "tag:web", "autogroup:nonroot"), LAPTOP, WEB, "git", "accept"),
    (entry("autogroup:member", "autogroup:self", "root"), LAPTOP, PHONE, "root", "accept"),
    (entry("autogroup:member", "autogroup:self", "root"), LAPTOP, DESKTOP, "root", "no"),
    (entry("autogroup:member", "tag:db", "localpart:*@example.com"), LAPTOP, DB, "alice", "accept"),
    (entry("autogroup:member", "tag:db", "localpart:*@example.com"), LAPTOP, DB, "bob", "no"),
    (entry("autogroup:member", "tag:db", "localpart:*@example.com"), TABLET, DB, "carol", "no"),
    (entry("autogroup:member", "tag:db", "localpart:*@example.com"), LAPTOP, PHONE, "alice", "accept"),
    (entry("autogroup:admin", "autogroup:tagged", "root"), LAPTOP, WEB, "root", "accept"),
    (entry("autogroup:admin", "autogroup:tagged", "root"), DESKTOP, WEB, "root", "no"),
    (entry("user:*@example.org", "autogroup:member", "root"), TABLET, DESKTOP, "root", "accept"),
    (entry("group:ops", "tag:db", "root"), DESKTOP, DB, "root", "accept"),
    (entry("group:ops", "tag:db", "root"), LAPTOP, DB, "root", "no"),
    (entry("tag:web", "tag:db", "deploy"), BOTH, DB, "deploy", "accept"),
    (entry("autogroup:tagged", "tag:db", "deploy"), LAPTOP, DB, "deploy", "no"),
]


@pytest.mark.parametrize(("one", "source", "destination", "account", "word"), CASES)
def test_the_reference_is_what_one_expects(
    one: dict[str, Any], source: Node, destination: Node, account: str, word: Word
) -> None:
    """By hand, from the documentation."""
    policy = {"ssh": [one], "groups": {"group:ops": [BOB, CAROL]}, "tagOwners": OWNERS}
    uid = 0 if account == "root" else 1000
    assert answer(policy, TAILNET, Login(source, destination, account, uid)) == word


def meaning(policy: PolicyFile) -> tuple[object, ...]:
    """All that a file says, without where it says it."""
    return policy.ssh, policy.groups, policy.tag_owners, policy.hosts, policy.ssh_tests


def everything(compiler: Compiler) -> tuple[object, ...]:
    """All that comes of a policy."""
    rules = [compiler.rules_for(node) for node in compiler.tailnet.nodes]
    return meaning(compiler.policy), rules, list(sshtests.run(compiler))


def shuffled(value: Any, choices: random.Random) -> Any:
    """The same with the members of each object in another order."""
    if isinstance(value, dict):
        members = list(value.items())
        choices.shuffle(members)
        return {key: shuffled(member, choices) for key, member in members}
    return [shuffled(item, choices) for item in value] if isinstance(value, list) else value


@given(policies(), tailnets(), st.randoms(use_true_random=False))
def test_the_order_of_sections_and_fields_does_not_matter(
    policy: dict[str, Any], tailnet: Tailnet, choices: random.Random
) -> None:
    """Of entries it does; of unrelated sections, and of what is in an object, never."""
    other = compiled(json.dumps(shuffled(policy, choices)), tailnet)
    assert everything(compiled(json.dumps(policy), tailnet)) == everything(other)


@given(policies(), st.randoms(use_true_random=False))
def test_comments_and_trailing_commas_say_nothing(policy: dict[str, Any], choices: random.Random) -> None:
    """A file with them reads like the one without."""
    plain = json.dumps(policy)
    written = hujson_texts.decorated(plain, choices)
    assert meaning(document.read(written.encode(), "policy")) == meaning(document.read(plain.encode(), "policy"))


@given(policies(), tailnets(), st.data())
def test_more_people_and_nodes_change_nothing_for_the_others(
    policy: dict[str, Any], tailnet: Tailnet, data: st.DataObject
) -> None:
    """What is said of a login is said of it alone: whoever else is in the tailnet."""
    login = data.draw(st.sampled_from(list(logins(tailnet, ACCOUNTS))))
    kept = tuple(node for node in tailnet.nodes if node in (login.source, login.destination))
    smaller = Tailnet(tailnet.people, kept, tailnet.domains)
    found = [said(compiled(json.dumps(policy), one).policy_for(login.destination), login) for one in (tailnet, smaller)]
    assert found[0] == found[1]
