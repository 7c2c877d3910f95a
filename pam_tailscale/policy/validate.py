"""What the control plane refuses beside a file's form: names that stand for nothing, or may not stand where they do.

Looked at are `ssh` and `sshTests`, with what they name of other sections. That a file passes says nothing of `acls`,
`grants`, `tests` and all else. Messages that the control plane is known to give are in its words, of which some are
recorded and some reported (tailscale/tailscale issues 5027, 14102; juanfont/headscale issue 3010); the others are ours.
Pure.
"""

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.document import PolicyFile, SSHEntry, SSHTest
from pam_tailscale.policy.godurations import quote, shortened
from pam_tailscale.policy.hujson import Path
from pam_tailscale.policy.selectors import MEMBER, ROLES, SELF, TAGGED, Kind, Selector, address_of
from pam_tailscale.policy.selectors import parse as selector

_DOMAINS_SHOWN = 3
_SOURCE_KINDS = frozenset({Kind.PERSON, Kind.DOMAIN, Kind.GROUP, Kind.TAG, Kind.AUTOGROUP})
_DESTINATION_KINDS = frozenset({Kind.PERSON, Kind.TAG, Kind.AUTOGROUP})
_DESTINATION_AUTOGROUPS = (MEMBER, TAGGED, SELF)
_WRITE_SOURCE = f"name people, user:*@domain, group:…, tag:…, {MEMBER}, {TAGGED} or a role, as autogroup:admin"
_WRITE_DESTINATION = f"name tag:…, {SELF}, {MEMBER} or {TAGGED}"
_WRITE_TEST_DESTINATION = (
    "name one person, a group of this file, a tag, an address, or a name of hosts that is an address"
)


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
                    raise _error(policy, (*entry.path, "users"), _foreign(domain)).hinted(_known(domains))
    for test in policy.ssh_tests:
        _test(policy, test)


def unenforceable(policy: PolicyFile) -> PolicyFileError | None:
    """Why a host must not decide by a policy file itself; None where it may.

    The control plane knows what a device's posture is, and Tailscale's own server records sessions; a host that lets
    in without either would give more than the file does.
    """
    for entry in policy.ssh:
        if entry.conditional:
            message = "whether a device has the posture that this entry demands is not known on a host"
            return _error(policy, (*entry.path, "srcPosture"), message).hinted("leave the entry to the control plane")
        if entry.recorders or entry.enforce_recorder:
            message = "a host does not record the sessions that this entry wants recorded"
            path = (*entry.path, "recorder" if entry.recorders else "enforceRecorder")
            return _error(policy, path, message).hinted("leave the entry to the control plane")
    return None


def _error(policy: PolicyFile, path: Path, message: str) -> PolicyFileError:
    return policy.document.error(path, message)


def _foreign(domain: str) -> str:
    shown = shortened(domain)
    return f"{shown} is not associated with this Tailnet and cannot be used in user:*@<domain> expressions"


def _known(domains: frozenset[str]) -> str:
    """What to write instead of a foreign domain."""
    shown = [shortened(domain) for domain in sorted(domains)[:_DOMAINS_SHOWN]]
    return f"the tailnet's: {', '.join(shown)}" if shown else "name people, or a group"


def _source(policy: PolicyFile, source: Selector, path: Path, domains: frozenset[str] | None) -> None:
    if source.kind not in _SOURCE_KINDS:
        raise _error(policy, path, f"invalid src {quote(source.text)}").hinted(_WRITE_SOURCE)
    if source.text == SELF:
        message = f"{quote(SELF)} not valid on the src side of a rule"
        raise _error(policy, path, message).hinted(f"write {MEMBER} here, and {SELF} as dst")
    if source.kind is Kind.AUTOGROUP and source.text not in (MEMBER, TAGGED, *ROLES):
        raise _error(policy, path, f"invalid src {quote(source.text)}").hinted(_WRITE_SOURCE)
    if source.kind is Kind.TAG and source.text not in policy.tag_owners:
        raise _error(policy, path, f"src=tag not found: {quote(source.text)}").hinted("name it in tagOwners")
    if source.kind is Kind.GROUP and source.text not in policy.groups:
        raise _error(policy, path, f"src=group not found: {quote(source.text)}").hinted("name it in groups")
    if source.kind is Kind.DOMAIN and domains is not None and source.domain not in domains:
        raise _error(policy, path, f"[ssh] {_foreign(source.domain)}").hinted(_known(domains))


def _destination(policy: PolicyFile, destination: Selector, path: Path) -> None:
    text = quote(destination.text)
    if destination.kind not in _DESTINATION_KINDS:
        raise _error(policy, path, f"invalid dst {text}").hinted(_WRITE_DESTINATION)
    if destination.kind is Kind.AUTOGROUP and destination.text not in _DESTINATION_AUTOGROUPS:
        raise _error(policy, path, f"invalid dst {text}").hinted(_WRITE_DESTINATION)
    if destination.kind is Kind.TAG and destination.text not in policy.tag_owners:
        raise _error(policy, path, f"dst={text}: tag not found: {text}").hinted("name it in tagOwners")


def _together(policy: PolicyFile, entry: SSHEntry) -> None:
    """Devices of people are for these people themselves, and there is nobody who could pass a check for a tag.

    Both are in Tailscale's documentation of the ssh section.
    """
    for position, source in enumerate(entry.sources):
        if entry.action == "check" and (source.kind is Kind.TAG or source.text == TAGGED):
            message = '[ssh] "check" action does not support tags in src'
            raise _error(policy, (*entry.path, "src", position), message).hinted("an entry for tags can only accept")
    path = (*entry.path, "dst")
    sources = frozenset(entry.sources)
    others = [source.text for source in entry.sources if source.kind is Kind.TAG or source.text == TAGGED]
    for destination in entry.destinations:
        of_people = destination.kind is Kind.PERSON or destination.text in (SELF, MEMBER)
        if destination.kind is Kind.PERSON and sources - {destination}:
            message = "users in dst are only allowed from the same user"
            hint = f"write {SELF} for everybody's own devices, or have {quote(destination.text)} alone as src"
            raise _error(policy, path, message).hinted(hint)
        if of_people and others:
            message = f"{quote(others[0])} as src cannot have people's devices as dst"
            raise _error(policy, path, message).hinted("name tags as dst")


def _test(policy: PolicyFile, test: SSHTest) -> None:
    if selector(test.source).kind is Kind.AUTOGROUP:
        message = f"SSH tests src contains disallowed element {quote(test.source)}"
        hint = "name one person, a group, a tag, or a name of hosts"
        raise _error(policy, (*test.path, "src"), message).hinted(hint)
    for position, destination in enumerate(test.destinations):
        path, text = (*test.path, "dst", position), quote(destination.text)
        if destination.kind is Kind.TAG and destination.text not in policy.tag_owners:
            raise _error(policy, path, f"SSH tests dst contains unknown tag {text}").hinted("name it in tagOwners")
        if not _one_place(policy, destination):
            message = f"SSH tests dst contains disallowed element {text}"
            raise _error(policy, path, message).hinted(_WRITE_TEST_DESTINATION)


def _one_place(policy: PolicyFile, destination: Selector) -> bool:
    """Whether it can be where somebody logs in."""
    if destination.kind is Kind.AUTOGROUP:
        return destination.text in _DESTINATION_AUTOGROUPS
    if destination.kind is Kind.GROUP:
        return destination.text in policy.groups
    if destination.kind in (Kind.NAME, Kind.ADDRESS):
        return address_of(destination, policy.hosts) is not None
    return destination.kind in (Kind.TAG, Kind.PERSON)
