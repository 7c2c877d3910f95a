"""A policy file compiled for one host and one peer that connects to it: what a host knows of its tailnet. Pure.

A host learns who a peer is from whois: a login name, or tags. It does not learn which roles people have in the tailnet,
nor which domains are the tailnet's. So an entry that lets in by a role (`autogroup:admin`) lets nobody in by it. An
entry that demands a check by a role may be about anybody: whom it is about and who is not, the accounts that it names
are refused, since a later entry would otherwise let in without the check whoever has the role.
"""

import functools
from typing import Final

from pam_tailscale.model import Peer
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.document import PolicyFile, SSHEntry
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.rules import Action, Policy, Rule
from pam_tailscale.policy.selectors import ROLES

PEERS_MAX: Final = 512
"""Peers whose rules are remembered."""
MAY_BE_CHECKED: Final = Action(message="whether the check of this rule is for them is not known here")
"""What stands in place of a check for people of a role: it neither accepts nor rejects, and so refuses."""


def node_of(peer: Peer, *, shared: bool) -> Node:
    """A peer as a policy file knows it. One of another tailnet is nobody's: it is no member of this one."""
    owner = "" if peer.tags or shared else peer.login
    tags = () if shared else peer.tags
    return Node(peer.name, peer.addresses, tags, owner, peer.stable_id)


class PeerCompiler:
    """Compiles one policy file, which is valid, for one peer after the other, and remembers the last ones."""

    def __init__(self, policy: PolicyFile) -> None:
        self.policy = policy
        self.rules_for = functools.lru_cache(maxsize=PEERS_MAX)(self._rules_for)

    def _rules_for(self, own: Node, peer: Node) -> Policy:
        """The rules of the host `own` as far as they are about `peer`."""
        sure = Compiler(self.policy, _tailnet(peer, frozenset())).policy_for(own)
        if not any(_by_role(entry) for entry in self.policy.ssh):
            return sure
        numbers = {rule.number for rule in sure.rules}
        perhaps = Compiler(self.policy, _tailnet(peer, frozenset(ROLES.values()))).rules_for(own)
        # Of the rules for somebody who has every role: those that hold without one, and the checks.
        kept = (rule for rule in perhaps if rule.number in numbers or _asks(rule))
        return Policy(sure.source, tuple(rule if rule.number in numbers else _may_be_checked(rule) for rule in kept))


def by_role(policy: PolicyFile) -> tuple[int, ...]:
    """Numbers of the entries whose `src` names a role."""
    return tuple(entry.number for entry in policy.ssh if _by_role(entry))


def _by_role(entry: SSHEntry) -> bool:
    return any(source.text in ROLES for source in entry.sources)


def _tailnet(peer: Node, roles: frozenset[str]) -> Tailnet:
    people = (Person(peer.owner, roles),) if peer.owner else ()
    return Tailnet(people, (peer,))


def _asks(rule: Rule) -> bool:
    return rule.action is not None and bool(rule.action.hold_and_delegate)


def _may_be_checked(rule: Rule) -> Rule:
    return Rule(rule.number, rule.principals, rule.users, MAY_BE_CHECKED)
