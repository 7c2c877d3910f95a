"""A policy file as records: the sections that say who may log in, their form checked as the control plane checks it.

Those are `ssh`, `sshTests`, `groups`, `tagOwners`, `hosts` and `defaultSrcPosture`; of all others nothing is looked at
here but that they are HuJSON. Which names may stand where is validate.py's business, who and what is in the tailnet
compile.py's. Keys are read whatever their case, as Go's encoding/json does. Messages that the control plane is known to
give are in its words.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from pam_tailscale.policy import godurations, hujson
from pam_tailscale.policy.godurations import quote
from pam_tailscale.policy.hujson import Document, Path
from pam_tailscale.policy.reading import Field, Reader
from pam_tailscale.policy.selectors import NONROOT, Selector
from pam_tailscale.policy.selectors import parse as selector

ACTIONS: Final = ("accept", "check")
PERIOD_DEFAULT: Final = 12 * 3600.0
"""Seconds for which an authentication counts where a check rule does not say (Tailscale's documentation)."""
PERIOD_MIN: Final = 60.0
"""Seconds; a shorter period acts as this, but 0, which is `always`."""
_PERIOD_MAX: Final = 168 * 3600 * 1_000_000_000
_ALWAYS: Final = "always"
_TAG: Final = re.compile(r"tag:[A-Za-z]")
_LOCALPART: Final = re.compile(r"localpart:\*@(.+)", re.DOTALL)
_WRITE_ACTION: Final = f"write {' or '.join(ACTIONS)}"
_WRITE_USERS: Final = f"name accounts; {NONROOT} is every one but root"
_WRITE_PERIOD: Final = "write hours or minutes, as 12h, 90m or 1h30m, at most 168h, or always"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SSHEntry:
    """One entry of the `ssh` section."""

    number: int
    """Counted from 1, in the file's order."""
    action: str
    sources: tuple[Selector, ...]
    destinations: tuple[Selector, ...]
    users: tuple[str, ...]
    """As written, without the spaces around them."""
    period: float
    """Seconds for which an authentication counts, 0 for always; of a check."""
    accept_env: tuple[str, ...]
    path: Path
    """Where it stands."""
    postures: tuple[str, ...] = ()
    """What must hold of the connecting device, one of them, or the entry does not count: `srcPosture`, or the file's
    `defaultSrcPosture`. Only the control plane knows whether it holds."""
    recorders: tuple[str, ...] = ()
    """Tags of nodes that sessions are recorded to."""
    enforce_recorder: bool = False
    """There is no session where it cannot be recorded."""

    @property
    def conditional(self) -> bool:
        """Whether it counts only for devices of which nobody here knows whether it does."""
        return bool(self.postures)

    @property
    def localparts(self) -> tuple[str, ...]:
        """Domains of `localpart:*@domain`."""
        return tuple(match[1] for user in self.users if (match := _LOCALPART.fullmatch(user)))

    @property
    def names(self) -> tuple[str, ...]:
        """Accounts that are named themselves, root aside."""
        return tuple(user for user in self.users if user not in ("root", NONROOT) and not _LOCALPART.fullmatch(user))


@dataclass(frozen=True, slots=True)
class SSHTest:
    """One entry of the `sshTests` section: what must be true of the policy."""

    number: int
    source: str
    destinations: tuple[Selector, ...]
    accept: tuple[str, ...]
    deny: tuple[str, ...]
    check: tuple[str, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """What a policy file says about SSH, with what it needs for that."""

    document: Document
    ssh: tuple[SSHEntry, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`group:x` to login names."""
    tag_owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    ssh_tests: tuple[SSHTest, ...] = ()


def read(data: bytes, name: str) -> PolicyFile:
    """Read a policy file's content. Raises PolicyFileError with file, line and column."""
    document = hujson.parse(data, name)
    reader = Reader(document)
    top = reader.fields(document.value, ())
    groups = _named(reader, top.get("groups"), reader.texts)
    tag_owners = _named(reader, top.get("tagowners"), reader.texts)
    hosts = _named(reader, top.get("hosts"), reader.text)
    _check_groups(document, groups, top)
    _check_tags(document, tag_owners, top)
    postures = reader.list_of(top, "defaultsrcposture")
    ssh = tuple(_file_entry(reader, item, postures) for item in reader.items(top.get("ssh")))
    tests = tuple(_test(reader, *item) for item in reader.items(top.get("sshtests")))
    return PolicyFile(document, ssh, groups, tag_owners, hosts, tests)


def _named(reader: Reader, section: Field | None, read_value: Callable[[Any, Path], T]) -> dict[str, T]:
    """A section whose keys are names of the administrator's."""
    found: dict[str, T] = {}
    for name, value, path in reader.members(section):
        if name in found:
            message = f"this is {quote(name)} once more, with other spaces around it: keep one of them"
            raise reader.document.error(path, message)
        found[name] = read_value(value, path)
    return found


def _check_groups(document: Document, groups: Mapping[str, tuple[str, ...]], top: Mapping[str, Field]) -> None:
    for name in sorted(groups, reverse=True):  # which of several the control plane names
        path = (*top["groups"].path, name)
        if not name.startswith("group:"):
            raise document.error(path, f"groups[{quote(name)}]: names of groups begin with 'group:'")
        for position, member in enumerate(groups[name]):
            if member.startswith("group:"):
                message = f"groups[{quote(name)}]: {quote(member)}: group members cannot be recursive"
                raise document.error((*path, position), message).hinted("name its members themselves")


def _check_tags(document: Document, tag_owners: Mapping[str, tuple[str, ...]], top: Mapping[str, Field]) -> None:
    for name in tag_owners:
        path = (*top["tagowners"].path, name)
        if not name.startswith("tag:"):
            raise document.error(path, f"tagOwners[{quote(name)}]: names of tags begin with 'tag:'")
        if not _TAG.match(name):
            message = f"tagOwners[{quote(name)}]: tag names must start with a letter, after 'tag:'"
            raise document.error(path, message)


ENTRY_FIELDS: Final = frozenset({"action", "src", "dst", "users", "checkperiod", "acceptenv"})
"""Of an `ssh` entry, as Reader.fields names them: those that a host's own rules can have, too."""
FILE_ENTRY_FIELDS: Final = ENTRY_FIELDS | {"srcposture", "recorder", "enforcerecorder"}
"""Of an `ssh` entry of a tailnet's policy file."""
_TEST_FIELDS: Final = frozenset({"src", "srcpostureattrs", "dst", "accept", "deny", "check"})


def _file_entry(reader: Reader, item: tuple[int, Any, Path], postures: tuple[str, ...]) -> SSHEntry:
    """An entry of a tailnet's policy file, whose `defaultSrcPosture` counts where the entry has none."""
    entry = read_entry(reader, *item, FILE_ENTRY_FIELDS)
    return entry if entry.postures else dataclasses.replace(entry, postures=postures)


def read_entry(reader: Reader, number: int, value: Any, path: Path, known: frozenset[str] = ENTRY_FIELDS) -> SSHEntry:
    """Read an `ssh` entry; `known` are the fields that it may have where it stands. Raises PolicyFileError."""
    fields = reader.fields(value, path, known)
    return SSHEntry(
        number=number,
        action=_action(reader, fields.get("action"), path),
        sources=tuple(selector(text) for text in reader.list_of(fields, "src")),
        destinations=tuple(selector(text) for text in reader.list_of(fields, "dst")),
        users=_users(reader, fields.get("users"), path),
        period=_period(reader, fields.get("checkperiod")),
        accept_env=_accept_env(reader, fields),
        path=path,
        postures=reader.list_of(fields, "srcposture"),
        recorders=reader.list_of(fields, "recorder"),
        enforce_recorder=reader.flag(fields, "enforcerecorder", default=False),
    )


def _action(reader: Reader, found: Field | None, path: Path) -> str:
    text = "" if found is None else reader.text(found.value, found.path)
    if found is None or not text:
        place = path if found is None else found.path
        raise reader.document.error(place, "action must be specified").hinted(_WRITE_ACTION)
    if text not in ACTIONS:
        raise reader.document.error(found.path, f"{quote(text)} is not a valid action").hinted(_WRITE_ACTION)
    return text


def _users(reader: Reader, found: Field | None, path: Path) -> tuple[str, ...]:
    users = () if found is None else reader.texts(found.value, found.path)
    if found is None or not users:
        place = path if found is None else found.path
        raise reader.document.error(place, "users must be specified").hinted(_WRITE_USERS)
    for position, user in enumerate(users):
        if user in ("", "*"):
            place = (*found.path, position)
            raise reader.document.error(place, f"user {quote(user)} is not valid").hinted(_WRITE_USERS)
    return users


def _period(reader: Reader, found: Field | None) -> float:
    text = "" if found is None else reader.text(found.value, found.path)
    if found is None or not text:
        return PERIOD_DEFAULT
    if text == _ALWAYS:
        return 0.0
    try:
        nanoseconds = godurations.parse(text)
    except ValueError as err:
        raise reader.document.error(found.path, str(err)).hinted(_WRITE_PERIOD) from None
    written = godurations.text_of(nanoseconds)
    if nanoseconds < 0:
        raise reader.document.error(found.path, f"checkPeriod {written} must be a positive duration").hinted(
            _WRITE_PERIOD
        )
    if nanoseconds > _PERIOD_MAX:
        raise reader.document.error(found.path, f"checkPeriod {written} is above the max (168h)").hinted(_WRITE_PERIOD)
    return max(nanoseconds / 1e9, PERIOD_MIN) if nanoseconds else 0.0


def _accept_env(reader: Reader, fields: Mapping[str, Field]) -> tuple[str, ...]:
    patterns = reader.list_of(fields, "acceptenv")
    if "" in patterns:
        path = (*fields["acceptenv"].path, patterns.index(""))
        raise reader.document.error(path, "acceptEnv values cannot be empty").hinted("take it out")
    return patterns


def _test(reader: Reader, number: int, value: Any, path: Path) -> SSHTest:
    fields = reader.fields(value, path, _TEST_FIELDS)
    text = reader.text_of(fields, "src")
    destinations = tuple(selector(one) for one in reader.list_of(fields, "dst"))
    if attributes := fields.get("srcpostureattrs"):
        reader.fields(attributes.value, attributes.path)  # which postures they fulfil is not known here
    if not text:
        raise reader.document.error(path, "an SSH test needs a src: who logs in")
    if not destinations:
        raise reader.document.error(path, "an SSH test needs a dst: where they log in")
    accept, deny, check = (reader.list_of(fields, name) for name in ("accept", "deny", "check"))
    return SSHTest(number, text, destinations, accept, deny, check, path)
