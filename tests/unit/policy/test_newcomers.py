"""Stand-ins for whom and what a policy names and nobody knows."""

import json
from typing import Any

import pytest

from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import PolicyFile
from pam_tailscale.policy.matrix import csv_rows, matrix
from pam_tailscale.policy.newcomers import if_everybody_had, stands_in, unknown_roles, with_newcomers
from pam_tailscale.policy.roster import Node, Person, Tailnet
from tests.support.tailnets import ALICE, BOB, LAPTOP, PHONE, WEB

DAVE = "dave@example.com"
TAILNET = Tailnet((Person(ALICE),), (LAPTOP, PHONE, WEB))
EMPTY = Tailnet((), ())
GROUPS = {"group:ops": [ALICE, DAVE], "group:other": ["erin@example.com"]}


def policy(sources: list[str], destinations: list[str], users: tuple[str, ...] = ("root",)) -> PolicyFile:
    """One entry."""
    entry: dict[str, Any] = {"action": "accept", "src": sources, "dst": destinations, "users": users}
    return document.read(json.dumps({"groups": GROUPS, "ssh": [entry]}).encode(), "policy")


def added(tailnet: Tailnet, *policies: PolicyFile) -> tuple[list[Person], list[Node]]:
    """Whom and what a tailnet gets."""
    found = with_newcomers(tailnet, *policies)
    assert found.people[: len(tailnet.people)] == tailnet.people
    assert found.nodes[: len(tailnet.nodes)] == tailnet.nodes
    return list(found.people[len(tailnet.people) :]), list(found.nodes[len(tailnet.nodes) :])


NEW = Node("tag:new", (), ("tag:new",))


@pytest.mark.parametrize(
    ("sources", "destinations", "people", "nodes"),
    [
        ([ALICE, "autogroup:member"], ["tag:web", "autogroup:tagged"], [], []),
        ([BOB], ["tag:web"], [Person(BOB)], []),
        (["group:ops"], ["tag:web"], [Person(DAVE)], []),
        (["autogroup:admin"], ["tag:web"], [Person("autogroup:admin", frozenset({"admin"}))], []),
        (["user:*@example.com"], ["tag:web"], [], []),
        (["user:*@example.org"], ["tag:web"], [Person("user:*@example.org")], []),
        ([ALICE], ["tag:new"], [], [NEW]),
        (["tag:new", "tag:new"], ["tag:new"], [], [NEW]),
        (["autogroup:tagged"], ["autogroup:tagged"], [], []),
        ([ALICE], ["autogroup:member"], [], []),
    ],
)
def test_what_nobody_knows(
    sources: list[str], destinations: list[str], people: list[Person], nodes: list[Node]
) -> None:
    """And nothing that is known."""
    assert added(TAILNET, policy(sources, destinations)) == (people, nodes)


def test_a_tailnet_of_which_nothing_is_known() -> None:
    """Has somebody, and something with tags and without, as soon as a policy says so."""
    everything = policy(["autogroup:member"], ["autogroup:tagged", "autogroup:member"], ("localpart:*@example.com",))
    people, nodes = added(EMPTY, everything)
    assert people == [Person("user:*@example.com")]
    assert nodes == [Node("autogroup:tagged", (), ("autogroup:tagged",)), Node("autogroup:member", ())]
    assert added(EMPTY, policy(["autogroup:member"], [])) == ([Person("autogroup:member")], [])
    assert added(EMPTY, policy([], [])) == ([], [])


def test_of_several_policies() -> None:
    """Each once."""
    people, nodes = added(TAILNET, policy([BOB], ["tag:new"]), policy([BOB, DAVE], ["tag:new", "tag:other"]))
    assert ([person.login for person in people], [node.name for node in nodes]) == (
        [BOB, DAVE],
        ["tag:new", "tag:other"],
    )


def test_what_stand_ins_get_is_a_row_like_any_other() -> None:
    """By the name that the policy has for them."""
    text = policy(["autogroup:admin", BOB, "user:*@example.org", "tag:new"], ["tag:new"])
    compiler = Compiler(text, with_newcomers(TAILNET, text))
    who = ["autogroup:admin", BOB, "user:*@example.org", "tag:new"]
    rows = [row[:3] for row in csv_rows(compiler, matrix(compiler))]
    assert sorted(rows) == sorted((one, "tag:new", "root") for one in who)


def test_who_stands_in() -> None:
    """Nobody who has a login name, and no node."""
    names = ("autogroup:admin", "user:*@example.org", "tag:new", ALICE, "web.tailnet.example", "alice")
    assert [stands_in(name) for name in names] == [True, True, True, False, False, False]


def test_roles() -> None:
    """Known where somebody has them, of interest where they are named."""
    text = policy(["autogroup:admin", "autogroup:auditor"], [])
    assert unknown_roles(TAILNET, text) == ("autogroup:admin", "autogroup:auditor")
    everybody = if_everybody_had(TAILNET, ["autogroup:admin"])
    assert everybody.people == (Person(ALICE, frozenset({"admin"})),)
    assert everybody.nodes == TAILNET.nodes
    assert unknown_roles(everybody, text) == ("autogroup:auditor",)
    assert unknown_roles(TAILNET, policy([ALICE], [])) == ()
