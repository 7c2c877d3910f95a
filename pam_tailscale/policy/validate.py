"""What the control plane refuses beside a file's form: names that stand for nothing, or may not stand where they do.

Messages that it is known to give are in its words; the others are ours. Pure.
"""

import ipaddress

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.document import PolicyFile, SSHEntry, SSHTest
from pam_tailscale.policy.godurations import quote
from pam_tailscale.policy.hujson import Path
from pam_tailscale.policy.selectors import MEMBER, ROLES, SELF, TAGGED, Kind, Selector

_SOURCE_KINDS = frozenset({Kind.PERSON, Kind.DOMAIN, Kind.GROUP, Kind.TAG, Kind.AUTOGROUP})
_DESTINATION_KINDS = frozenset({Kind.PERSON, Kind.TAG, Kind.AUTOGROUP})
_DESTINATION_AUTOGROUPS = (MEMBER, TAGGED, SELF)


def validate(policy: PolicyFile, domains: frozenset[str] | None) -> None:
    """Raise PolicyFileError for the first thing that the control plane would refuse.

    `domains`: the tailnet's own, of which `user:*@domain` may speak; None where nobody knows them.
    """
    for entry in policy.ssh:
        for position, source in enumerate(entry.sources):
            _source(policy, source, (*entry.path, "src", position), domains)
        for position, destination in enumerate(entry.destinations):
            _destination(policy, destination, (*entry.path, "dst", position))
        _together(policy, entry)
        if domains is not None:
            for domain in entry.localparts:
                if domain not in domains:
                    raise _error(policy, (*entry.path, "users"), _foreign(domain))
    for test in policy.ssh_tests:
        _test(policy, test)


def _error(policy: PolicyFile, path: Path, message: str) -> PolicyFileError:
    return policy.document.error(path, message)


def _foreign(domain: str) -> str:
    return f"{domain} is not associated with this Tailnet and cannot be used in user:*@<domain> expressions"


def _source(policy: PolicyFile, source: Selector, path: Path, domains: frozenset[str] | None) -> None:
    if source.kind not in _SOURCE_KINDS:
        raise _error(policy, path, f"invalid src {quote(source.text)}")
    if source.text == SELF:
        raise _error(policy, path, f"{quote(SELF)} not valid on the src side of a rule")
    if source.kind is Kind.AUTOGROUP and source.text not in (MEMBER, TAGGED, *ROLES):
        raise _error(policy, path, f"invalid src {quote(source.text)}")
    if source.kind is Kind.TAG and source.text not in policy.tag_owners:
        raise _error(policy, path, f"src=tag not found: {quote(source.text)}")
    if source.kind is Kind.GROUP and source.text not in policy.groups:
        raise _error(policy, path, f"src=group not found: {quote(source.text)}")
    if source.kind is Kind.DOMAIN and domains is not None and source.domain not in domains:
        raise _error(policy, path, f"[ssh] {_foreign(source.domain)}")


def _destination(policy: PolicyFile, destination: Selector, path: Path) -> None:
    text = quote(destination.text)
    if destination.kind not in _DESTINATION_KINDS:
        raise _error(policy, path, f"invalid dst {text}")
    if destination.kind is Kind.AUTOGROUP and destination.text not in _DESTINATION_AUTOGROUPS:
        raise _error(policy, path, f"invalid dst {text}")
    if destination.kind is Kind.TAG and destination.text not in policy.tag_owners:
        raise _error(policy, path, f"dst={text}: tag not found: {text}")


def _together(policy: PolicyFile, entry: SSHEntry) -> None:
    """Devices of people are for these people themselves (Tailscale's documentation of the ssh section's dst)."""
    path = (*entry.path, "dst")
    sources = frozenset(entry.sources)
    others = [source.text for source in entry.sources if source.kind is Kind.TAG or source.text == TAGGED]
    for destination in entry.destinations:
        of_people = destination.kind is Kind.PERSON or destination.text in (SELF, MEMBER)
        if of_people and others:
            raise _error(policy, path, f"{quote(others[0])} as src cannot have people's devices as dst")
        if destination.kind is Kind.PERSON and sources - {destination}:
            message = f"dst {quote(destination.text)} is only for that same person as src: write {quote(SELF)}"
            raise _error(policy, path, message)


def _test(policy: PolicyFile, test: SSHTest) -> None:
    for position, destination in enumerate(test.destinations):
        path, text = (*test.path, "dst", position), quote(destination.text)
        if destination.kind is Kind.TAG and destination.text not in policy.tag_owners:
            raise _error(policy, path, f"SSH tests dst contains unknown tag {text}")
        if not _one_place(policy, destination):
            raise _error(policy, path, f"SSH tests dst contains disallowed element {text}")


def _one_place(policy: PolicyFile, destination: Selector) -> bool:
    """Whether it can be where somebody logs in."""
    if destination.kind is Kind.AUTOGROUP:
        return destination.text in _DESTINATION_AUTOGROUPS
    if destination.kind is Kind.NAME:
        return destination.text in policy.hosts and _is_address(policy.hosts[destination.text])
    if destination.kind is Kind.ADDRESS:
        return _is_address(destination.text)
    return destination.kind in (Kind.TAG, Kind.PERSON)


def _is_address(text: str) -> bool:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return network.num_addresses == 1
