"""The rules that each node receives. What is said of the control plane here is also in its recorded answers."""

from ipaddress import ip_address
from typing import Any

import pytest

from pam_tailscale.policy.compile import HOLD, Compiler
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.rules import Action, Rule
from pam_tailscale.policy.selectors import ROLES
from tests.support.tailnets import (
    ALICE,
    BOB,
    BOTH,
    CAROL,
    DB,
    DESKTOP,
    LAPTOP,
    PHONE,
    TABLET,
    TAILNET,
    WEB,
    compiled,
    node,
)

ACCEPT = Action(
    accept=True, allow_agent_forwarding=True, allow_local_port_forwarding=True, allow_remote_port_forwarding=True
)
NODES = TAILNET.nodes


def entry(
    source: str | list[str] = ALICE, destination: str | list[str] = "tag:web", *users: str, **more: Any
) -> dict[str, Any]:
    """An entry of ssh."""
    src = [source] if isinstance(source, str) else source
    dst = [destination] if isinstance(destination, str) else destination
    return {"action": "accept", "src": src, "dst": dst, "users": list(users) or ["deploy"]} | more


def about(rule: Rule, tailnet: Tailnet = TAILNET) -> list[str]:
    """Names of the nodes that a rule is about, in its order; each has its addresses one after the other."""
    addresses = [principal.address for principal in rule.principals]
    by_address = {address.packed: node for address, node in tailnet.at.items()}
    names = [by_address[address].name for address in addresses[::2]]
    assert addresses == [one.packed for name in names for one in next(n for n in NODES if n.name == name).addresses]
    return names


def received(compiler: Compiler) -> dict[str, list[tuple[list[str], dict[str, str]]]]:
    """What each node receives that receives something: whom a rule is about, and its users."""
    found = {one.name: [(about(rule), dict(rule.users)) for rule in compiler.rules_for(one)] for one in NODES}
    return {name: rules for name, rules in found.items() if rules}


DEPLOY = {"root": "", "deploy": "deploy"}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (ALICE, ["laptop", "phone"]),
        (BOB, ["desktop"]),
        ("nobody@example.com", None),
        ("group:ops", ["desktop", "tablet"]),
        ("group:empty", None),
        ("user:*@example.com", ["laptop", "phone", "desktop"]),
        ("autogroup:member", ["laptop", "phone", "desktop", "tablet"]),
        ("autogroup:admin", ["laptop", "phone"]),
        ("autogroup:auditor", None),
        ("tag:db", ["db", "both"]),
        ("tag:none", None),
        ("autogroup:tagged", ["web", "db", "both", "both"]),
        ([BOB, ALICE], ["laptop", "phone", "desktop"]),
        (["tag:db", ALICE], ["laptop", "phone", "db", "both"]),
        (["tag:web", "tag:db"], ["web", "both", "db", "both"]),
        ([ALICE, "autogroup:admin", ALICE], ["laptop", "phone"]),
        ([], None),
    ],
)
def test_whom_a_rule_is_about(source: str | list[str], names: list[str] | None) -> None:
    """People in the tailnet's order, then tagged nodes; a rule about nobody is none."""
    compiler = compiled(
        ssh=[entry(source)],
        tagOwners={"tag:web": [], "tag:db": [], "tag:none": []},
        groups={"group:ops": [CAROL, BOB, "gone@example.com"], "group:empty": []},
    )
    expected = {} if names is None else {"web": [(names, DEPLOY)], "both": [(names, DEPLOY)]}
    assert received(compiler) == expected


@pytest.mark.parametrize("autogroup", ROLES)
def test_roles(autogroup: str) -> None:
    """An autogroup of a role is whoever has it."""
    tailnet = Tailnet((Person(ALICE), Person(BOB, frozenset({ROLES[autogroup]}))), NODES, None)
    (rule,) = compiled(tailnet, ssh=[entry(autogroup)]).rules_for(WEB)
    assert about(rule) == ["desktop"]


@pytest.mark.parametrize(
    ("destination", "nodes"),
    [
        ("tag:web", {"web", "both"}),
        (["tag:web", "tag:db"], {"web", "db", "both"}),
        ("autogroup:tagged", {"web", "db", "both"}),
        ("autogroup:member", {"laptop", "phone", "desktop", "tablet"}),
        ([], set()),
    ],
)
def test_who_receives_it(destination: str | list[str], nodes: set[str]) -> None:
    """Each once, with everybody whom the entry is about."""
    compiler = compiled(ssh=[entry([ALICE, BOB], destination)])
    assert received(compiler) == {name: [(["laptop", "phone", "desktop"], DEPLOY)] for name in nodes}


def test_ones_own_nodes() -> None:
    """autogroup:self: each person from their nodes to their nodes, and no tagged node."""
    own = (["laptop", "phone"], DEPLOY)
    assert received(compiled(ssh=[entry("autogroup:member", "autogroup:self")])) == {
        "laptop": [own],
        "phone": [own],
        "desktop": [(["desktop"], DEPLOY)],
        "tablet": [(["tablet"], DEPLOY)],
    }
    assert received(compiled(ssh=[entry([ALICE], "autogroup:self")])) == {"laptop": [own], "phone": [own]}
    assert received(compiled(ssh=[entry([ALICE], ALICE)])) == {"laptop": [own], "phone": [own]}


@pytest.mark.parametrize(
    ("users", "received_users"),
    [
        (["root"], {"root": "root"}),
        (["deploy", "git"], {"root": "", "deploy": "deploy", "git": "git"}),
        (["deploy", "root"], {"root": "root", "deploy": "deploy"}),
        (["autogroup:nonroot"], {"root": "", "*": "="}),
        (["autogroup:nonroot", "root", "git"], {"root": "root", "*": "=", "git": "git"}),
        (["0"], {"root": "", "0": "0"}),
        (["my user", "ж"], {"root": "", "my user": "my user", "ж": "ж"}),
        (
            ["autogroup:member", "group:ops"],
            {"root": "", "autogroup:member": "autogroup:member", "group:ops": "group:ops"},
        ),
        (["localpart:*@"], {"root": "", "localpart:*@": "localpart:*@"}),
    ],
)
def test_users(users: list[str], received_users: dict[str, str]) -> None:
    """Root is in every rule, as nothing where the entry does not name it; a name that is odd is a name."""
    compiler = compiled(ssh=[entry(ALICE, "tag:db", *users)])
    assert received(compiler)["db"] == [(["laptop", "phone"], received_users)]


def test_an_entry_becomes_a_rule() -> None:
    """With the number of the entry, all forwarding for accept, and what the environment may bring."""
    (rule,) = compiled(ssh=[entry(BOB, "tag:web", acceptEnv=["LANG", "LC_*"])]).rules_for(WEB)
    assert (rule.number, rule.action, rule.accept_env, rule.expires) == (1, ACCEPT, ("LANG", "LC_*"), None)


def test_a_check_names_the_control_plane_and_its_period() -> None:
    """Nothing is allowed by the rule itself."""
    (rule,) = compiled(ssh=[entry(action="check", checkPeriod="20h")]).rules_for(WEB)
    assert rule.action == Action(hold_and_delegate=HOLD, period=72_000)


def test_checks_come_first() -> None:
    """And each kind in the file's order: contradictory entries never let in without a check."""
    entries = [entry(BOB), entry(action="check"), entry(), entry(CAROL, action="check")]
    assert [rule.number for rule in compiled(ssh=entries).rules_for(WEB)] == [2, 4, 1, 3]


def test_an_entry_reaches_a_node_once() -> None:
    """Also one that two tags, or a tag and autogroup:tagged, lead to."""
    compiler = compiled(ssh=[entry(ALICE, ["tag:web", "tag:db", "autogroup:tagged"]), entry(BOB)])
    assert [rule.number for rule in compiler.rules_for(BOTH)] == [1, 2]


BY_NAME = "localpart:*@example.com"


def test_people_by_the_name_of_their_login() -> None:
    """Two rules a person: what the entry says of all, and their own name; who has another domain has only the first."""
    none = {"root": ""}
    own = [(["laptop", "phone"], none), (["laptop", "phone"], {"alice": "alice"})]
    bobs = [(["desktop"], none), (["desktop"], {"bob": "bob"})]
    carols = [(["tablet"], none)]
    compiler = compiled(ssh=[entry("autogroup:member", "tag:db", BY_NAME)])
    everybody = [*own, *bobs, *carols]
    # What has another destination reaches people's own nodes all the same, as rules about themselves [recorded].
    wanted = {"db": everybody, "both": everybody, "laptop": own, "phone": own, "desktop": bobs, "tablet": carols}
    assert received(compiler) == wanted


def test_people_by_name_and_others() -> None:
    """Accounts that the entry names itself are in everybody's first rule; tagged nodes come last, and have no name."""
    compiler = compiled(ssh=[entry([ALICE, "tag:web"], "tag:db", BY_NAME, "root", "autogroup:nonroot")])
    all_users = {"root": "root", "*": "="}
    people = [(["laptop", "phone"], all_users), (["laptop", "phone"], {"alice": "alice"})]
    assert received(compiler) == {
        "db": [*people, (["web", "both"], all_users)],
        "both": [*people, (["web", "both"], all_users)],
        "laptop": people,
        "phone": people,
        "web": [(["web"], all_users)],
    }


def test_people_by_name_on_their_own_nodes() -> None:
    """autogroup:self alone reaches no other node."""
    compiler = compiled(ssh=[entry(BOB, "autogroup:self", BY_NAME)])
    assert received(compiler) == {"desktop": [(["desktop"], {"root": ""}), (["desktop"], {"bob": "bob"})]}
    assert received(compiled(ssh=[entry(BOB, [], BY_NAME)])) == {}


@pytest.mark.parametrize("login", ["root@example.com", "*@example.com", "@example.com"])
def test_nobody_is_root_by_the_name_of_a_login(login: str) -> None:
    """Nor everybody, nor nobody: such a person has only what the entry says of all."""
    tailnet = Tailnet((Person(login),), (node(1, "laptop", owner=login), WEB), TAILNET.domains)
    rules = compiled(tailnet, ssh=[entry("autogroup:member", "tag:web", BY_NAME)]).rules_for(WEB)
    assert [dict(rule.users) for rule in rules] == [{"root": ""}]


def test_people_without_nodes_have_no_rules() -> None:
    """There is nothing that could be about them."""
    tailnet = Tailnet((Person(ALICE), Person(BOB)), (LAPTOP, WEB), TAILNET.domains)
    compiler = compiled(tailnet, ssh=[entry([BOB], "tag:web", BY_NAME), entry(BOB)])
    assert compiler.rules_for(WEB) == ()


def test_nodes_of_whom_nobody_knows() -> None:
    """An owner who is not in the tailnet, a node without addresses: nobody gets in by them."""
    stranger, bare = node(9, "stranger", owner="gone@example.com"), Node("bare", (), (), BOB)
    tailnet = Tailnet((Person(ALICE), Person(BOB)), (stranger, bare, WEB), TAILNET.domains)
    compiler = compiled(
        tailnet, ssh=[entry("autogroup:member", ["tag:web", "autogroup:self"], BY_NAME), entry("gone@example.com")]
    )
    assert [compiler.rules_for(one) for one in tailnet.nodes] == [(), (), ()]


def test_what_a_node_receives_is_a_policy() -> None:
    """Of the source `file`, found by a peer's address."""
    policy = compiled(ssh=[entry()]).policy_for(WEB)
    assert (policy.source, len(policy.rules)) == ("file", 1)
    assert policy.candidates(ip_address("100.64.0.2"), "", "") == list(policy.rules)
    assert policy.candidates(ip_address("100.64.0.3"), "", "") == []


def test_what_nodes_have_in_common_is_one_object() -> None:
    """That is what makes a large tailnet affordable."""
    compiler = compiled(ssh=[entry("autogroup:member", ["tag:web", "tag:db"])])
    assert compiler.rules_for(WEB)[0] is compiler.rules_for(DB)[0]


@pytest.mark.timeout(120)
def test_a_hundred_thousand_nodes() -> None:
    """A node's rules are there soon; a rule about all has all their addresses."""
    nodes = tuple(Node(f"n{n}", (ip_address((100 << 24) + (64 << 16) + n),), ("tag:web",)) for n in range(100_000))
    tailnet = Tailnet((Person(ALICE),), (*nodes, LAPTOP), TAILNET.domains)
    compiler = compiled(tailnet, ssh=[entry("autogroup:tagged", "tag:web"), entry(ALICE)])
    assert [len(rule.principals) for rule in compiler.rules_for(nodes[0])] == [100_000, 2]
    assert all(len(compiler.rules_for(one)) == 2 for one in nodes)


def test_the_tailnet_of_these_tests_has_all_kinds() -> None:
    """Two nodes of one person, one each of two others, and tags alone and together."""
    assert {one.identity for one in (LAPTOP, PHONE, DESKTOP, TABLET)} == {ALICE, BOB, CAROL}
    assert [one.tags for one in (WEB, DB, BOTH)] == [("tag:web",), ("tag:db",), ("tag:web", "tag:db")]


def test_nodes_with_the_same_rules_have_one_policy() -> None:
    """So does everybody's device with those that are theirs; not so a node of which some rule is about it alone."""
    compiler = compiled(
        ssh=[
            entry(["autogroup:member"], ["tag:web", "autogroup:self"], BY_NAME),
            entry(["tag:db"], "tag:web", BY_NAME, "deploy"),
        ]
    )
    assert compiler.policy_for(LAPTOP) is compiler.policy_for(PHONE)
    assert compiler.policy_for(LAPTOP) is not compiler.policy_for(DESKTOP)
    assert compiler.policy_for(WEB) is compiler.policy_for(WEB)
    assert compiler.has_rules_about_itself(DB)
    assert (len(compiler.policy_for(DB).rules), len(compiler.policy_for_others(DB).rules)) == (1, 0)
    assert [compiler.policy_for(one).rules for one in NODES] == [compiler.rules_for(one) for one in NODES]


def test_accounts_of_an_entry_are_one_object() -> None:
    """Thousands of people times thousands of accounts would not be affordable."""
    users = [f"u{number}" for number in range(1000)]
    rules = compiled(ssh=[entry("autogroup:member", "tag:web", *users, BY_NAME)]).rules_for(WEB)
    assert len({id(rule.users) for rule in rules if len(rule.users) > 1}) == 1
    assert len(rules) == 5


def test_nodes_of_one_name_are_two() -> None:
    """A node has rules about itself, not about another that is called the same."""
    namesake = Node(DB.name, (ip_address("100.64.9.1"),), ("tag:other",), stable_id="n99")
    tailnet = Tailnet(TAILNET.people, (*NODES, namesake), TAILNET.domains)
    compiler = compiled(
        tailnet,
        ssh=[entry(["tag:db"], "tag:web", BY_NAME, "deploy")],
        tagOwners={"tag:web": [], "tag:db": [], "tag:other": []},
    )
    assert len(compiler.rules_for(DB)) == 1
    assert compiler.rules_for(namesake) == ()


def test_postures_and_recorders_are_left_out() -> None:
    """The rule is the one that the entry would have without them; that it is not certain the entry says."""
    more: dict[str, Any] = {"srcPosture": ["posture:x"], "recorder": ["tag:db"], "enforceRecorder": True}
    compiler = compiled(ssh=[entry(**more)])
    assert compiler.rules_for(WEB) == compiled(ssh=[entry()]).rules_for(WEB)
    assert [one.conditional for one in compiler.policy.ssh] == [True]
