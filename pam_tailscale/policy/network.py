"""Whether the policy's `acls` and `grants` let a node reach another at TCP port 22. Pure.

Nothing but that port is looked at, and nothing here decides a login: who cannot reach a port does not get to ask. An
entry that depends on what is not known here, as a posture or an IP set, neither lets through nor does not: what only it
could decide cannot be told.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pam_tailscale.model import IPAddress, IPNetwork
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.godurations import quote, shortened
from pam_tailscale.policy.hujson import Document, Path
from pam_tailscale.policy.reading import Field, Reader
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.selectors import MEMBER, ROLES, SELF, TAGGED, Kind, Selector, is_login, network_of
from pam_tailscale.policy.selectors import parse as selector
from pam_tailscale.policy.sshtests import CANNOT_TELL

PORT: Final = 22
PORT_MAX: Final = 65535
TCP: Final = frozenset({"", "tcp", "6"})
"""Protocols that TCP is one of, as `proto` names them; none means all that matter."""
_NOT_TCP: Final = frozenset(
    {"icmp", "ipv6-icmp", "igmp", "ipv4", "ip-in-ip", "egp", "igp", "udp", "gre", "esp", "ah", "sctp"}
)
_NUMBER: Final = re.compile("[0-9]+")
_PORTS: Final = re.compile("([0-9]{1,5})(?:-([0-9]{1,5}))?")
EVERYBODY: Final = "autogroup:danger-all"
ELSEWHERE: Final = "autogroup:internet"
OF_OTHERS: Final = "autogroup:shared"
_ACL_FIELDS: Final = ("src", "users"), ("dst", "ports")
"""Each with the name that it had before."""
_ACL_KNOWN: Final = frozenset({"action", "proto", "src", "users", "dst", "ports"})
_GRANT_KNOWN: Final = frozenset({"src", "dst", "ip", "app"})
_POSTURE: Final = "srcposture"
_REASONS_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Access:
    """An entry of `acls` or `grants` that is about port 22, or may be."""

    section: str
    number: int
    """From 1, in the file's order."""
    sources: tuple[Selector, ...]
    destinations: tuple[Selector, ...]
    unclear: tuple[str, ...] = ()
    """What else it depends on and is not known here: `srcPosture`, an unknown field or protocol. In words, cut."""

    @property
    def name(self) -> str:
        """How it is named to whoever reads the file."""
        return f"{self.section} {self.number}"


def read(document: Document) -> tuple[Access, ...] | None:
    """The entries about port 22; None where the file has neither section, and everything can be reached.

    Raises PolicyFileError.
    """
    reader = Reader(document)
    top = reader.fields(document.value, ())
    acls, grants = top.get("acls"), top.get("grants")
    if acls is None and grants is None:
        return None
    postures = ("defaultSrcPosture",) if reader.list_of(top, "defaultsrcposture") else ()
    return (*_acls(reader, acls, postures), *_grants(reader, grants, postures))


Bits = int
"""A set of entries: a bit for each, the first one lowest."""


@dataclass(frozen=True, slots=True)
class End:
    """What matters of a node as one end of a connection. Nodes that have the same are one."""

    sure: Bits
    """Entries that are about it."""
    perhaps: Bits
    """Entries that could be."""
    owner: str = ""
    """Whose it is, where an entry is about people's own nodes."""


class _Side:
    """Entries by what stands at one of their ends."""

    def __init__(self, compiler: Compiler, places: Iterable[tuple[Selector, ...]]) -> None:
        self.own: Bits = 0
        """Those whose destination is `autogroup:self`."""
        self.unclear: set[str] = set()
        """Selectors that this knows nothing of."""
        self._compiler = compiler
        self._perhaps = self._perhaps_outside = self._all = self._members = self._tagged = 0
        self._by_text: defaultdict[str, Bits] = defaultdict(int)
        """Login names and tags."""
        self._by_address: defaultdict[IPAddress, Bits] = defaultdict(int)
        self._ranges: list[tuple[IPNetwork, Bits]] = []
        by_place: defaultdict[Selector, Bits] = defaultdict(int)
        for position, each in enumerate(places):
            for place in each:
                by_place[place] |= 1 << position
        for place, entries in by_place.items():
            self._add(place, entries)

    def of(self, node: Node) -> tuple[Bits, Bits]:
        """The entries that are about a node, or an address outside the tailnet, and those that could be."""
        inside = not node.addresses or node.addresses[0] in self._compiler.tailnet.at
        found = self._all
        if node.tags:
            found |= self._tagged
        elif inside:
            found |= self._members
        for text in node.tags or ([node.owner] if node.owner else []):
            found |= self._by_text.get(text, 0)
        for address in node.addresses:
            found |= self._by_address.get(address, 0)
            for network, entries in self._ranges:
                if address in network:
                    found |= entries
        return found, self._perhaps if inside else self._perhaps | self._perhaps_outside

    def _add(self, place: Selector, entries: Bits) -> None:
        if place.kind is Kind.ANY or place.text == EVERYBODY:
            self._all |= entries
        elif place.kind is Kind.AUTOGROUP and place.text not in ROLES:
            self._add_autogroup(place.text, entries)
        elif place.kind is Kind.TAG:
            self._by_text[place.text] |= entries
        elif network := network_of(place, self._compiler.policy.hosts):
            if network.num_addresses == 1:
                self._by_address[network.network_address] |= entries
            else:
                self._ranges.append((network, entries))
        elif self._are_people(place):
            for login in self._compiler.logins_of(place):
                self._by_text[login] |= entries
        else:
            self._add_unclear(place.text, entries)

    def _add_autogroup(self, text: str, entries: Bits) -> None:
        if text == MEMBER:
            self._members |= entries
        elif text == TAGGED:
            self._tagged |= entries
        elif text == SELF:
            self.own |= entries
        elif text == ELSEWHERE:
            self._perhaps_outside |= entries
            self.unclear.add(text)
        elif text != OF_OTHERS:  # no node of theirs is one of this tailnet's
            self._add_unclear(text, entries)

    def _add_unclear(self, text: str, entries: Bits) -> None:
        self._perhaps |= entries
        self.unclear.add(text)

    def _are_people(self, place: Selector) -> bool:
        """Whether it names people of whom it is known who they are."""
        if place.kind is Kind.GROUP:
            members = self._compiler.policy.groups.get(place.text)  # others come from an identity provider
            return members is not None and all(map(is_login, members))
        if place.text in ROLES:
            return any(ROLES[place.text] in person.roles for person in self._compiler.tailnet.people)
        return place.kind is Kind.DOMAIN or (place.kind is Kind.PERSON and not place.text.startswith("user:"))


class Network:
    """Who reaches whom at port 22, in one tailnet."""

    def __init__(self, compiler: Compiler) -> None:
        self._entries = read(compiler.policy.document)
        entries = self._entries or ()
        self._from = _Side(compiler, (entry.sources for entry in entries))
        self._to = _Side(compiler, (entry.destinations for entry in entries))
        self._unclear = sum(1 << position for position, entry in enumerate(entries) if entry.unclear)
        self._from.unclear |= {SELF} if self._from.own else set()

    def source(self, node: Node) -> End:
        """A node that connects."""
        sure, perhaps = self._from.of(node)
        perhaps |= sure | self._from.own
        return End(sure, perhaps, node.owner if perhaps & self._to.own and not node.tags else "")

    def destination(self, node: Node) -> End:
        """A node, or an address outside the tailnet, that is connected to."""
        sure, perhaps = self._to.of(node)
        return End(sure, perhaps | sure, node.owner if self._to.own and not node.tags else "")

    def decides(self, source: End, destination: End) -> tuple[str, str]:
        """`accept`, `deny` or why it cannot be told, and by which entry."""
        if self._entries is None:
            return "accept", "no acls and no grants"
        own = self._to.own if source.owner and source.owner == destination.owner else 0
        sure = source.sure & (destination.sure | own) & ~self._unclear
        if sure:
            return "accept", self._entries[_first(sure)].name
        perhaps = source.perhaps & (destination.perhaps | own)
        if perhaps:
            entry = self._entries[_first(perhaps)]
            return f"{CANNOT_TELL}{', '.join(self._reasons(entry))}", entry.name
        return "deny", ""

    def _reasons(self, entry: Access) -> list[str]:
        sources = [place.text for place in entry.sources if place.text in self._from.unclear]
        destinations = [place.text for place in entry.destinations if place.text in self._to.unclear]
        return [*map(shortened, dict.fromkeys((*sources, *destinations))), *entry.unclear][:_REASONS_SHOWN]


def _first(entries: Bits) -> int:
    return (entries & -entries).bit_length() - 1


def has_port(ports: str) -> bool:
    """Whether a list of ports, as `22`, `20-25`, `80,22` or `*`, has port 22. Raises ValueError."""
    found = [_in_range(part.strip()) for part in ports.split(",")]
    return any(found)


def _in_range(part: str) -> bool:
    if part == "*":
        return True
    match = _PORTS.fullmatch(part)
    if match is None or not int(match[1]) <= int(match[2] or match[1]) <= PORT_MAX:
        raise ValueError(part)
    return int(match[1]) <= PORT <= int(match[2] or match[1])


def _acls(reader: Reader, section: Field | None, postures: tuple[str, ...]) -> Iterator[Access]:
    for number, value, path in reader.items(section):
        fields = reader.fields(value, path)
        (source, old_source), (destination, old_destination) = _ACL_FIELDS
        sources = reader.list_of(fields, source) or reader.list_of(fields, old_source)
        destinations = reader.list_of(fields, destination) or reader.list_of(fields, old_destination)
        protocol = reader.text_of(fields, "proto").lower()
        if _is_not_tcp(protocol):
            continue
        unclear = [*_unclear_fields(fields, _ACL_KNOWN, postures)]
        if (action := reader.text_of(fields, "action")) != "accept":
            unclear.append(f"action {quote(action)}")
        if protocol not in TCP:
            unclear.append(f"proto {quote(protocol)}")
        where = tuple(_where(reader, text, path) for text in destinations)
        places = tuple(place for place, about in where if about)
        yield Access("acls", number, _selectors(sources), places, tuple(unclear))


def _where(reader: Reader, text: str, path: Path) -> tuple[Selector, bool]:
    """What is before the last colon of an acl's `dst`, and whether what follows has port 22."""
    place, colon, ports = text.rpartition(":")
    if not colon:
        message = f"{quote(text)} has no port"
        raise reader.document.error((*path, "dst"), message).hinted("write it as host:ports")
    try:
        return selector(place.removeprefix("[").removesuffix("]")), has_port(ports)
    except ValueError:
        message = f"{quote(ports)} in {quote(text)} is no list of ports"
        raise reader.document.error((*path, "dst"), message).hinted("write it as 22, 80,443, 8000-8999 or *") from None


def _grants(reader: Reader, section: Field | None, postures: tuple[str, ...]) -> Iterator[Access]:
    for number, value, path in reader.items(section):
        fields = reader.fields(value, path)
        sources, destinations = reader.list_of(fields, "src"), reader.list_of(fields, "dst")
        protocols = [found for text in reader.list_of(fields, "ip") if (found := _protocol_at_port(reader, text, path))]
        if not protocols:
            continue
        unclear = [*_unclear_fields(fields, _GRANT_KNOWN, postures)]
        if TCP.isdisjoint(protocols):
            unclear.append(f"ip {quote(protocols[0])}")
        yield Access("grants", number, _selectors(sources), _selectors(destinations), tuple(unclear))


def _protocol_at_port(reader: Reader, text: str, path: Path) -> str:
    """The protocol of an entry of a grant's `ip`, as `tcp:22`, `22`, `icmp:*` or `*`; empty where it is not port 22.

    It is `tcp` where none is named.
    """
    protocol, _, ports = text.rpartition(":")
    protocol = protocol.lower() or "tcp"
    if _is_not_tcp(protocol):
        return ""
    try:
        return protocol if has_port(ports) else ""
    except ValueError:
        message = f"{quote(text)} is no protocol and port"
        raise reader.document.error((*path, "ip"), message).hinted("write it as tcp:22, 22 or *") from None


def _is_not_tcp(protocol: str) -> bool:
    return protocol in _NOT_TCP or (protocol not in TCP and _NUMBER.fullmatch(protocol) is not None)


def _unclear_fields(fields: Mapping[str, Field], known: frozenset[str], postures: tuple[str, ...]) -> Iterator[str]:
    """Fields that may narrow the entry, as they are written; `postures` counts for one that has none of its own."""
    for name, found in fields.items():
        if name not in known and found.value not in ([], {}, ""):
            yield shortened(str(found.path[-1]))
            postures = () if name == _POSTURE else postures
    yield from postures


def _selectors(texts: Iterable[str]) -> tuple[Selector, ...]:
    return tuple(selector(text) for text in texts)
