"""The sshTests section: what a policy says of itself, and whether it does it."""

from typing import Any

import pytest

from pam_tailscale.policy.roster import Node, Tailnet
from pam_tailscale.policy.sshtests import Result, Wanted, run
from tests.support.tailnets import ALICE, BOB, BOTH, CAROL, LAPTOP, TAILNET, WEB, compiled

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
        ("autogroup:admin", "accept"),
        (BOB, "deny"),
        ("srv", "deny"),
        ("group:ops", "deny"),
        ("user:*@example.com", "deny"),
        ("autogroup:member", "deny"),
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
        "autogroup:auditor",
        "autogroup:internet",
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
