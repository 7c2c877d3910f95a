"""A tailnet and policies for it, of any size, the same each time: what the benchmark of policies works on. Pure.

At the issue's size, 1, they are 10,000 nodes, 5,000 people, 1,000 entries of `ssh` and 500 groups of 1 to 4 per person.
Half of the nodes are people's devices; the others have a team's tag, three of four an environment's too. Entries by
what they are for: MIX. All grows together but what there are BROAD of at any size.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from pam_tailscale.policy.roster import Node, Person, Tailnet

NODES: Final = 10_000
PEOPLE: Final = 5_000
ENTRIES: Final = 1_000
GROUPS: Final = 500
_TEAMS: Final = 250
BROAD: Final = {"environment": 28, "everybody": 2}
"""Entries about all nodes of an environment; about everybody and their own devices."""
MIX: Final = {"team": 0.76, "person": 0.06, "self": 0.05, "localpart": 0.05, "machines": 0.05, "roles": 0.03}
"""Entries beside those, by kind: groups to a team's nodes, one person to such, groups to their own devices, groups to
nodes by their own name, tags to tags, admins to nodes."""
CHECKS: Final = 0.15
"""Of all entries these ask for a check."""
_DOMAIN: Final = "example.com"
_ENVIRONMENTS: Final = ("tag:prod", "tag:stage", "tag:dev")
_NAMES: Final = tuple(f"service{number}" for number in range(40))


@dataclass(frozen=True, slots=True)
class Size:
    """How large; 1 is what the targets are for."""

    factor: float

    def of(self, count: int) -> int:
        """So many of what there are `count` at size 1."""
        return int(count * self.factor)


def tailnet(size: Size) -> Tailnet:
    """The people and nodes."""
    chance = random.Random(1)  # noqa: S311 (the same each time is what is wanted)
    people = tuple(
        Person(f"user{number}@{_DOMAIN}", frozenset({"admin"}) if number % 200 == 0 else frozenset())
        for number in range(size.of(PEOPLE))
    )
    nodes = []
    for number in range(size.of(NODES)):
        tags: tuple[str, ...] = ()
        owner = people[number // 2].login
        if number % 2:
            tags, owner = _tags(chance, size), ""
        addresses = IPv4Address(0x64400000 + number), IPv6Address(0xFD7A115CA1E0 << 80 | number)
        nodes.append(Node(f"node{number}.tailnet.example", addresses, tags, owner, f"n{number}"))
    return Tailnet(people, tuple(nodes), frozenset({_DOMAIN}))


def _tags(chance: random.Random, size: Size) -> tuple[str, ...]:
    environment = () if chance.random() < 1 / 4 else (chance.choice(_ENVIRONMENTS),)
    return (_team(chance, size), *environment)


def _team(chance: random.Random, size: Size) -> str:
    return f"tag:team{chance.randrange(size.of(_TEAMS))}"


def policy(size: Size, seed: int) -> bytes:
    """A policy file for it."""
    chance = random.Random(seed)  # noqa: S311
    groups: dict[str, list[str]] = {f"group:g{number}": [] for number in range(size.of(GROUPS))}
    for number in range(size.of(PEOPLE)):
        for group in chance.sample(list(groups), chance.randint(1, 4)):
            groups[group].append(f"user{number}@{_DOMAIN}")
    owners: dict[str, list[str]] = {
        tag: [] for tag in (*_ENVIRONMENTS, *(f"tag:team{team}" for team in range(size.of(_TEAMS))))
    }
    kinds = [kind for kind, count in BROAD.items() for _ in range(count)]
    kinds += chance.choices(list(MIX), list(MIX.values()), k=size.of(ENTRIES) - len(kinds))
    chance.shuffle(kinds)
    entries = [_entry(chance, size, kind, groups) for kind in kinds]
    return json.dumps({"groups": groups, "tagOwners": owners, "ssh": entries}, indent=1).encode()


def changed(data: bytes, seed: int, part: float) -> bytes:
    """The same file with that part of its entries written anew by another's of them, as a review would see it."""
    chance = random.Random(seed)  # noqa: S311
    value = json.loads(data)
    entries = value["ssh"]
    for position in chance.sample(range(len(entries)), int(len(entries) * part)):
        other = chance.choice(entries)
        key = chance.choice(("users", "src")) if "localpart" not in f"{entries[position]}{other}" else "users"
        if _is_of_machines(entries[position]) == _is_of_machines(other):
            entries[position][key] = other[key]
    return json.dumps(value, indent=1).encode()


def _is_of_machines(entry: Mapping[str, Any]) -> bool:
    return any(source.startswith("tag:") for source in entry["src"])


def _entry(chance: random.Random, size: Size, kind: str, groups: Mapping[str, Any]) -> dict[str, Any]:
    some = chance.sample(list(groups), chance.randint(1, 3))
    source, destination = {
        "team": (some, [_team(chance, size) for _ in range(chance.randint(1, 2))]),
        "person": ([f"user{chance.randrange(size.of(PEOPLE))}@{_DOMAIN}"], [_team(chance, size)]),
        "self": (some, ["autogroup:self"]),
        "everybody": (["autogroup:member"], ["autogroup:self"]),
        "localpart": (some, [_team(chance, size)]),
        "machines": ([_team(chance, size)], [_team(chance, size)]),
        "roles": (["autogroup:admin"], [_team(chance, size)]),
        "environment": (some, [chance.choice(_ENVIRONMENTS)]),
    }[kind]
    users = [f"localpart:*@{_DOMAIN}"] if kind == "localpart" else _users(chance)
    entry: dict[str, Any] = {"action": "accept", "src": source, "dst": destination, "users": users}
    if kind != "machines" and chance.random() < CHECKS:
        entry |= {"action": "check", "checkPeriod": chance.choice(("1h", "12h", "20h", "always"))}
    return entry


def _users(chance: random.Random) -> list[str]:
    kind = chance.random()
    names = chance.sample(_NAMES, chance.randint(1, 3))
    if kind < 0.4:  # noqa: PLR2004 (two of five)
        return ["autogroup:nonroot"]
    if kind < 0.6:  # noqa: PLR2004
        return ["autogroup:nonroot", "root"]
    return names if kind < 0.85 else ["root", *names]  # noqa: PLR2004
