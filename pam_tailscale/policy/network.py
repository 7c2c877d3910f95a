"""Whether the policy's `acls` and `grants` let a node reach another at TCP port 22. Pure.

Nothing but that port is looked at, and nothing here decides a login: who cannot reach a port does not get to ask.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pam_tailscale.model import IPNetwork
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.hujson import Document, Path
from pam_tailscale.policy.reading import Field, Reader
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.selectors import MEMBER, SELF, TAGGED, Kind, Selector
from pam_tailscale.policy.selectors import parse as selector

PORT: Final = 22
TCP: Final = frozenset({"", "tcp", "6"})
"""Protocols that TCP is one of, as `proto` names them; none means all that matter."""
EVERYBODY: Final = "autogroup:danger-all"
_ACL_FIELDS: Final = ("src", "users"), ("dst", "ports")
"""Each with the name that it had before."""


@dataclass(frozen=True, slots=True)
class Access:
    """An entry of `acls` or `grants` that is about port 22."""

    section: str
    number: int
    """From 1, in the file's order."""
    sources: tuple[Selector, ...]
    destinations: tuple[Selector, ...]

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
    return (*_acls(reader, acls), *_grants(reader, grants))


class Network:
    """Who reaches whom at port 22, in one tailnet."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._entries = read(compiler.policy.document)
        self._nodes: dict[str, frozenset[str]] = {}

    def decides(self, source: Node, destination: Node) -> tuple[bool, str]:
        """Whether one node reaches the other, and by which entry."""
        if self._entries is None:
            return True, "no acls and no grants"
        for entry in self._entries:
            if self._is_from(entry, source) and self._is_to(entry, source, destination):
                return True, entry.name
        return False, ""

    def _is_from(self, entry: Access, node: Node) -> bool:
        return any(self._is_about(source, node) for source in entry.sources)

    def _is_to(self, entry: Access, source: Node, node: Node) -> bool:
        for destination in entry.destinations:
            if destination.text == SELF:
                if not source.tags and not node.tags and source.owner == node.owner:
                    return True
            elif self._is_about(destination, node):
                return True
        return False

    def _is_about(self, place: Selector, node: Node) -> bool:
        """Whether a selector is about a node, or about an address that is no node of the tailnet's."""
        if place.kind not in (Kind.ADDRESS, Kind.NAME):
            return place.kind is Kind.ANY or node.name in self.names(place)
        network = self.network(place)
        return network is not None and any(one in network for one in node.addresses)

    def network(self, place: Selector) -> IPNetwork | None:
        """The addresses that an address, a range or a name of `hosts` stands for; None where it stands for none."""
        try:
            return ipaddress.ip_network(self._compiler.policy.hosts.get(place.text, place.text), strict=False)
        except ValueError:
            return None

    def names(self, place: Selector) -> frozenset[str]:
        """Names of the nodes that a selector is about, `autogroup:self` aside."""
        if place.text not in self._nodes:
            self._nodes[place.text] = frozenset(node.name for node in self._found(place))
        return self._nodes[place.text]

    def _found(self, place: Selector) -> Iterable[Node]:
        compiler = self._compiler
        tailnet = compiler.tailnet
        if place.kind is Kind.ANY or place.text == EVERYBODY:
            return tailnet.nodes
        if place.kind is Kind.TAG:
            return tailnet.tagged.get(place.text, ())
        if place.text == TAGGED:
            return (node for node in tailnet.nodes if node.tags)
        if place.text == MEMBER:
            return (node for node in tailnet.nodes if not node.tags)
        if place.kind in (Kind.ADDRESS, Kind.NAME):
            return (node for node in tailnet.nodes if self._is_about(place, node))
        return (node for login in compiler.logins_of(place) for node in tailnet.owned.get(login, ()))


def has_port(ports: str) -> bool:
    """Whether a list of ports, as `22`, `20-25`, `80,22` or `*`, has port 22. Raises ValueError."""
    return any(_in_range(part.strip()) for part in ports.split(","))


def _in_range(part: str) -> bool:
    if part == "*":
        return True
    first, _, last = part.partition("-")
    return int(first) <= PORT <= int(last or first)


def _acls(reader: Reader, section: Field | None) -> Iterator[Access]:
    for number, value, path in reader.items(section):
        fields = reader.fields(value, path)
        (source, old_source), (destination, old_destination) = _ACL_FIELDS
        sources = reader.list_of(fields, source) or reader.list_of(fields, old_source)
        destinations = reader.list_of(fields, destination) or reader.list_of(fields, old_destination)
        if _protocol(reader, fields.get("proto")) not in TCP:
            continue
        where = tuple(_where(reader, text, path) for text in destinations)
        yield Access("acls", number, _selectors(sources), tuple(place for place, about in where if about))


def _where(reader: Reader, text: str, path: Path) -> tuple[Selector, bool]:
    """What is before the last colon of an acl's `dst`, and whether what follows has port 22."""
    place, colon, ports = text.rpartition(":")
    if not colon:
        raise reader.document.error((*path, "dst"), f"{text!r} has no port: write it as host:ports")
    try:
        return selector(place.removeprefix("[").removesuffix("]")), has_port(ports)
    except ValueError:
        raise reader.document.error((*path, "dst"), f"{ports!r} in {text!r} is no list of ports") from None


def _grants(reader: Reader, section: Field | None) -> Iterator[Access]:
    for number, value, path in reader.items(section):
        fields = reader.fields(value, path)
        sources, destinations = reader.list_of(fields, "src"), reader.list_of(fields, "dst")
        if any(_is_ssh(reader, text, path) for text in reader.list_of(fields, "ip")):
            yield Access("grants", number, _selectors(sources), _selectors(destinations))


def _is_ssh(reader: Reader, text: str, path: Path) -> bool:
    """Whether an entry of a grant's `ip`, as `tcp:22`, `22`, `icmp:*` or `*`, has TCP port 22."""
    protocol, _, ports = text.rpartition(":")
    if ports == "*" and not protocol:
        return True
    try:
        return protocol.lower() in TCP and has_port(ports)
    except ValueError:
        raise reader.document.error((*path, "ip"), f"{text!r} is no protocol and port") from None


def _protocol(reader: Reader, found: Field | None) -> str:
    return "" if found is None else reader.text(found.value, found.path).lower()


def _selectors(texts: Iterable[str]) -> tuple[Selector, ...]:
    return tuple(selector(text) for text in texts)
