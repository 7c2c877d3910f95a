"""The sshTests section: what a policy says of itself, and whether it does it."""

import itertools
import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pam_tailscale.model import Reason
from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import SSHTest
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.named import nodes_of
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.rules import Policy
from pam_tailscale.policy.selectors import SELF, parse
from pam_tailscale.policy.sshtests import Result, Wanted, run
from pam_tailscale.policy.validate import validate
from tests.support import any_policy
from tests.support.tailnets import ALICE, BOB, BOTH, CAROL, DB, LAPTOP, TAILNET, WEB, compiled

SSH: list[dict[str, Any]] = [
    {"action": "accept", "src": [ALICE], "dst": ["tag:web"], "users": ["autogroup:nonroot"]},
    {"action": "check", "src": [ALICE], "dst": ["tag:web"], "users": ["root"]},
    {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["root"]},
    {"action": "accept", "src": ["tag:db"], "dst": ["tag:web"], "users": ["deploy"]},
]
SECTIONS: dict[str, Any] = {
    "ssh": SSH,
    "groups": {"group:ops": [ALICE, BOB], "group:empty": []},
    "hosts": {"srv": "100.64.0.5", "srv6": "fd7a:115c:a1e0::5", "gone": "100.64.9.9"},
}


def results(
    source: str, destination: str | list[str] = "tag:web", tailnet: Tailnet = TAILNET, **said: Any
) -> list[Result]:
    """What became of one test."""
    dst = [destination] if isinstance(destination, str) else destination
    return list(run(compiled(tailnet, sshTests=[{"src": source, "dst": dst, **said}], **SECTIONS)))


def wants(wanted: str, user: str) -> dict[str, Any]:
    """A field of a test."""
    return {wanted: [user]}


def found(source: str, destination: str | list[str] = "tag:web", **said: Any) -> dict[str, str]:
    """By node, what a test of one account finds."""
    return {one.destination: one.found for one in results(source, destination, **said)}


def test_a_file_without_tests() -> None:
    """Nothing is run."""
    assert list(run(compiled(**SECTIONS))) == []


@pytest.mark.parametrize(
    ("user", "wanted", "passed"),
    [
        ("deploy", "accept", True),
        ("deploy", "check", False),
        ("deploy", "deny", False),
        ("root", "accept", True),
        ("root", "check", True),
        ("root", "deny", False),
    ],
)
def test_what_a_test_wants(user: str, wanted: str, passed: bool) -> None:  # noqa: FBT001 (a column of the table)
    """Accept is kept by a check, too; a check by nothing else."""
    assert [one.passed for one in results(ALICE, **wants(wanted, user))] == [passed, passed]
    assert [one.passed for one in results(BOB, **wants(wanted, user))] == [wanted == "deny"] * 2


def test_a_result_says_what_decided() -> None:
    """For each node and account that a test speaks of, the entry."""
    assert results(ALICE, accept=["deploy"], check=["root"]) == [
        Result(1, ALICE, "web", "deploy", Wanted.ACCEPT, "accept", 1),
        Result(1, ALICE, "web", "root", Wanted.CHECK, "check", 2),
        Result(1, ALICE, "both", "deploy", Wanted.ACCEPT, "accept", 1),
        Result(1, ALICE, "both", "root", Wanted.CHECK, "check", 2),
    ]
    assert results(BOB, deny=["root"])[0] == Result(1, BOB, "web", "root", Wanted.DENY, "deny")


def test_tests_are_numbered() -> None:
    """From 1, in the file's order; accounts in the order accept, deny, check."""
    one = {"src": BOB, "dst": ["srv"], "check": ["c"], "deny": ["b"], "accept": ["a"]}
    found = [(result.test, result.user) for result in run(compiled(sshTests=[one, one], **SECTIONS))]
    assert found == [(1, "a"), (1, "b"), (1, "c"), (2, "a"), (2, "b"), (2, "c")]


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (ALICE, "accept"),
        ("100.64.0.1", "accept"),
        ("fd7a:115c:a1e0::2", "accept"),
        ("tag:db", "accept"),
        (BOB, "deny"),
        ("srv", "deny"),
        ("group:ops", "deny"),
        ("user:*@example.com", "deny"),
    ],
)
def test_sources(source: str, word: str) -> None:
    """Of several nodes that could connect, each has to: the first for which the test fails decides."""
    assert found(source, accept=["deploy"]) == {"web": word, "both": word}


NO_SOURCE, NO_DESTINATION = "src is no node of the tailnet", "dst is no node of the tailnet"


@pytest.mark.parametrize(
    "source",
    [
        "nobody@example.com",
        "100.64.9.9",
        "100.64.0.0/24",
        "gone",
        "unknown",
        "group:empty",
        "group:unknown",
        "tag:unknown",
        "*",
    ],
)
def test_sources_that_are_nothing(source: str) -> None:
    """The test fails, also one that wants a refusal: it proves nothing."""
    (result,) = results(source, deny=["root"])
    assert (result.found, result.passed, result.wanted) == (NO_SOURCE, False, None)


def test_a_source_without_addresses_is_nothing() -> None:
    """A node that the tailnet has given none cannot connect."""
    tailnet = Tailnet(TAILNET.people, (Node("bare", (), (), CAROL), WEB), TAILNET.domains)
    (result,) = results(CAROL, tailnet=tailnet, deny=["root"])
    assert (result.found, result.passed) == (NO_SOURCE, False)


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ("tag:web", {"web": "check", "both": "check"}),
        (["tag:web", "tag:web"], {"web": "check", "both": "check"}),
        (["tag:web", "tag:db"], {"web": "check", "both": "check", "db": "deny"}),
        ("autogroup:self", {"laptop": "accept", "phone": "accept"}),
        (ALICE, {"laptop": "accept", "phone": "accept"}),
        (BOB, {"desktop": "deny"}),
        ("autogroup:member", {"laptop": "accept", "phone": "accept", "desktop": "deny", "tablet": "deny"}),
        ("autogroup:tagged", {"web": "check", "db": "deny", "both": "check"}),
        ("srv", {"web": "check"}),
        ("100.64.0.5", {"web": "check"}),
        ("100.64.0.5/32", {"web": "check"}),
        ("100.64.0.1", {"laptop": "accept"}),
        ("group:ops", {"laptop": "accept", "phone": "accept", "desktop": "deny"}),
        ("group:empty", {"group:empty": NO_DESTINATION}),
        ("nobody@example.com", {"nobody@example.com": NO_DESTINATION}),
        ("gone", {"gone": NO_DESTINATION}),
        ("100.64.9.9", {"100.64.9.9": NO_DESTINATION}),
        ("fd7a:115c:a1e0::5", {"fd7a:115c:a1e0::5": NO_DESTINATION}),
    ],
)
def test_destinations(destination: str | list[str], words: dict[str, str]) -> None:
    """Of root, for alice; an IPv6 address is no node here, as with the control plane [recorded]."""
    assert found(ALICE, destination, accept=["root"]) == words


def test_a_destination_that_stands_twice_is_one() -> None:
    """Nobody wants to read its results twice."""
    assert len(results(ALICE, ["tag:web", "tag:web "], accept=["root"])) == 2


def test_a_tagged_source_has_no_nodes_of_its_own() -> None:
    """autogroup:self is then nobody's."""
    assert found("tag:db", "autogroup:self", deny=["root"]) == {"autogroup:self": NO_DESTINATION}


@pytest.mark.parametrize("said", [{}, {"accept": []}, {"accept": [], "deny": [], "check": []}])
def test_a_test_that_says_nothing_fails(said: dict[str, Any]) -> None:
    """Somebody believes that it does."""
    (result,) = results(ALICE, **said)
    assert (result.found.partition(":")[0], result.passed) == ("it says nothing", False)


@pytest.mark.parametrize("wanted", ["accept", "check", "deny"])
def test_an_empty_name_fails(wanted: str) -> None:
    """Whatever the test wants of it."""
    assert [one.passed for one in results(ALICE, **wants(wanted, ""))] == [False, False]


def test_one_failure_among_many_is_named() -> None:
    """The others stand beside it."""
    failed = [one for one in results(ALICE, ["tag:web", BOB], accept=["deploy"]) if not one.passed]
    assert failed == [Result(1, ALICE, "desktop", "deploy", Wanted.ACCEPT, "deny")]
    assert {LAPTOP.owner, BOTH.owner} == {ALICE, ""}


def conditional(*more: dict[str, Any], wanted: str) -> Result:
    """What a test of deploy on db comes to, where an entry with a posture stands before others."""
    first = {"action": "accept", "src": [ALICE], "dst": ["tag:db"], "users": ["deploy"], "srcPosture": ["posture:x"]}
    test = {"src": ALICE, "dst": ["100.64.0.6"], wanted: ["deploy"]}
    (result,) = run(compiled(ssh=[first, *more], sshTests=[test]))
    return result


@pytest.mark.parametrize("wanted", ["accept", "check", "deny"])
def test_an_entry_with_a_posture_may_count_or_not(wanted: str) -> None:
    """What depends on it cannot be told, whatever is wanted: the test passes only where it does either way."""
    result = conditional(wanted=wanted)
    # No check comes of it either way.
    found = "accept" if wanted == "check" else "cannot tell: srcPosture"
    assert (result.found, result.rule, result.passed) == (found, 1, False)


def test_a_posture_that_changes_nothing() -> None:
    """An entry behind it gives the same."""
    entry = {"src": [ALICE], "dst": ["tag:db"], "users": ["deploy"]}
    assert conditional(entry | {"action": "accept"}, wanted="accept").passed
    result = conditional(entry | {"action": "accept", "srcPosture": ["posture:y"]}, wanted="accept")
    assert (result.passed, result.found) == (False, "cannot tell: srcPosture")
    # A check comes first, and then no posture matters.
    assert conditional(entry | {"action": "check"}, wanted="check").passed


def each_by_itself(compiler: Compiler, test: SSHTest) -> Iterator[tuple[str, str, Wanted, set[tuple[bool, str]]]]:
    """Of each node, account and wish: whether it is kept and what is found, by source and set of postures."""
    sources = [node for node in nodes_of(compiler, parse(test.source)) if node.addresses]
    said = {Wanted.ACCEPT: test.accept, Wanted.DENY: test.deny, Wanted.CHECK: test.check}
    numbers = [entry.number for entry in compiler.policy.ssh if entry.conditional]
    for place in dict.fromkeys(test.destinations):
        nodes = nodes_of(compiler, place)
        if place.text == SELF:
            owners = dict.fromkeys(source.owner for source in sources if not source.tags)
            nodes = tuple(node for owner in owners for node in compiler.tailnet.owned.get(owner, ()))
        for node, (wanted, users) in itertools.product(nodes if sources else (), said.items()):
            for user in users:
                found = set()
                for kept in itertools.product((True, False), repeat=len(numbers)):
                    left_out = {number for number, counts in zip(numbers, kept, strict=True) if not counts}
                    rules = tuple(rule for rule in compiler.rules_for(node) if rule.number not in left_out)
                    found |= {plainly(Policy("file", rules), source, user, wanted) for source in sources}
                yield node.name, user, wanted, found


def plainly(policy: Policy, source: Node, user: str, wanted: Wanted) -> tuple[bool, str]:
    """What a host would decide of one login."""
    query = Query(source.addresses[0], source.stable_id, source.owner, user, None, tagged=bool(source.tags))
    reason = evaluate([policy], query, 0.0).reason
    word = {Reason.ACCEPTED: "accept", Reason.CHECK_NEEDED: "check"}.get(reason, "deny")
    return word == wanted.value or (wanted is Wanted.ACCEPT and word == "check"), word


@given(
    any_policy.policies(), any_policy.tailnets(), any_policy.tests(), st.lists(st.booleans(), min_size=4, max_size=4)
)
@settings(max_examples=200)
def test_every_source_counts(
    sections: dict[str, Any], tailnet: Tailnet, test: dict[str, Any], postures: list[bool]
) -> None:
    """The same as asking of each source, of each node, with each set of postures, by itself."""
    ssh = [
        entry | ({"srcPosture": ["posture:x"]} if posture else {})
        for entry, posture in zip(sections["ssh"], itertools.cycle(postures), strict=False)
    ]
    policy = document.read(json.dumps(sections | {"ssh": ssh, "sshTests": [test]}).encode(), "policy")
    validate(policy, tailnet.domains)
    compiler = Compiler(policy, tailnet)
    results = [result for result in run(compiler) if result.wanted is not None]
    plain = list(each_by_itself(compiler, policy.ssh_tests[0]))
    assert [(one.destination, one.user, one.wanted) for one in results] == [one[:3] for one in plain]
    for result, (*_, found) in zip(results, plain, strict=True):
        assert result.passed == all(kept for kept, _ in found)
        if result.found != "cannot tell: srcPosture":
            assert (result.passed, result.found) in found
        else:
            assert {kept for kept, _ in found} == {True, False}


def test_nodes_of_one_name_are_two() -> None:
    """Each has the rules of its own tags."""
    namesake = Node(WEB.name, (ip_address("100.64.9.1"),), ("tag:db",), stable_id="n99")
    tailnet = Tailnet(TAILNET.people, (*TAILNET.nodes, namesake), TAILNET.domains)
    found = [(one.destination, one.found) for one in results(ALICE, ["srv", "100.64.9.1"], tailnet, accept=["deploy"])]
    assert found == [("web", "accept"), ("web", "deny")]
    assert DB.tags == namesake.tags


@pytest.mark.timeout(60)
def test_a_thousand_sources_and_destinations() -> None:
    """Nodes with the same tags, and nodes of one person, are looked at once."""
    nodes = tuple(
        Node(
            f"n{number}", (ip_address(0x64400000 + number),), ("tag:web",) if number < 2000 else (), ALICE, f"n{number}"
        )
        for number in range(3000)
    )
    tailnet = Tailnet((Person(ALICE),), nodes, TAILNET.domains)
    ssh = [{"action": "accept", "src": ["tag:web", ALICE], "dst": ["tag:web"], "users": ["deploy"]}]
    tests = [
        {"src": source, "dst": ["tag:web"], "accept": ["deploy"], "deny": ["root"]} for source in ("tag:web", ALICE)
    ]
    compiler = compiled(tailnet, ssh=ssh, sshTests=tests)
    found = list(run(compiler))
    assert len(found) == 2 * 2 * 2000
    assert all(one.passed for one in found)


def test_a_node_that_may_reach_itself_alone() -> None:
    """An entry with `localpart:` for nodes with tags is also about each itself [recorded]."""
    nodes = tuple(
        Node(f"n{number}", (ip_address(f"100.64.9.{number}"),), tags, stable_id=f"n{number}")
        for number, tags in enumerate([("tag:web",), ("tag:web",), ("tag:web", "tag:db")], 1)
    )
    by_name = {"src": ["tag:web"], "dst": ["tag:db"], "users": ["deploy", "localpart:*@example.com"]}
    plain = {"src": ["tag:db"], "dst": ["tag:web"], "users": ["deploy"]}
    ssh = [entry | {"action": "accept"} for entry in (by_name, plain)]
    tests = [{"src": "tag:web", "dst": ["100.64.9.1"], "accept": ["deploy"], "deny": ["deploy"]}]
    accept, deny = run(compiled(Tailnet((), nodes, TAILNET.domains), ssh=ssh, sshTests=tests))
    assert (accept.found, accept.rule) == ("deny", None)
    assert (deny.found, deny.rule) == ("accept", 1)
