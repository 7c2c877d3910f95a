"""SSH policy as records, and the reading of Tailscale's JSON for them (tailcfg: SSHPolicy, SSHRule and their parts).

The JSON is internal to Tailscale and may grow. What this version does not know is written down in `unknown`, so that
evaluation can refuse where it would have to guess. Nothing here decides.
"""

import datetime
import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from pam_tailscale.errors import PolicyShapeError
from pam_tailscale.model import IPAddress

NANOSECONDS = 1_000_000_000
_DURATION_BITS = 63

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a rule is about. One field that matches is enough (tailssh.go, anyPrincipalMatches)."""

    node: str = ""
    """Stable id of a node."""
    address: bytes = b""
    """A node's address as 4 or 16 bytes; empty where the rule's text is no address, and then matches nothing."""
    login: str = ""
    any: bool = False
    unknown: tuple[str, ...] = ()
    """Names of fields this version does not know, or that have the wrong type."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does with whom it matches."""

    accept: bool = False
    reject: bool = False
    hold_and_delegate: str = ""
    """URL of the control plane that decides: a check."""
    message: str = ""
    session_duration: float = 0.0
    """Seconds; 0 is unlimited."""
    allow_agent_forwarding: bool = False
    allow_local_port_forwarding: bool = False
    allow_remote_port_forwarding: bool = False
    recorders: tuple[str, ...] = ()
    on_recording_failure: bool = False
    period: float | None = None
    """Of a check: seconds for which an authentication counts, 0 for always. A policy file says it, the wire never."""
    pty: bool | None = None
    """None: as sshd has it. False: no terminal. Tailscale's rules never say it, and no command; our own sources may."""
    command: str = ""
    """The one command that is run, whatever the client asks for; empty: any."""
    forwarding_said: bool = False
    """Of a check: the three permissions above count. Else they come with the control plane's answer to the check."""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. A rule that is null on the wire is an empty one: it has no action and matches nobody."""

    number: int
    """Counted from 1 within its source."""
    principals: tuple[Principal, ...] = ()
    users: Mapping[str, str] = field(default_factory=dict)
    """Requested name to local name: `*` any name, `=` the same name, the empty string no match."""
    action: Action | None = None
    expires: float | None = None
    """Unix time after which the rule is skipped."""
    accept_env: tuple[str, ...] = ()
    localpart: str = ""
    """A name among `users` that `localpart:` has made of a login name: that does not name a system account. Known of
    the host's own sources alone: the control plane writes it as any other."""
    unknown: tuple[str, ...] = ()

    @property
    def asks_for_check(self) -> bool:
        """Whether it lets in only who has passed a check."""
        return self.action is not None and bool(self.action.hold_and_delegate)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one source in their order, indexed by principal so that a decision does not walk thousands."""

    source: str
    rules: tuple[Rule, ...]
    _index: "_Index" = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", _Index(self.rules))

    def candidates(self, address: IPAddress, node: str, login: str) -> list[Rule]:
        """The rules that could be about this peer, in order. All others mismatch by principal."""
        return [self.rules[position] for position in self._index.positions(address.packed, node, login)]

    @property
    def asks_for_checks(self) -> bool:
        """Whether any rule lets in only who has passed a check."""
        return any(rule.asks_for_check for rule in self.rules)


class _Index:
    """Positions of rules by what their principals name; `always` holds those that no name narrows."""

    __slots__ = ("always", "by_address", "by_login", "by_node")

    def __init__(self, rules: Iterable[Rule]) -> None:
        by_address: defaultdict[bytes, list[int]] = defaultdict(list)
        by_node: defaultdict[str, list[int]] = defaultdict(list)
        by_login: defaultdict[str, list[int]] = defaultdict(list)
        always: list[int] = []
        for position, rule in enumerate(rules):
            for principal in rule.principals:
                if principal.any or principal.unknown:
                    always.append(position)
                if principal.address:
                    by_address[principal.address].append(position)
                if principal.node:
                    by_node[principal.node].append(position)
                if principal.login:
                    by_login[principal.login].append(position)
        self.by_address = dict(by_address)
        self.by_node = dict(by_node)
        self.by_login = dict(by_login)
        self.always = always

    def positions(self, address: bytes, node: str, login: str) -> list[int]:
        found = set(self.always)
        found.update(self.by_address.get(address, ()))
        if node:
            found.update(self.by_node.get(node, ()))
        if login:
            found.update(self.by_login.get(login, ()))
        return sorted(found)


class _Fields:
    """Takes typed fields out of a JSON object and remembers which were unknown or of the wrong type."""

    def __init__(self, raw: object) -> None:
        self._left = dict(raw) if isinstance(raw, dict) else {}
        self._bad = [] if isinstance(raw, dict) else [f"{type(raw).__name__} in place of an object"]

    def take(self, name: str, kind: type[T], default: D) -> T | D:
        """The field's value; `default` where it is absent, null (as Go reads it) or of another type."""
        value = self._left.pop(name, None)
        if value is None:
            return default
        if type(value) is kind:  # not isinstance: a bool is an int
            return value
        self._bad.append(name)
        return default

    def flag(self, name: str) -> bool:
        return bool(self.take(name, bool, None))

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.take(name, list, [])
        if all(isinstance(value, str) for value in values):
            return tuple(values)
        self._bad.append(name)
        return ()

    def reject(self, name: str) -> None:
        """Say of a field already taken that its value makes no sense."""
        self._bad.append(name)

    def unknown(self) -> tuple[str, ...]:
        """Call last: everything not taken, and everything that was bad."""
        return tuple(sorted({*self._bad, *self._left}))


def parse_policy(raw: object, source: str = "netmap") -> Policy:
    """Read a tailcfg.SSHPolicy. Raises PolicyShapeError where the document itself, not one rule in it, is unknown."""
    fields = _Fields(raw)
    rules = fields.take("rules", list, [])
    if unknown := fields.unknown():
        raise PolicyShapeError(
            f"the tailnet's SSH policy has a shape this version does not know ({', '.join(unknown)}): "
            "upgrade pam-tailscale"
        )
    return Policy(source, tuple(parse_rule(rule, number) for number, rule in enumerate(rules, 1)))


def parse_rule(raw: object, number: int) -> Rule:
    """Read one tailcfg.SSHRule. Never raises: what is odd is named in `unknown` of the part it stands in."""
    if raw is None:
        return Rule(number)
    fields = _Fields(raw)
    principals = fields.take("principals", list, [])
    users = fields.take("sshUsers", dict, {})
    if not all(isinstance(name, str) and isinstance(local, str) for name, local in users.items()):
        fields.reject("sshUsers")
        users = {}
    action = fields.take("action", dict, None)
    expires, accept_env = _parse_time(fields, "ruleExpires"), fields.texts("acceptEnv")
    unknown = fields.unknown()
    about = tuple(_parse_principal(principal) for principal in principals if principal is not None)
    if unknown and not about:
        about = (Principal(unknown=unknown),)  # whom it is about may stand in what was not understood
    return Rule(
        number=number,
        principals=about,
        users=users,
        action=None if action is None else parse_action(action),
        expires=expires,
        accept_env=accept_env,
        unknown=unknown,
    )


def parse_action(raw: object) -> Action:
    """Read one tailcfg.SSHAction, of a rule or from the control plane. Never raises: what is odd is in `unknown`."""
    fields = _Fields(raw)
    return Action(
        accept=fields.flag("accept"),
        reject=fields.flag("reject"),
        hold_and_delegate=fields.take("holdAndDelegate", str, ""),
        message=fields.take("message", str, ""),
        session_duration=_parse_duration(fields, "sessionDuration"),
        allow_agent_forwarding=fields.flag("allowAgentForwarding"),
        allow_local_port_forwarding=fields.flag("allowLocalPortForwarding"),
        allow_remote_port_forwarding=fields.flag("allowRemotePortForwarding"),
        recorders=fields.texts("recorders"),
        on_recording_failure=bool(fields.take("onRecordingFailure", dict, {})),
        unknown=fields.unknown(),
    )


def _parse_principal(raw: object) -> Principal:
    fields = _Fields(raw)
    return Principal(
        node=fields.take("node", str, ""),
        address=_packed(fields.take("nodeIP", str, "")),
        login=fields.take("userLogin", str, ""),
        any=fields.flag("any"),
        unknown=fields.unknown(),
    )


def _packed(text: str) -> bytes:
    """An address as bytes. Text that is none matches nobody, as in Go's netip.ParseAddr; so does one with a zone."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    return b""


def _parse_duration(fields: _Fields, name: str) -> float:
    nanoseconds = fields.take(name, int, 0)
    if nanoseconds.bit_length() > _DURATION_BITS:  # none of Go's, and perhaps none of a float's
        fields.reject(name)
        return 0.0
    return nanoseconds / NANOSECONDS


def _parse_time(fields: _Fields, name: str) -> float | None:
    text = fields.take(name, str, "")
    if not text:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(datetime.UTC).timestamp()
    except (ValueError, OverflowError):  # no time, or none that the calendar has in UTC
        pass
    fields.reject(name)
    return None
