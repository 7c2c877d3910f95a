"""What stands in a rule's `src` or `dst`: a person, a group, a tag, an autogroup, a host, an address. Pure text."""

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pam_tailscale.model import IPAddress, IPNetwork

SELF: Final = "autogroup:self"
MEMBER: Final = "autogroup:member"
MEMBERS_OLD: Final = "autogroup:members"
"""An older spelling of it."""
TAGGED: Final = "autogroup:tagged"
NONROOT: Final = "autogroup:nonroot"
ROLES: Final = {
    "autogroup:owner": "owner",
    "autogroup:admin": "admin",
    "autogroup:it-admin": "it-admin",
    "autogroup:network-admin": "network-admin",
    "autogroup:billing-admin": "billing-admin",
    "autogroup:auditor": "auditor",
}
"""Autogroups of people by the role that they have in the tailnet."""
DOMAIN_PREFIX: Final = "user:*@"


class Kind(enum.Enum):
    """What a selector names."""

    ANY = "any"
    PERSON = "person"
    DOMAIN = "domain"
    """Everybody of a domain: `user:*@example.com`."""
    GROUP = "group"
    TAG = "tag"
    AUTOGROUP = "autogroup"
    ADDRESS = "address"
    """An address or a range."""
    NAME = "name"
    """Of `hosts`, or of nothing."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One entry of `src` or `dst`."""

    kind: Kind
    text: str
    """As it stands in the policy, without the spaces around it."""

    @property
    def domain(self) -> str:
        """Of a DOMAIN."""
        return self.text.removeprefix(DOMAIN_PREFIX)


def parse(text: str) -> Selector:
    """Read an entry; whether it may stand where it stands is not asked here."""
    text = text.strip()
    return Selector(_kind(text), MEMBER if text == MEMBERS_OLD else text)


def network_of(place: Selector, hosts: Mapping[str, str]) -> IPNetwork | None:
    """The addresses that an ADDRESS, or a NAME of `hosts`, stands for; None where it stands for none."""
    text = hosts.get(place.text, "") if place.kind is Kind.NAME else place.text
    if place.kind not in (Kind.ADDRESS, Kind.NAME):
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def address_of(place: Selector, hosts: Mapping[str, str]) -> IPAddress | None:
    """The same, where it is one address."""
    network = network_of(place, hosts)
    return network.network_address if network is not None and network.num_addresses == 1 else None


def is_login(member: str) -> bool:
    """Whether a member of a group is a login name; headscale has such without an @."""
    return _kind(member.strip()) in (Kind.PERSON, Kind.NAME) and "*" not in member


def _kind(text: str) -> Kind:
    if text == "*":
        return Kind.ANY
    for prefix, kind in (
        ("group:", Kind.GROUP),
        ("tag:", Kind.TAG),
        ("autogroup:", Kind.AUTOGROUP),
        (DOMAIN_PREFIX, Kind.DOMAIN),
    ):
        if text.startswith(prefix):
            return kind
    if "@" in text:
        return Kind.PERSON
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return Kind.NAME
    return Kind.ADDRESS
