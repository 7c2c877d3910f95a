"""The `ssh` section of a policy file compiled to the rules that each node receives, as the control plane compiles it.

Recorded answers of the control plane (tests/data/conformance) are the source of everything that its documentation does
not say: the order, the entry for root in every rule, what `localpart:` becomes. Pure, and built to be asked for node
after node: what two nodes' rules have in common is one object.

Two things that an entry may say are left out of its rules. Recorders: no recorded answer has any, so that their form is
not known. And postures: the control plane leaves out of a rule whoever does not fulfil them, which only it knows; here
such a rule is about everybody whom the entry names, and SSHEntry.conditional says that it may not be.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pam_tailscale.policy.document import PolicyFile, SSHEntry
from pam_tailscale.policy.evaluate import ROOT
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.rules import Action, Policy, Principal, Rule
from pam_tailscale.policy.selectors import MEMBER, NONROOT, ROLES, SELF, TAGGED, Kind, Selector

SOURCE: Final = "file"
HOLD: Final = "https://unused/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER"
"""What a check rule names; tailscaled asks its own control plane whatever the host is."""
_ACCEPT: Final = Action(
    accept=True, allow_agent_forwarding=True, allow_local_port_forwarding=True, allow_remote_port_forwarding=True
)


@dataclass(frozen=True, slots=True)
class _Sources:
    """Whom an entry is about."""

    people: tuple[Person, ...]
    """In the tailnet's order; each once."""
    tagged: tuple[Node, ...]
    """Nodes with tags; one that two tags lead to stands twice, as in the control plane's rules."""
    logins: frozenset[str]
    keys: frozenset[str | int]
    """Of the tagged nodes, as key_of has them."""


class Compiler:
    """Compiles one policy for one tailnet; the policy is valid (validate.py)."""

    def __init__(self, policy: PolicyFile, tailnet: Tailnet) -> None:
        self.policy = policy
        self.tailnet = tailnet
        self._order = {person.login: position for position, person in enumerate(tailnet.people)}
        self._principals: dict[str, tuple[Principal, ...]] = {}
        self._sources: dict[int, _Sources] = {}
        self._users: dict[int, Mapping[str, str]] = {}
        self._texts: dict[int, frozenset[str]] = {}
        """Of an entry's destinations."""
        self._shared: dict[int, tuple[Rule, ...]] = {}
        self._personal: dict[tuple[int, str], tuple[Rule, ...]] = {}
        self._of_tags: dict[frozenset[str], tuple[Rule, ...]] = {}
        self._policies: dict[tuple[int, ...], Policy] = {}
        """By the identities of the rules, which it keeps alive."""
        self._by_destination: defaultdict[str, list[SSHEntry]] = defaultdict(list)
        self._about_own: defaultdict[str | int, list[SSHEntry]] = defaultdict(list)
        """By login name or key of a tagged node: entries that have rules about what is their own."""
        for entry in policy.ssh:
            texts = self._texts[entry.number] = frozenset(place.text for place in entry.destinations)
            for text in texts:
                self._by_destination[text].append(entry)
            if entry.localparts or SELF in texts:
                sources = self.sources(entry)
                for key in (*sources.logins, *(sources.keys if entry.localparts else ())):
                    self._about_own[key].append(entry)

    def policy_for(self, node: Node) -> Policy:
        """The rules that a node receives, in order; each has the number of its entry in the file."""
        if self.has_rules_about_itself(node):
            return Policy(SOURCE, self.rules_for(node))
        return self.policy_for_others(node)

    def policy_for_others(self, node: Node) -> Policy:
        """The same but for rules that are about this one node alone; one object for all nodes that it is the same for.

        What it is made of is kept.
        """
        rules = self._ordered(node, kept=True)
        key = tuple(map(id, rules))
        if key not in self._policies:
            self._policies[key] = Policy(SOURCE, tuple(rules))
        return self._policies[key]

    def has_rules_about_itself(self, node: Node) -> bool:
        """Whether a node with tags may have rules that are about this one node alone."""
        return bool(node.tags) and key_of(node) in self._about_own

    def rules_for(self, node: Node) -> tuple[Rule, ...]:
        """The rules of `policy_for`; nodes with the same tags and none about themselves share them."""
        if not node.tags or self.has_rules_about_itself(node):
            return tuple(self._ordered(node, kept=False))
        tags = frozenset(node.tags)
        if tags not in self._of_tags:
            self._of_tags[tags] = tuple(self._ordered(node, kept=False))
        return self._of_tags[tags]

    def _ordered(self, node: Node, *, kept: bool) -> list[Rule]:
        entries = {entry.number: entry for entry in self._about(node)}
        # Checks first: who has to pass one is not let in by a later rule.
        ordered = sorted(entries.values(), key=lambda entry: (entry.action != "check", entry.number))
        return [rule for entry in ordered for rule in self._rules(entry, node, kept=kept)]

    def _about(self, node: Node) -> Iterator[SSHEntry]:
        """The entries that could have rules for a node."""
        keys = (TAGGED, *node.tags) if node.tags else (MEMBER, node.owner)
        for key in keys:
            yield from self._by_destination.get(key, ())
        yield from self._about_own.get(key_of(node) if node.tags else node.owner, ())

    def _rules(self, entry: SSHEntry, node: Node, *, kept: bool) -> Iterator[Rule]:
        texts = self._texts[entry.number]
        if not node.tags and SELF in texts:
            yield from self._own(entry, node, kept=kept)
        elsewhere = texts - {SELF}
        if self._is_in(node, elsewhere):
            yield from self._to_destination(entry)
        elif elsewhere and entry.localparts and not (kept and node.tags):
            # A node that may connect elsewhere receives such rules about itself [recorded].
            yield from self._own(entry, node, kept=kept)

    @staticmethod
    def _is_in(node: Node, texts: Iterable[str]) -> bool:
        mine = {TAGGED, *node.tags} if node.tags else {MEMBER, node.owner}
        return not mine.isdisjoint(texts)

    def _own(self, entry: SSHEntry, node: Node, *, kept: bool) -> Iterator[Rule]:
        """Rules about the node's own person, or about a tagged node itself, where the entry is about them."""
        sources = self.sources(entry)
        if node.tags:
            if key_of(node) in sources.keys:
                yield self._rule(entry, self._of_nodes((node,)), self._users_of(entry))
        elif node.owner in sources.logins:
            person = self.tailnet.person[node.owner]
            yield from self._kept_of_person(entry, person) if kept else self._of_person(entry, person)

    def _to_destination(self, entry: SSHEntry) -> Iterable[Rule]:
        if entry.number not in self._shared:
            self._shared[entry.number] = tuple(self._all(entry))
        return self._shared[entry.number]

    def _all(self, entry: SSHEntry) -> Iterator[Rule]:
        """Rules about everybody whom an entry is about; one for each person where names come from their logins."""
        sources = self.sources(entry)
        tagged = self._of_nodes(sources.tagged)
        if not entry.localparts:
            principals = [one for person in sources.people for one in self._of_login(person.login)]
            if principals or tagged:
                yield self._rule(entry, (*principals, *tagged), self._users_of(entry))
            return
        for person in sources.people:
            yield from self._of_person(entry, person)
        if tagged:
            yield self._rule(entry, tagged, self._users_of(entry))

    def _kept_of_person(self, entry: SSHEntry, person: Person) -> tuple[Rule, ...]:
        key = entry.number, person.login
        if key not in self._personal:
            self._personal[key] = tuple(self._of_person(entry, person))
        return self._personal[key]

    def _of_person(self, entry: SSHEntry, person: Person) -> Iterator[Rule]:
        principals = self._of_login(person.login)
        if not principals:
            return
        yield self._rule(entry, principals, self._users_of(entry))
        if name := localpart_of(entry, person):
            yield self._rule(entry, principals, {name: name})

    def _users_of(self, entry: SSHEntry) -> Mapping[str, str]:
        """One object for all rules of an entry: it may name thousands of accounts."""
        if entry.number not in self._users:
            self._users[entry.number] = users_of(entry)
        return self._users[entry.number]

    def _rule(self, entry: SSHEntry, principals: Iterable[Principal], users: Mapping[str, str]) -> Rule:
        action = _ACCEPT if entry.action == "accept" else Action(hold_and_delegate=HOLD, period=entry.period)
        return Rule(entry.number, tuple(principals), users, action, accept_env=entry.accept_env)

    def _of_login(self, login: str) -> tuple[Principal, ...]:
        if login not in self._principals:
            self._principals[login] = self._of_nodes(self.tailnet.owned.get(login, ()))
        return self._principals[login]

    @staticmethod
    def _of_nodes(nodes: Iterable[Node]) -> tuple[Principal, ...]:
        return tuple(Principal(address=address.packed) for node in nodes for address in node.addresses)

    def sources(self, entry: SSHEntry) -> _Sources:
        """Whom an entry's `src` names."""
        if entry.number not in self._sources:
            logins = {login for source in entry.sources for login in self.logins_of(source)}
            people = sorted(logins & self._order.keys(), key=self._order.__getitem__)
            tagged = tuple(node for source in entry.sources for node in self._tagged(source))
            self._sources[entry.number] = _Sources(
                people=tuple(self.tailnet.person[login] for login in people),
                tagged=tagged,
                logins=frozenset(people),
                keys=frozenset(map(key_of, tagged)),
            )
        return self._sources[entry.number]

    def logins_of(self, source: Selector) -> Iterable[str]:
        """Login names of the people whom a selector names."""
        match source.kind:
            case Kind.PERSON:
                return (source.text,)
            case Kind.GROUP:
                return self.policy.groups.get(source.text, ())  # a test's src may name one that does not exist
            case Kind.DOMAIN:
                return (person.login for person in self.tailnet.people if person.domain == source.domain)
            case Kind.AUTOGROUP if source.text == MEMBER:
                return (person.login for person in self.tailnet.people)
            case Kind.AUTOGROUP if source.text in ROLES:
                role = ROLES[source.text]
                return (person.login for person in self.tailnet.people if role in person.roles)
            case _:
                return ()

    def _tagged(self, source: Selector) -> Iterable[Node]:
        if source.kind is Kind.TAG:
            return self.tailnet.tagged.get(source.text, ())
        if source.text == TAGGED:
            return (node for node in self.tailnet.nodes for _ in node.tags)
        return ()


def key_of(node: Node) -> str | int:
    """What tells a node from all others while they are in memory: several may have one name."""
    return node.stable_id or id(node)


def localpart_of(entry: SSHEntry, person: Person) -> str:
    """The account that `localpart:` gives a person; empty where it gives none.

    Whoever is called root elsewhere is not root here, and nobody's name is everybody's.
    """
    name = person.localpart
    return name if person.domain in entry.localparts and name not in (ROOT, "*") else ""


def users_of(entry: SSHEntry) -> dict[str, str]:
    """A rule's `sshUsers`: root is always in it, with nothing where the entry does not name it."""
    found = {"*": "="} if NONROOT in entry.users else {}
    found[ROOT] = ROOT if ROOT in entry.users else ""
    return found | {name: name for name in entry.names}
