"""Any policy that is valid, as JSON, and any small tailnet that it could be for: hypothesis strategies."""

from ipaddress import IPv6Address, ip_address
from typing import Any

from hypothesis import strategies as st

from pam_tailscale.policy.roster import Node, Person, Tailnet
from tests.support.policy_reference import ROLES

DOMAINS = ("example.com", "example.org")
LOGINS = (
    "alice@example.com",
    "bob@example.com",
    "carol@example.org",
    "root@example.com",
    "*@example.org",
    "alice@b@example.org",
)
STRANGER = "gone@example.com"
"""A login of which the tailnet does not know."""
TAGS = ("tag:web", "tag:db")
GROUPS = ("group:ops", "group:dev")
ACCOUNTS: tuple[tuple[str, int | None], ...] = (
    ("root", 0),
    ("alice", 1000),
    ("bob", 1001),
    ("alice@b", None),
    ("deploy", 999),
    ("toor", 0),
    ("0", None),
    ("*", None),
    ("nobody-knows", None),
)
"""What is asked for, with their uids."""

_PEOPLE = (*LOGINS, STRANGER, *GROUPS, *(f"user:*@{domain}" for domain in DOMAINS))
_EVERYBODY = ("autogroup:member", "autogroup:members", *(f"autogroup:{role}" for role in ROLES))
_USERS = ("root", "autogroup:nonroot", "deploy", "alice", "toor", "0", "group:ops", "localpart:*@", "localpart:x@y")
_BY_NAME = tuple(f"localpart:*@{domain}" for domain in DOMAINS)
_NODES_MAX = 5


def _some(*texts: str, least: int = 1) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(texts), min_size=least, max_size=3)


_TO_TAGS = {"src": _some(*_PEOPLE, *_EVERYBODY, *TAGS, "autogroup:tagged"), "dst": _some(*TAGS, "autogroup:tagged")}
_TO_PEOPLE = {
    "src": _some(*_PEOPLE, *_EVERYBODY),
    "dst": _some(*TAGS, "autogroup:self", "autogroup:member", "autogroup:members"),
}


def _to_one_person(login: str) -> st.SearchStrategy[dict[str, list[str]]]:
    destinations = _some(*TAGS, "autogroup:self", least=0).map(lambda others: [login, *others])
    return st.fixed_dictionaries({"src": st.just([login]), "dst": destinations})


@st.composite
def _entries(draw: st.DrawFn) -> dict[str, Any]:
    to_one = st.sampled_from(LOGINS).flatmap(_to_one_person)
    ends = draw(st.fixed_dictionaries(_TO_TAGS) | st.fixed_dictionaries(_TO_PEOPLE) | to_one)
    rest = st.fixed_dictionaries(
        {"action": st.sampled_from(["accept", "check", " accept"]), "users": _some(*_USERS, *_BY_NAME)},
        optional={
            "checkPeriod": st.sampled_from(["always", "0s", "1s", "20h"]),
            "acceptEnv": _some("LANG", "LC_*"),
        },
    )
    entry = ends | draw(rest)
    if any(_is_tag(source) for source in entry["src"]):
        entry["action"] = "accept"  # nobody could pass a check for a tag
    return entry


def _is_tag(source: str) -> bool:
    return source in (*TAGS, "autogroup:tagged")


def _contradicted(entry: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """An entry about the same that says something else."""
    changed = entry | other
    return changed | {"action": "accept"} if any(_is_tag(source) for source in entry["src"]) else changed


def _sections() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Some entries; often another one about the same, that says something else."""
    contradictions = st.fixed_dictionaries(
        {"action": st.sampled_from(["accept", "check"])}, optional={"users": _some(*_USERS, *_BY_NAME)}
    )
    entries = st.lists(_entries(), min_size=1, max_size=3)
    return st.tuples(entries, st.lists(contradictions, max_size=1)).map(
        lambda pair: [*pair[0], *(_contradicted(pair[0][0], other) for other in pair[1])]
    )


def tests() -> st.SearchStrategy[dict[str, Any]]:
    """A test of the `sshTests` section that the control plane takes."""
    users = _some("root", "alice", "deploy", least=0)
    return st.fixed_dictionaries(
        {
            "src": st.sampled_from([*LOGINS, *TAGS, *GROUPS, "srv"]),
            "dst": _some(*TAGS, *GROUPS, "srv", "autogroup:self", "autogroup:member", "autogroup:tagged"),
        },
        optional={"accept": users, "deny": users, "check": users},
    )


def policies() -> st.SearchStrategy[dict[str, Any]]:
    """A policy as JSON; the control plane takes it for a tailnet whose domains are DOMAINS."""
    members = _some(*LOGINS, STRANGER, least=0)
    return st.fixed_dictionaries(
        {
            "groups": st.fixed_dictionaries(dict.fromkeys(GROUPS, members)),
            "tagOwners": st.fixed_dictionaries(dict.fromkeys(TAGS, members)),
            "hosts": st.just({"srv": "100.64.0.1"}),
            "ssh": _sections(),
        },
        optional={
            "acls": st.just([{"action": "accept", "src": ["*"], "dst": ["*:*"]}]),
            "sshTests": st.lists(tests(), max_size=2),
            "nodeAttrs": st.just([{"target": ["*"], "attr": ["x"]}]),
        },
    )


@st.composite
def tailnets(draw: st.DrawFn) -> Tailnet:
    """People, some with roles, and nodes: theirs, of somebody of whom the tailnet does not know, and tagged ones."""
    logins = draw(st.lists(st.sampled_from(LOGINS), min_size=2, unique=True))
    people = tuple(Person(login, frozenset(draw(st.sets(st.sampled_from(ROLES), max_size=2)))) for login in logins)
    owned = st.sampled_from([*LOGINS, STRANGER]).map(lambda login: (login, ()))
    tagged = st.lists(st.sampled_from(TAGS), min_size=1, unique=True).map(lambda tags: ("", tuple(tags)))
    nodes = tuple(
        Node(f"node{number}", (ip_address(f"100.64.0.{number}"), IPv6Address(number)), tags, owner, f"n{number}")
        for number, (owner, tags) in enumerate(draw(st.lists(owned | tagged, min_size=2, max_size=_NODES_MAX)), 1)
    )
    return Tailnet(people, nodes, frozenset(DOMAINS))
