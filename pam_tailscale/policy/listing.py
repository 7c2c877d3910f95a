"""Sets of sources, places and accounts as names, for rows of a matrix and of a comparison. Pure.

What stands for many is only written out when it is asked for, and then one by one.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pam_tailscale.policy.access import Account, Place, Sources, Standing, Wide
from pam_tailscale.policy.evaluate import ROOT
from pam_tailscale.policy.roster import Node, Person
from pam_tailscale.policy.selectors import NONROOT

Key = TypeVar("Key")

_FIRST: Final = {ROOT: 0, Wide.ANY: 1, Wide.OWN: 2}
_WORDS: Final = {Wide.ANY: "any but root", Wide.OWN: "own name"}


@dataclass(frozen=True, slots=True)
class Who:
    """Some sources."""

    sources: Sources
    members: int

    def __len__(self) -> int:
        return self.members.bit_count()

    def names(self) -> Iterator[str]:
        """Login names, then tags, each as a node has them, joined by commas."""
        return map(self.sources.name, self.sources.positions(self.members))

    @property
    def logins(self) -> list[str]:
        """Of the people among them."""
        people = self.members & self.sources.people
        return [self.sources.name(position) for position in self.sources.positions(people)]

    @property
    def tags(self) -> list[str]:
        """Of the nodes with tags among them: as each has them, joined by commas."""
        tagged = self.members & ~self.sources.people
        return [self.sources.name(position) for position in self.sources.positions(tagged)]


@dataclass(frozen=True, slots=True)
class Where:
    """Some places."""

    places: tuple[Place, ...]

    @property
    def own(self) -> bool:
        """Whether everybody's own devices are among them."""
        return any(place.standing is Standing.OWN for place in self.places)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All others."""
        return tuple(node for place in self.places if place.standing is not Standing.OWN for node in place.nodes)


def between_two(who: Who, where: Where) -> bool:
    """Whether any of them could log in there from another node than the very one that they log in on."""
    alone = who.sources.alone
    for place in where.places:
        if place.standing is Standing.OWN and who.members & who.sources.people & ~alone:
            return True
        for node in place.nodes if place.standing is not Standing.OWN else ():
            holder = who.sources.holder(node)
            same = 0 if holder is None else 1 << holder
            # Who has a second node logs in from it; people's own devices are of the place above.
            if who.members & ~(same & alone if node.tags else same):
                return True
    return False


def account_order(account: Account) -> tuple[int, str]:
    """For sorting: root, any, own, then names."""
    return _FIRST.get(account, len(_FIRST)), account if isinstance(account, str) else ""


def account_text(account: Account) -> str:
    """For people to read."""
    return _WORDS[account] if isinstance(account, Wide) else account


def account_document(accounts: Iterable[Account]) -> dict[str, Any]:
    """For programs: names of accounts can be anything, so what is no name has a key of its own."""
    found = tuple(accounts)
    return {
        "accounts": [account for account in found if isinstance(account, str)],
        "any_but_root": Wide.ANY in found,
        "own_name": Wide.OWN in found,
    }


def merged(
    found: Mapping[tuple[Key, int, Account], Iterable[Place]], sources: Sources
) -> Iterator[tuple[Key, Who, Where, tuple[Account, ...]]]:
    """What is the same for the same sources at the same places, accounts together."""
    rows: defaultdict[tuple[Key, int, tuple[Place, ...]], list[Account]] = defaultdict(list)
    for (key, members, account), places in found.items():
        rows[key, members, tuple(places)].append(account)
    for (key, members, places), accounts in rows.items():
        yield key, Who(sources, members), Where(places), tuple(sorted(accounts, key=account_order))


def each(who: Who, where: Where, accounts: Iterable[Account]) -> Iterator[tuple[str, str, str]]:
    """One by one: login name or tags, name of the node, account; for any account but root `autogroup:nonroot`.

    A node to itself is not among them: whoever has but one is left out there.
    """
    accounts = tuple(accounts)
    own: defaultdict[str, list[Node]] = defaultdict(list)
    for place in where.places:
        for node in place.nodes if place.standing is Standing.OWN else ():
            own[node.owner].append(node)
    others = [(node, who.sources.holder(node)) for node in where.nodes]
    for position in who.sources.positions(who.members):
        source, alone = who.sources.name(position), bool(who.sources.alone >> position & 1)
        # Elsewhere than among their own, a person's devices are what they are to others.
        reached = (node for node, holder in others if holder != position or (node.tags and not alone))
        for node in (*(() if alone else own.get(source, ())), *reached):
            for account in accounts:
                yield source, node.name, _written_out(source, account)


def _written_out(source: str, account: Account) -> str:
    if account is Wide.ANY:
        return NONROOT
    return Person(source).localpart if account is Wide.OWN else str(account)
