"""Whom and what policies name that a tailnet is not known to have: people and nodes that stand in for them. Pure.

A policy also speaks of whoever gets a role, of people without a node, of the first node with a tag. What it gives them
is then a row like any other. A stand-in is called as the policy calls what it stands in for, and as nobody else can be.
"""

import dataclasses
from collections.abc import Iterable, Iterator

from pam_tailscale.policy.document import PolicyFile
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.selectors import DOMAIN_PREFIX, MEMBER, ROLES, TAGGED, Kind, Selector, parse


def with_newcomers(tailnet: Tailnet, *policies: PolicyFile) -> Tailnet:
    """The tailnet with all that its policies name in `ssh`: missing logins as people, the rest as stand-ins."""
    named = dict.fromkeys(selector for policy in policies for selector in _named(policy))
    people = dict(tailnet.person)
    for selector in named:
        if selector.kind is Kind.PERSON:
            people.setdefault(selector.text, Person(selector.text))
    domains = {person.domain for person in people.values()}
    for selector in named:
        if selector.kind is Kind.DOMAIN and selector.domain not in domains:
            people[selector.text] = Person(selector.text)
    for text in unknown_roles(tailnet, *policies):
        people[text] = Person(text, frozenset({ROLES[text]}))
    if not people and Selector(Kind.AUTOGROUP, MEMBER) in named:
        people[MEMBER] = Person(MEMBER)
    devices = any(place.text == MEMBER for policy in policies for entry in policy.ssh for place in entry.destinations)
    nodes = tuple(_missing_nodes(tailnet, named, devices=devices))
    return Tailnet(tuple(people.values()), (*tailnet.nodes, *nodes), tailnet.domains)


def _named(policy: PolicyFile) -> Iterator[Selector]:
    """What `ssh` names, the members of groups in place of the groups, and domains whose people get their own names."""
    for entry in policy.ssh:
        for selector in (*entry.sources, *entry.destinations):
            if selector.kind is Kind.GROUP:
                yield from map(parse, policy.groups.get(selector.text, ()))
            else:
                yield selector
        yield from (Selector(Kind.DOMAIN, f"{DOMAIN_PREFIX}{domain}") for domain in entry.localparts)


def _missing_nodes(tailnet: Tailnet, named: Iterable[Selector], *, devices: bool) -> Iterator[Node]:
    tags = [selector.text for selector in named if selector.kind is Kind.TAG and selector.text not in tailnet.tagged]
    yield from (Node(tag, (), (tag,)) for tag in tags)
    texts = {selector.text for selector in named}
    if TAGGED in texts and not tags and not tailnet.tagged:
        yield Node(TAGGED, (), (TAGGED,))
    if devices and not tailnet.owned:
        yield Node(MEMBER, ())  # somebody's, who is none of those whom anybody knows


def stands_in(name: str) -> bool:
    """Whether this is the name of a stand-in, for a set of people or nodes of which nobody knows one."""
    return parse(name).kind in (Kind.AUTOGROUP, Kind.DOMAIN, Kind.TAG)


def unknown_roles(tailnet: Tailnet, *policies: PolicyFile) -> tuple[str, ...]:
    """Autogroups of roles that `ssh` names, and that nobody is known to have."""
    named = {selector.text for policy in policies for selector in _named(policy)}
    known = {role for person in tailnet.people for role in person.roles}
    return tuple(text for text, role in ROLES.items() if text in named and role not in known)


def if_everybody_had(tailnet: Tailnet, roles: Iterable[str]) -> Tailnet:
    """The same people and nodes, were all of them of these autogroups of roles."""
    more = frozenset(ROLES[text] for text in roles)
    people = tuple(dataclasses.replace(person, roles=person.roles | more) for person in tailnet.people)
    return Tailnet(people, tailnet.nodes, tailnet.domains)
