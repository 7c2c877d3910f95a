"""Who may log in where, as whom, under a policy file: whole sets of people and nodes at once. Pure.

Nobody is ever looked at together with every node. People and classes of nodes with the same tags are bits of an
integer, nodes that the same entries are about are one place, and a place's entries are gone through once: so many
thousand people cost hardly more than one. What is found is what evaluate.py says of the rules that compile.py makes for
each pair; tests compare the two. A host refuses its own node: what is found is for another node of the same person or
tags, and Sources.alone tells who has none.
"""

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import SSHEntry
from pam_tailscale.policy.evaluate import ROOT
from pam_tailscale.policy.roster import Node, Tailnet
from pam_tailscale.policy.selectors import MEMBER, NONROOT, SELF, TAGGED, Kind, Selector

_NOBODYS: Final = ("", ROOT, "*")
"""What is before a login name's @ and still is no account of that person's (compile.py)."""


class Wide(enum.Enum):
    """Accounts that no entry names one by one."""

    ANY = "any"
    """Any account but root. Where an account is also listed by name for the same people and nodes, that counts."""
    OWN = "own"
    """The account that is called as what is before the @ of the login name."""


Account = str | Wide


class Standing(enum.Enum):
    """What the nodes of a place are to the people who log in there."""

    TAGGED = "tagged"
    DEVICES = "devices"
    """Devices of people, seen by anybody but their owner."""
    OWN = "own"
    """Everybody's own devices, each seen by its owner."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Nodes where the same entries decide. Of OWN all devices: whoever is asked about has some of them, or none."""

    standing: Standing
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What one entry would give, were it the only one."""

    entry: SSHEntry
    sources: int
    names: tuple[str, ...]
    """Accounts that it names, also root."""
    any: bool
    """Any account but root."""
    own: int
    """Of the sources, people who get the account of their own name; none where they get any."""

    @property
    def effect(self) -> tuple[float | None, int, tuple[str, ...], bool, int]:
        """Equal for claims that give the same, whatever their entries' numbers."""
        return period_of(self.entry), self.sources, self.names, self.any, self.own


@dataclass(frozen=True, slots=True)
class Permit:
    """Sources that an entry lets in as some account, after all entries before it. Never empty."""

    entry: SSHEntry
    sources: int
    exact: bool
    """It names the account: a host lets nobody in as a system account otherwise."""


Permits = Mapping[Account, Sequence[Permit]]


def period_of(entry: SSHEntry) -> float | None:
    """Seconds for which an authentication counts, 0 for always; None where the entry asks for none."""
    return entry.period if entry.action == "check" else None


class Sources:
    """Everybody who could log in somewhere. A set of them is an integer: people's bits first, then those of tags."""

    def __init__(self, tailnet: Tailnet) -> None:
        self.logins = tuple(tailnet.person)
        self.tags = tuple(dict.fromkeys(tuple(sorted(set(node.tags))) for node in tailnet.nodes if node.tags))
        """Each what some nodes have, sorted."""
        self.people = (1 << len(self.logins)) - 1
        self._bytes = (len(self.logins) + len(self.tags)) // 8 + 1
        self._position = {login: position for position, login in enumerate(self.logins)}
        self._by_tags = {tags: position for position, tags in enumerate(self.tags, len(self.logins))}
        self._tagged: defaultdict[str, list[int]] = defaultdict(list)
        for tags, position in self._by_tags.items():
            for tag in tags:
                self._tagged[tag].append(position)
        namesakes: defaultdict[str, list[int]] = defaultdict(list)
        domains: defaultdict[str, list[int]] = defaultdict(list)
        for login, person in tailnet.person.items():
            if person.localpart not in _NOBODYS:
                namesakes[person.localpart].append(self._position[login])
                domains[person.domain].append(self._position[login])
        self._namesakes = dict(namesakes)
        self.named = {domain: self._set(positions) for domain, positions in domains.items()}
        """By domain, the people of it who have an account of their own name."""
        known = Counter(self.holder(node) for node in tailnet.nodes if node.addresses)
        self.alone = self._set(position for position, count in known.items() if count == 1 and position is not None)
        """Those with just one node; of whom none is known, like a stand-in (newcomers.py), could come to have many."""

    def of(self, compiler: Compiler, selector: Selector) -> int:
        """Whom a selector of `src` names."""
        if selector.kind is Kind.TAG:
            return self._set(self._tagged.get(selector.text, ()))
        if selector.text == TAGGED:
            return self._set(range(len(self.logins), len(self.logins) + len(self.tags)))
        found = (self._position.get(login) for login in compiler.logins_of(selector))
        return self._set(position for position in found if position is not None)

    def holder(self, node: Node) -> int | None:
        """The bit of whose node it is, or of its tags; None where nobody of the tailnet owns it."""
        return self._by_tags[tuple(sorted(set(node.tags)))] if node.tags else self._position.get(node.owner)

    def person(self, login: str) -> int:
        """A set of one, or of none where nobody has this login name."""
        return 1 << self._position[login] if login in self._position else 0

    def namesakes(self, name: str) -> int:
        """People whose login name has this before its @."""
        return self._set(self._namesakes.get(name, ()))

    def positions(self, members: int) -> Iterator[int]:
        """The bits that are set, lowest first."""
        for index, byte in enumerate(members.to_bytes(self._bytes, "little")):
            if byte:
                yield from (8 * index + bit for bit in range(8) if byte >> bit & 1)

    def name(self, position: int) -> str:
        """Login name, or tags joined by commas."""
        people = len(self.logins)
        return self.logins[position] if position < people else ",".join(self.tags[position - people])

    def _set(self, positions: Iterable[int]) -> int:
        members = bytearray(self._bytes)
        for position in positions:
            members[position >> 3] |= 1 << (position & 7)
        return int.from_bytes(members, "little")


class Claims:
    """One policy's entries by the nodes that they are about."""

    def __init__(self, compiler: Compiler, sources: Sources) -> None:
        self._sources = sources
        ordered = sorted(compiler.policy.ssh, key=lambda entry: (entry.action != "check", entry.number))
        memo: dict[str, int] = {}
        self._claims = [self._claim(compiler, entry, memo) for entry in ordered]
        self._by_text: defaultdict[str, list[int]] = defaultdict(list)
        for position, claim in enumerate(self._claims):
            for text in {place.text for place in claim.entry.destinations} if claim.sources else ():
                self._by_text[text].append(position)

    def _claim(self, compiler: Compiler, entry: SSHEntry, memo: dict[str, int]) -> Claim:
        found = 0
        for selector in entry.sources:
            if selector.text not in memo:
                memo[selector.text] = self._sources.of(compiler, selector)
            found |= memo[selector.text]
        names = tuple(sorted({*entry.names, *({ROOT} & {*entry.users})}))
        any_account = NONROOT in entry.users
        own = 0
        for domain in () if any_account else entry.localparts:
            own |= self._sources.named.get(domain, 0)
        return Claim(entry, found, names, any_account, own & found)

    def about(self, node: Node) -> tuple[Claim, ...]:
        """Those about a node, in the order in which they are asked; of somebody's device, as others see it."""
        texts = (TAGGED, *node.tags) if node.tags else (MEMBER, node.owner)
        positions = {position for text in texts for position in self._by_text.get(text, ())}
        return tuple(self._claims[position] for position in sorted(positions))

    def own(self) -> tuple[Claim, ...]:
        """Those about people's own devices, each with the people whose they are."""
        return tuple(found for claim in self._claims if (found := self._on_own(claim)).sources)

    def _on_own(self, claim: Claim) -> Claim:
        texts = {place.text for place in claim.entry.destinations}
        # An entry with `localpart:` is also about devices of its sources that it does not name (compile.py).
        if SELF in texts or MEMBER in texts or (texts and claim.entry.localparts):
            whose = self._sources.people
        else:
            whose = 0
            for text in texts:
                whose |= self._sources.person(text)
        return Claim(claim.entry, claim.sources & whose, claim.names, claim.any, claim.own & whose)


def places(tailnet: Tailnet, *policies: Claims) -> Iterator[tuple[Place, tuple[tuple[Claim, ...], ...]]]:
    """All places, each with what every policy claims there. Nodes of one place have the same in all of them."""
    alike: defaultdict[frozenset[str] | str, list[Node]] = defaultdict(list)
    for node in tailnet.nodes:
        alike[frozenset(node.tags) if node.tags else node.owner].append(node)
    found: dict[tuple[bool, tuple[tuple[int, ...], ...]], tuple[list[Node], tuple[tuple[Claim, ...], ...]]] = {}
    for nodes in alike.values():
        claims = tuple(policy.about(nodes[0]) for policy in policies)
        key = bool(nodes[0].tags), tuple(tuple(claim.entry.number for claim in each) for each in claims)
        found.setdefault(key, ([], claims))[0].extend(nodes)
    devices = tuple(node for node in tailnet.nodes if not node.tags and node.owner in tailnet.person)
    yield Place(Standing.OWN, devices), tuple(policy.own() for policy in policies)
    for (tagged, _), (nodes, claims) in found.items():
        yield Place(Standing.TAGGED if tagged else Standing.DEVICES, tuple(nodes)), claims


def names_in(claims: Iterable[Claim]) -> frozenset[str]:
    """Accounts that any of them names."""
    return frozenset(name for claim in claims for name in claim.names)


def decide(claims: Iterable[Claim], sources: Sources, names: frozenset[str]) -> Permits:
    """Who gets in as which account, by which entry: the first that fits.

    Args:
        claims: of one place, in order.
        sources: whose bits they use.
        names: accounts to list by name, also for people whose own name it is: at least those that the claims name.
    """
    namesakes = {name: found for name in names if (found := sources.namesakes(name))}
    listed = 0
    for found in namesakes.values():
        listed |= found
    permits: dict[Account, list[Permit]] = {}
    taken: dict[Account, int] = {Wide.ANY: 0}
    for claim in claims:
        for account, who in _asked(claim, namesakes, listed):
            before = taken.get(account, 0)
            # Whoever gets in as any account before has no use for a name that comes later; root is not among them.
            new = who & ~before if account == ROOT else who & ~(before | taken[Wide.ANY])
            if new:
                taken[account] = before | new
                permits.setdefault(account, []).append(Permit(claim.entry, new, account is not Wide.ANY))
    return permits


def _asked(claim: Claim, namesakes: Mapping[str, int], listed: int) -> Iterator[tuple[Account, int]]:
    """Accounts that a claim gives and to whom; any account last, since what is named is also given by name."""
    for name in claim.names:
        yield name, claim.sources
    if claim.own:
        for name, people in namesakes.items():
            if name not in claim.names:
                yield name, claim.own & people
        yield Wide.OWN, claim.own & ~listed
    if claim.any:
        yield Wide.ANY, claim.sources
