"""What a comparison of two policies cannot speak of: roles that nobody is known to have, and postures of devices. Pure.

One stand-in for a role (newcomers.py) shows what its entries give by themselves. What they come to together with the
others differs from person to person: who is let in anyway has to pass a check while they are admin. So both policies
are compared once more as if everybody had the role; what that brings and the comparison does not show is not known.
Entries that demand a posture are shown as if it held, and both policies are compared once more as if it did not.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from pam_tailscale.policy.access import Account, Sources
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.diff import Change, Kind, diff
from pam_tailscale.policy.newcomers import if_everybody_had


@dataclass(frozen=True, slots=True)
class _Reach:
    """A change as sets."""

    kind: Kind
    members: int
    own: bool
    nodes: frozenset[int]
    """By their identity: two could be equal."""
    accounts: frozenset[Account]
    but: frozenset[Account]

    @classmethod
    def of(cls, change: Change) -> Self:
        """What a change is about."""
        nodes = frozenset(map(id, change.where.nodes))
        accounts, but = frozenset(change.accounts), frozenset(change.but)
        return cls(change.kind, change.who.members, change.where.own, nodes, accounts, but)

    def covers(self, other: Self, stand_in: int) -> bool:
        """Whether it says the same of all whom the other is about, or of the one who stands in for them."""
        return (
            self.kind is other.kind
            and (bool(self.members & stand_in) or not other.members & ~self.members)
            and (self.own or not other.own)
            and other.nodes <= self.nodes
            and other.accounts <= self.accounts
            and self.but <= other.but
        )


def not_compared(old: Compiler, new: Compiler, changes: Iterable[Change], roles: Sequence[str]) -> tuple[str, ...]:
    """The roles and postures on which more could hang than `changes` say.

    Args:
        old: for a tailnet with stand-ins.
        new: for the same.
        changes: what diff() says of both.
        roles: autogroups of roles that nobody is known to have.
    """
    shown = [_Reach.of(change) for change in changes]
    return (
        *_hanging(roles, lambda having: _with_roles(old, new, shown, having)),
        *map(
            "srcPosture {}".format,
            _hanging(_postures(old, new), lambda failing: _without_postures(old, new, shown, failing)),
        ),
    )


def _hanging(names: Sequence[str], says_more: Callable[[Sequence[str]], bool]) -> Sequence[str]:
    """Those on which something hangs; all, where it hangs on several at once."""
    found = [name for name in names if says_more([name])]
    return names if not found and says_more(names) else found


def _with_roles(old: Compiler, new: Compiler, shown: Sequence[_Reach], having: Sequence[str]) -> bool:
    everybody = if_everybody_had(new.tailnet, having)
    sources = Sources(new.tailnet)
    supposed = diff(Compiler(old.policy, everybody), Compiler(new.policy, everybody))
    return _says_more(supposed, shown, [sources.person(text) for text in having])


def _postures(*compilers: Compiler) -> Sequence[str]:
    """What devices must fulfil, as the entries say it: one of several, joined by commas."""
    entries = (entry for compiler in compilers for entry in compiler.policy.ssh if entry.conditional)
    return list(dict.fromkeys(",".join(entry.postures) for entry in entries))


def _without_postures(old: Compiler, new: Compiler, shown: Sequence[_Reach], failing: Sequence[str]) -> bool:
    def left(compiler: Compiler) -> Compiler:
        entries = (
            entry for entry in compiler.policy.ssh if not entry.conditional or ",".join(entry.postures) not in failing
        )
        return Compiler(dataclasses.replace(compiler.policy, ssh=tuple(entries)), new.tailnet)

    return bool(failing) and _says_more(diff(left(old), left(new)), shown, [])


def _says_more(supposed: Iterable[Change], shown: Sequence[_Reach], stand_ins: Sequence[int]) -> bool:
    """Whether something of that is not shown, of the same people or of one of their stand-ins."""
    same = frozenset(shown)  # nearly all of it, and there can be many
    return any(
        not any(known.covers(one, stand_in) for known in shown for stand_in in (0, *stand_ins))
        for one in map(_Reach.of, supposed)
        if one not in same
    )
