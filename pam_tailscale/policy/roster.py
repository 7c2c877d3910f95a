"""Who and what is in a tailnet, as far as a policy file is about them. Values only, wherever they come from."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from pam_tailscale.model import IPAddress


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the tailnet."""

    login: str
    roles: frozenset[str] = frozenset()
    """As selectors.ROLES names them; empty also where nobody told."""

    @property
    def domain(self) -> str:
        """What follows the last @ of the login name."""
        return self.login.rpartition("@")[2] if "@" in self.login else ""

    @property
    def localpart(self) -> str:
        """What is before it; empty where there is none."""
        return self.login.rpartition("@")[0]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the tailnet. One with tags has no owner."""

    name: str
    addresses: tuple[IPAddress, ...]
    tags: tuple[str, ...] = ()
    owner: str = ""
    """Login name."""
    stable_id: str = ""

    @property
    def identity(self) -> str:
        """Login name, or the tags joined by commas."""
        return ",".join(self.tags) if self.tags else self.owner


@dataclass(frozen=True, slots=True)
class Tailnet:
    """The people and nodes of a tailnet, in an order that is theirs for good."""

    people: tuple[Person, ...]
    nodes: tuple[Node, ...]
    domains: frozenset[str] | None = None
    """Domains of the tailnet itself, of which `user:*@domain` may speak; None where they are not known."""
    person: Mapping[str, Person] = field(init=False, repr=False, compare=False)
    """By login name."""
    owned: Mapping[str, tuple[Node, ...]] = field(init=False, repr=False, compare=False)
    """By login name, its nodes without tags."""
    tagged: Mapping[str, tuple[Node, ...]] = field(init=False, repr=False, compare=False)
    """By tag."""
    at: Mapping[IPAddress, Node] = field(init=False, repr=False, compare=False)
    """By address."""

    def __post_init__(self) -> None:
        owned: defaultdict[str, list[Node]] = defaultdict(list)
        tagged: defaultdict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for tag in node.tags:
                tagged[tag].append(node)
            if not node.tags:
                owned[node.owner].append(node)
        object.__setattr__(self, "person", {person.login: person for person in self.people})
        object.__setattr__(self, "owned", {login: tuple(nodes) for login, nodes in owned.items()})
        object.__setattr__(self, "tagged", {tag: tuple(nodes) for tag, nodes in tagged.items()})
        object.__setattr__(self, "at", {address: node for node in self.nodes for address in node.addresses})
