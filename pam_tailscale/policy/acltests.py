"""The `tests` section of a policy file, as far as it is about TCP port 22. Pure.

As with the control plane, a test fails that is about a range, about what does not exist, or about no one port, and one
that says nothing [recorded]; also one whose source is an autogroup (tailscale/tailscale issue 12370) or `*`. Postures
that a test gives its source are not evaluated: what depends on one cannot be told, and fails.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.godurations import quote, shortened
from pam_tailscale.policy.named import nodes_of
from pam_tailscale.policy.network import PORT, PORT_MAX, TCP, End, Network
from pam_tailscale.policy.reading import Field, Reader
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.selectors import SELF, Kind, Selector, address_of
from pam_tailscale.policy.selectors import parse as selector
from pam_tailscale.policy.sshtests import Result, Wanted

SECTION: Final = "tests"
_FIELDS: Final = {Wanted.ACCEPT: ("accept", "allow"), Wanted.DENY: ("deny",)}
"""The first with the name that it had before."""
_SOURCE: Final = ("src", "user")
"""The same of whom a test is about."""
_KNOWN: Final = frozenset({*_SOURCE, "srcpostureattrs", "proto", "accept", "allow", "deny"})
_PORT_DIGITS_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class _Said:
    """One thing that a test says."""

    test: int
    source: str
    destination: str
    """As it is written, with the port."""
    wanted: Wanted | None
    """None where the whole test is nothing that could be run."""
    problem: str = ""
    """Why it cannot be run."""


def run(compiler: Compiler) -> Iterator[Result]:
    """Run what the tests say about port 22; what is about other ports is passed over. Raises PolicyFileError."""
    network = Network(compiler)
    for said in _all_said(compiler):
        yield _judge(compiler, network, said)


def _all_said(compiler: Compiler) -> Iterator[_Said]:
    reader = Reader(compiler.policy.document)
    section = reader.fields(compiler.policy.document.value, ()).get(SECTION)
    for number, value, path in reader.items(section):
        fields = reader.fields(value, path)
        source = next(filter(None, (reader.text_of(fields, name) for name in _SOURCE)), "")
        if unknown := [str(found.path[-1]) for name, found in fields.items() if name not in _KNOWN]:
            yield _Said(number, source, "", None, f"unknown field {quote(unknown[0])}")
        if reader.text_of(fields, "proto").lower() in TCP:
            yield from _said(reader, number, source, fields)


def _said(reader: Reader, number: int, source: str, fields: Mapping[str, Field]) -> Iterator[_Said]:
    says_nothing = True
    for wanted, names in _FIELDS.items():
        for text in (text for name in names for text in reader.list_of(fields, name)):
            says_nothing = False
            port = text.rpartition(":")[2].strip()
            if not _is_port(port):
                yield _Said(number, source, text, wanted, f"{quote(port)} is not one port")
            elif int(port) == PORT:
                yield _Said(number, source, text, wanted)
    if says_nothing:
        yield _Said(number, source, "", None, "it says nothing: accept or deny is missing")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS_MAX and int(text) <= PORT_MAX


def _judge(compiler: Compiler, network: Network, said: _Said) -> Result:
    """What the policy does; of several pairs of nodes the first for which the test fails."""
    if said.problem:
        return _result(said, said.wanted, said.problem)
    source = selector(said.source)
    # Nobody is meant, but some.
    sources = () if source.kind in (Kind.AUTOGROUP, Kind.ANY) else nodes_of(compiler, source)
    if not sources:
        return _result(said, None, "src is no node of the tailnet")
    result = _result(said, None, "dst is no node of the tailnet")
    place = selector(said.destination.rpartition(":")[0].removeprefix("[").removesuffix("]"))
    for one, other in _pairs(compiler, network, sources, place):
        found, by = network.decides(one, other)
        result = _result(said, said.wanted, found, by)
        if not result.passed:
            break
    return result


def _result(said: _Said, wanted: Wanted | None, found: str, by: str = "") -> Result:
    where = shortened(said.destination)
    return Result(said.test, said.source, where, "", wanted, found, section=SECTION, by=by)


def _pairs(
    compiler: Compiler, network: Network, sources: tuple[Node, ...], place: Selector
) -> Iterator[tuple[End, End]]:
    """Both ends of the connections that a test is about; each that is different once."""
    if place.text == SELF:
        for login in dict.fromkeys(source.owner for source in sources if not source.tags):
            nodes = compiler.tailnet.owned.get(login, ())
            ours = dict.fromkeys(network.source(source) for source in sources if source.owner == login)
            yield from ((one, other) for one in ours for other in dict.fromkeys(map(network.destination, nodes)))
        return
    others = dict.fromkeys(network.destination(node) for node in _destinations(compiler, place))
    yield from ((one, other) for one in dict.fromkeys(map(network.source, sources)) for other in others)


def _destinations(compiler: Compiler, place: Selector) -> tuple[Node, ...]:
    if place.kind not in (Kind.ADDRESS, Kind.NAME):
        return () if place.kind in (Kind.ANY, Kind.DOMAIN) else nodes_of(compiler, place)
    address = address_of(place, compiler.policy.hosts)
    if address is None or "/" in compiler.policy.hosts.get(place.text, place.text):
        return ()
    # Behind a subnet router there is no node to be named.
    return nodes_of(compiler, place) or (Node(place.text, (address,)),)
