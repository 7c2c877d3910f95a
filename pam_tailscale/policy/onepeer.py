"""A policy file compiled for one host and one peer that connects to it: what a host knows of its tailnet. Pure.

A host learns who a peer is from whois: a login name, or tags. It does not learn which roles people have in the tailnet,
nor which domains are the tailnet's. So an entry that lets in by a role (`autogroup:admin`) lets nobody in by it. An
entry that demands a check by a role may be about anybody: whom it is about and who is not, the accounts that it names
are refused, since a later entry would otherwise let in without the check whoever has the role.

Login names are compared without regard to case, as for checks: a check that is spelt differently must not be missed.
"""

import dataclasses
import functools
from typing import Final

from pam_tailscale.model import Peer, folded
from pam_tailscale.policy.compile import SOURCE, Compiler, localpart_of, users_of
from pam_tailscale.policy.document import PolicyFile, SSHEntry
from pam_tailscale.policy.godurations import quote
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.rules import Action, Policy, Rule
from pam_tailscale.policy.selectors import ROLES, Kind, Selector, is_login

PEERS_MAX: Final = 128
"""Peers whose rules are remembered."""
LOCALPART_PREFIX: Final = "localpart:"
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
        # No method of this object: the cache would hold the object that holds it, which only the collector could free.
        self.rules_for = functools.lru_cache(maxsize=PEERS_MAX)(functools.partial(_rules_for, _as_compared(policy)))


def _rules_for(policy: PolicyFile, own: Node, peer: Node) -> Policy:
    """The rules of the host `own` as far as they are about `peer`."""
    own, peer = _with_key(own), _with_key(peer)
    sure = Compiler(policy, _tailnet(peer, frozenset())).rules_for(own)
    if any(_by_role(entry) for entry in policy.ssh):
        numbers = {rule.number for rule in sure}
        perhaps = Compiler(policy, _tailnet(peer, frozenset(ROLES.values()))).rules_for(own)
        # Of the rules for somebody who has every role: those that hold without one, and the checks.
        kept = (rule for rule in perhaps if rule.number in numbers or rule.asks_for_check)
        sure = tuple(rule if rule.number in numbers else _may_be_checked(rule) for rule in kept)
    entries = {entry.number: entry for entry in policy.ssh}
    return Policy(SOURCE, tuple(_wary(rule, entries[rule.number], peer.owner) for rule in sure))


def _wary(rule: Rule, entry: SSHEntry, login: str) -> Rule:
    """A rule for the name that `localpart:` makes of a login: never that of uid 0, nor of a system account."""
    name = localpart_of(entry, Person(login))
    if not name or name in entry.names or rule.users != {name: name}:
        return rule
    return dataclasses.replace(rule, users={name: "="}, localpart=name)


def users_with_localpart(entry: SSHEntry, login: str) -> tuple[dict[str, str], str]:
    """A rule's `sshUsers` with what `localpart:` makes of a login, and that name; never that of uid 0."""
    users, name = users_of(entry), localpart_of(entry, Person(login))
    return (users | {name: "="}, name) if name and name not in users else (users, "")


def login_key(login: str) -> str:
    """A login name as the policies of a host compare it.

    Policies of headscale put an @ behind names without a domain, whois does not.
    """
    return folded(login).removesuffix("@")


def unfit_member(policy: PolicyFile, group: Selector) -> str:
    """Why a host cannot tell who is in a group; empty where it can: its members are login names."""
    for member in policy.groups.get(group.text, ()):
        if not is_login(member):
            return (
                f"{quote(group.text)} has the member {quote(member)}, and a host knows people by their login names: "
                "name each"
            )
    return ""


def _as_compared(policy: PolicyFile) -> PolicyFile:
    """A policy with every login name as `login_key` has it."""
    groups = {name: tuple(map(login_key, members)) for name, members in policy.groups.items()}
    return dataclasses.replace(policy, groups=groups, ssh=tuple(map(_entry_as_compared, policy.ssh)))


def _entry_as_compared(entry: SSHEntry) -> SSHEntry:
    return dataclasses.replace(
        entry,
        sources=tuple(map(_selector_as_compared, entry.sources)),
        destinations=tuple(map(_selector_as_compared, entry.destinations)),
        users=tuple(folded(user) if user.startswith(LOCALPART_PREFIX) else user for user in entry.users),
    )


def _selector_as_compared(one: Selector) -> Selector:
    return dataclasses.replace(one, text=login_key(one.text)) if one.kind in (Kind.PERSON, Kind.DOMAIN) else one


def _with_key(node: Node) -> Node:
    return dataclasses.replace(node, owner=login_key(node.owner))


def by_role(policy: PolicyFile) -> tuple[int, ...]:
    """Numbers of the entries whose `src` names a role."""
    return tuple(entry.number for entry in policy.ssh if _by_role(entry))


def _by_role(entry: SSHEntry) -> bool:
    return any(source.text in ROLES for source in entry.sources)


def _tailnet(peer: Node, roles: frozenset[str]) -> Tailnet:
    people = (Person(peer.owner, roles),) if peer.owner else ()
    return Tailnet(people, (peer,))


def _may_be_checked(rule: Rule) -> Rule:
    return Rule(rule.number, rule.principals, rule.users, MAY_BE_CHECKED)
