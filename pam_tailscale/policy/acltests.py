"""The `tests` section of a policy file, as far as it is about TCP port 22. Pure.

As with the control plane, a test about a range, a group as destination, or what does not exist fails [recorded].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.hujson import Path
from pam_tailscale.policy.network import PORT, TCP, Network
from pam_tailscale.policy.reading import Field, Reader
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.selectors import SELF, Kind, Selector
from pam_tailscale.policy.selectors import parse as selector
from pam_tailscale.policy.sshtests import Result, Wanted

SECTION: Final = "tests"
_FIELDS: Final = {Wanted.ACCEPT: "accept", Wanted.DENY: "deny"}
_NO_DESTINATION: Final = frozenset({Kind.GROUP, Kind.ANY, Kind.DOMAIN})


@dataclass(frozen=True, slots=True)
class _Said:
    """One thing that a test says."""

    test: int
    source: str
    destination: Selector
    wanted: Wanted


def run(compiler: Compiler) -> Iterator[Result]:
    """Run what the tests say about port 22; the rest is passed over. Raises PolicyFileError."""
    network = Network(compiler)
    for said in _all_said(compiler):
        yield _judge(compiler, network, said)


def _all_said(compiler: Compiler) -> Iterator[_Said]:
    reader = Reader(compiler.policy.document)
    section = reader.fields(compiler.policy.document.value, ()).get(SECTION)
    for number, value, path in reader.items(section):
        fields = reader.fields(value, path)
        if _text(reader, fields.get("proto"), path).lower() not in TCP:
            continue
        source = _text(reader, fields.get("src"), path)
        for wanted, name in _FIELDS.items():
            for text in reader.list_of(fields, name):
                place, _, port = text.rpartition(":")
                if port.strip() == str(PORT):
                    yield _Said(number, source, selector(place.removeprefix("[").removesuffix("]")), wanted)


def _text(reader: Reader, found: Field | None, path: Path) -> str:
    return "" if found is None else reader.text(found.value, found.path or path)


def _judge(compiler: Compiler, network: Network, said: _Said) -> Result:
    """What the policy does; of several pairs of nodes the first for which the test fails."""
    where = f"{said.destination.text}:{PORT}"
    sources = _nodes(compiler, network, selector(said.source))
    result = Result(said.test, said.source, where, "", None, "src is no node of the tailnet", section=SECTION)
    if not sources:
        return result
    result = Result(said.test, said.source, where, "", None, "dst is no node of the tailnet", section=SECTION)
    for source in sources:
        for destination in _destinations(compiler, network, said.destination, source):
            reached, by = network.decides(source, destination)
            found = "accept" if reached else "deny"
            result = Result(said.test, said.source, where, "", said.wanted, found, section=SECTION, by=by)
            if not result.passed:
                return result
    return result


def _destinations(compiler: Compiler, network: Network, place: Selector, source: Node) -> tuple[Node, ...]:
    if place.text == SELF:
        return () if source.tags else compiler.tailnet.owned.get(source.owner, ())
    text = compiler.policy.hosts.get(place.text, place.text)
    if place.kind in _NO_DESTINATION or "/" in text:
        return ()
    if place.kind in (Kind.ADDRESS, Kind.NAME) and (found := network.network(place)) is not None:
        # Behind a subnet router there is no node to be named.
        address = found.network_address
        return (compiler.tailnet.at.get(address, Node(place.text, (address,))),)
    return _nodes(compiler, network, place)


def _nodes(compiler: Compiler, network: Network, place: Selector) -> tuple[Node, ...]:
    if place.kind is Kind.GROUP and place.text not in compiler.policy.groups:
        return ()
    names = network.names(place)
    return tuple(node for node in compiler.tailnet.nodes if node.name in names)
