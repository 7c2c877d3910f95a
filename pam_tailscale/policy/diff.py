"""What changes for whom between two policy files of one tailnet: access gained and lost, checks gained and lost. Pure.

Compared is what comes of the files, not their text: another order, another way to name the same people, an entry that
another one makes pointless are no change.
"""

import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pam_tailscale.policy.access import (
    Account,
    Claim,
    Claims,
    Permit,
    Permits,
    Place,
    Sources,
    Wide,
    decide,
    names_in,
    period_of,
    places,
)
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import SSHEntry
from pam_tailscale.policy.evaluate import ROOT
from pam_tailscale.policy.listing import Where, Who, account_document, account_order, between_two, merged


class Kind(enum.Enum):
    """What a change is."""

    GAINED = "gained"
    LOST = "lost"
    CHECK_LOST = "check_lost"
    """Whoever had to pass a check gets in without."""
    CHECK_GAINED = "check_gained"
    PERIOD_LONGER = "period_longer"
    """An authentication counts for longer."""
    PERIOD_SHORTER = "period_shorter"
    NAMED = "named"
    """The account is named where it was only one of any: where it is a system account, access is gained."""
    UNNAMED = "unnamed"
    """The reverse: where it is a system account, access is lost."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change, the same for some sources at some places as some accounts."""

    kind: Kind
    who: Who
    where: Where
    accounts: tuple[Account, ...]
    but: tuple[Account, ...]
    """Where the accounts have Wide.ANY: those beside root for which something else changes, or nothing."""
    old: SSHEntry | None
    """The entry that let in before; None where none did."""
    new: SSHEntry | None

    @property
    def root(self) -> bool:
        """Whether it is about root."""
        return ROOT in self.accounts

    @property
    def grave(self) -> bool:
        """Whether root access is gained or a check lost, by anybody but a node to itself, which every host refuses."""
        feared = self.kind is Kind.CHECK_LOST or (self.kind is Kind.GAINED and self.root)
        return feared and between_two(self.who, self.where)


_Key = tuple[Kind, int, int]
"""What a change is, and the numbers of the entries that let in before and after, 0 for none."""
_Difference = tuple[_Key, int]
"""With whom it is about."""


def diff(old: Compiler, new: Compiler) -> list[Change]:
    """Every change, the grave ones first. Empty where nobody's access changes. Both are for the same tailnet."""
    if old.tailnet is not new.tailnet and old.tailnet != new.tailnet:
        raise ValueError("the two policies are compiled for two tailnets")
    sources = Sources(new.tailnet)
    found: defaultdict[tuple[tuple[Kind, int, int, tuple[Account, ...]], int, Account], list[Place]] = defaultdict(list)
    for place, (was, now) in places(new.tailnet, Claims(old, sources), Claims(new, sources)):
        for account, but, (key, members) in _at(was, now, sources):
            found[(*key, but), members, account].append(place)
    entries = [{entry.number: entry for entry in compiler.policy.ssh} for compiler in (old, new)]
    changes = [
        Change(kind, who, where, accounts, but, entries[0].get(before), entries[1].get(after))
        for (kind, before, after, but), who, where, accounts in merged(found, sources)
    ]
    return sorted(changes, key=_order)


def _order(change: Change) -> tuple[bool, int, int, int, tuple[int, str]]:
    kinds = list(Kind)
    numbers = change.old.number if change.old else 0, change.new.number if change.new else 0
    return not change.grave, kinds.index(change.kind), *numbers, account_order(change.accounts[0])


def _at(
    old: Sequence[Claim], new: Sequence[Claim], sources: Sources
) -> Iterator[tuple[Account, tuple[Account, ...], _Difference]]:
    """What differs at one place: as which account, but which where that is any, and how."""
    if [claim.effect for claim in old] == [claim.effect for claim in new]:
        return
    names = names_in((*old, *new))
    before, after = decide(old, sources, names), decide(new, sources, names)
    by_name: list[Account] = [*sorted(names - {ROOT}), Wide.OWN]
    listed = {account: _all(before.get(account, ())) | _all(after.get(account, ())) for account in by_name}
    found = {account: list(_compare(account, before, after)) for account in (ROOT, Wide.ANY, *by_name)}
    yield from ((Wide.ANY, but, one) for but, one in _in_general(found, listed))
    yield from ((ROOT, (), one) for one in found[ROOT])
    for account in by_name:
        for key, about in found[account]:
            if members := about & listed[account]:
                yield account, (), (key, members)


def _in_general(
    found: Mapping[Account, Sequence[_Difference]], listed: dict[Account, int]
) -> Iterator[tuple[tuple[Account, ...], _Difference]]:
    """What differs as any account, and but which.

    `listed`: those who are let in by the name of an account. It becomes those for whom that account has to be listed:
    no more where it changes just as any other, and all where it is an exception for some.
    """
    own = listed[Wide.OWN]
    for key, about in found[Wide.ANY]:
        # Only for who has an account of their own name can that be an exception.
        for members in (about & own, about & ~own):
            but = []
            for account, people in listed.items() if members else ():
                if not people & members:
                    continue
                if any(other == key and not members & ~whom for other, whom in found[account]):
                    listed[account] &= ~members
                else:
                    listed[account] |= members
                    but.append(account)
            if members:
                yield tuple(but), (key, members)


def _as(account: Account, permits: Permits) -> list[Permit]:
    """Everybody who gets in as an account, by its name or as one of any."""
    found = list(permits.get(account, ()))
    if account in (ROOT, Wide.ANY):
        return found
    general = permits.get(Wide.ANY, ())
    if not found:
        return list(general)
    rest = ~_all(found)
    found += (Permit(permit.entry, left, exact=False) for permit in general if (left := permit.sources & rest))
    return found


def _compare(account: Account, before: Permits, after: Permits) -> Iterator[_Difference]:
    old, new = _as(account, before), _as(account, after)
    if _alike(old, new):
        return
    not_old, not_new = ~_all(old), ~_all(new)
    for permit in old:
        if members := permit.sources & not_new:
            yield _key(permit, None), members
    for permit in new:
        if members := permit.sources & not_old:
            yield _key(None, permit), members
    news = [(_effect(permit), permit) for permit in new]
    for left in old:
        effect = _effect(left)
        for other, right in news:
            if effect != other and (members := left.sources & right.sources):
                yield _key(left, right), members


def _effect(permit: Permit) -> tuple[float | None, bool]:
    return period_of(permit.entry), permit.exact


def _alike(old: Sequence[Permit], new: Sequence[Permit]) -> bool:
    """Whether both come to the same for everybody."""
    return {*map(_effect, old)} == {*map(_effect, new)} and _by_effect(old) == _by_effect(new)


def _by_effect(permits: Iterable[Permit]) -> Mapping[tuple[float | None, bool], int]:
    found: dict[tuple[float | None, bool], int] = {}
    for permit in permits:
        found[_effect(permit)] = found.get(_effect(permit), 0) | permit.sources
    return found


def _all(permits: Iterable[Permit]) -> int:
    found = 0
    for permit in permits:
        found |= permit.sources
    return found


def _key(old: Permit | None, new: Permit | None) -> _Key:
    return _kind(old, new), old.entry.number if old else 0, new.entry.number if new else 0


def _kind(old: Permit | None, new: Permit | None) -> Kind:
    if old is None:
        return Kind.GAINED
    if new is None:
        return Kind.LOST
    before, after = period_of(old.entry), period_of(new.entry)
    if before == after:
        return Kind.NAMED if new.exact else Kind.UNNAMED
    if after is None:
        return Kind.CHECK_LOST
    if before is None:
        return Kind.CHECK_GAINED
    # A period of 0 is the shortest: each login is checked.
    return Kind.PERIOD_LONGER if after > before else Kind.PERIOD_SHORTER


def document(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """The changes as values of JSON."""
    return [
        {
            "change": change.kind.value,
            "grave": change.grave,
            "people": change.who.logins,
            "tags": change.who.tags,
            "nodes": [node.name for node in change.where.nodes],
            "own_devices": change.where.own,
            **account_document(change.accounts),
            "but": account_document(change.but),
            "old": _side(change.old),
            "new": _side(change.new),
        }
        for change in changes
    ]


def _side(entry: SSHEntry | None) -> dict[str, Any] | None:
    return None if entry is None else {"rule": entry.number, "action": entry.action, "period": period_of(entry)}
