"""Which logins `enable` tries before it changes anything, and whether what came of them is right. Pure.

A client sends the method `none` before any other, so each attempt is one by `none` as well.
"""

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address
from typing import Final

from pam_tailscale.host.effective import Effective
from pam_tailscale.model import IPAddress

PROBE: Final = "pam-tailscale-probe"
"""An account with a password and a key that are made for the trial. On the stage alone, so the agent knows none."""
DECOY: Final = "pam-tailscale-decoy"
"""An account with an empty password, likewise."""
ELSEWHERE: Final = IPv4Address("192.0.2.1")
"""The host's address on a network that is not the tailnet (RFC 5737). Clients have the addresses that follow."""
NOT_TRIED: Final = "not tried"
NO_ANSWER: Final = "no answer"
REFUSED: Final = "refused"
CLOSED: Final = "closed without a word"

_STRANGERS: Final = {4: ip_address("100.127.255.254"), 6: ip_address("fd7a:115c:a1e0:ffff:ffff:ffff:ffff:fffe")}
"""Tailnet addresses that stand for no peer: the last but one of each range."""
_SPARE_PORTS: Final = range(2222, 65536)
_NOTHING_SHOWN: Final[tuple[str, ...]] = ("none",)
_NO_SESSION: Final = (254, 255)
"""What ssh exits with when the login went well and its session did not."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be proved."""

    before: Mapping[str, bytes | None]
    """Path to content as the host has it without us; None: it is not there. What lies outside /etc sshd never reads."""
    after: Mapping[str, bytes | None]
    """Path to content as it shall be."""
    interface: str
    """The device that carries the node's tailnet addresses."""
    ifindex: int
    own: tuple[IPAddress, ...]
    """The node's tailnet addresses."""
    accept: tuple[str, IPAddress] | None
    """An account and a peer's address that the agent says it lets in."""
    deny: tuple[str, IPAddress] | None
    """An account that exists, and a peer's address from which the agent says that it refuses it."""
    ports: tuple[int, ...]
    """sshd's."""
    key_in_addition: bool
    """sshd asks for a key of the account's own as well."""
    options: tuple[str, ...] = ()
    """What sshd is started with on this host beside its file, as `Keyword=value`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one thing that was tried came to."""

    name: str
    expected: str
    found: str
    detail: str
    """What the client, sshd and PAM said, where it is not as expected."""

    @property
    def ok(self) -> bool:
        """Whether nothing speaks against switching on. What could not be tried does not: `found` says so."""
        return self.found in (self.expected, NOT_TRIED)


class Variant(enum.Enum):
    """Which files the sshd of a connection sees."""

    BEFORE = "before"
    AFTER = "after"
    MODULE_GONE = "module gone"
    """As after, and the module's file cannot be loaded."""


class Typed(enum.Enum):
    """What is typed at every prompt."""

    NOTHING = "nothing"
    """Nothing can be asked at all (BatchMode)."""
    RIGHT = "right"
    WRONG = "wrong"
    EMPTY = "empty"


class Key(enum.Enum):
    """Which key the client offers."""

    NONE = "none"
    OWN = "own"
    """The one in the account's authorized_keys."""
    ANY = "any"
    """One that is nowhere."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One login."""

    name: str
    account: str
    source: IPAddress
    target: IPAddress
    port: int
    variant: Variant
    methods: tuple[str, ...] = _NOTHING_SHOWN
    """What the client tries after `none`, in this order."""
    typed: Typed = Typed.NOTHING
    key: Key = Key.NONE
    expected: str = ""
    """What it has to come to; empty: the same as the attempt of this name did before."""
    without_none: bool = False
    """sshd refuses `none` on this connection, as if the client could not do it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a login ended, as its client saw it."""

    text: str
    said: tuple[str, ...] = ()
    """Lines of the client, of sshd and of PAM about it."""


def attempts(plan: Plan, *, any_key: bool) -> tuple[Attempt, ...]:
    """All that is tried, side by side. `any_key`: a key can be made of a type that sshd takes over the tailnet."""
    return (*_from_elsewhere(plan), *_over_the_tailnet(plan, any_key=any_key), *_with_the_module_gone(plan))


# Name, account, methods, typed, key.
_ELSEWHERE_WAYS: Final[tuple[tuple[str, str, tuple[str, ...], Typed, Key], ...]] = (
    ("with nothing to show", PROBE, _NOTHING_SHOWN, Typed.NOTHING, Key.NONE),
    ("with the right password", PROBE, ("keyboard-interactive", "password"), Typed.RIGHT, Key.NONE),
    ("with its own key", PROBE, ("publickey",), Typed.NOTHING, Key.OWN),
    ("with a wrong password at keyboard-interactive", PROBE, ("keyboard-interactive",), Typed.WRONG, Key.NONE),
    ("with a wrong key and a wrong password", PROBE, ("publickey", "password"), Typed.WRONG, Key.ANY),
    ("where the password is empty", DECOY, ("password", "keyboard-interactive"), Typed.EMPTY, Key.NONE),
    ("as root with the right password", "root", ("password",), Typed.RIGHT, Key.NONE),
    ("as root with its own key", "root", ("publickey",), Typed.NOTHING, Key.OWN),
)
_WITHOUT_MODULE: Final = 3
"""So many of them are tried with the module gone as well."""


def _from_elsewhere(plan: Plan) -> Iterator[Attempt]:
    """Every way twice, each from an address of its own."""
    source = ELSEWHERE
    for variant in (Variant.BEFORE, Variant.AFTER):
        for name, account, methods, typed, key in _ELSEWHERE_WAYS:
            source += 1
            name = f"from elsewhere, {name}"  # noqa: PLW2901 (the whole of it)
            yield Attempt(name, account, source, ELSEWHERE, plan.ports[0], variant, methods, typed, key)


def _over_the_tailnet(plan: Plan, *, any_key: bool) -> Iterator[Attempt]:
    if plan.accept is not None:
        yield from _let_in(plan, *plan.accept, any_key=any_key)
    if plan.deny is not None:
        account, peer = plan.deny
        name = f"over the tailnet, {account} from {peer}, whom the policy refuses, with a right password"
        yield _refused(plan, Variant.AFTER, name, account, peer, Typed.RIGHT)
    # From where the policy lets somebody in, if there is such a peer: the peer alone must not be enough.
    pair = plan.accept or plan.deny
    yield from _outsiders(plan, Variant.AFTER, pair[1] if pair is not None else _stranger(plan, 0))


def _let_in(plan: Plan, account: str, peer: IPAddress, *, any_key: bool) -> Iterator[Attempt]:
    who = f"over the tailnet, {account} from {peer}, whom the policy lets in"
    base = Attempt(who, account, peer, target_for(plan, peer), plan.ports[0], Variant.AFTER)
    if plan.key_in_addition:
        base = replace(base, methods=("publickey",), key=Key.ANY, expected=_refused_after("none"))
        base = replace(base, name=f"{who}, without the key that is asked for in addition")
    else:
        base = replace(base, expected=let_in_by("none"))
    for port in plan.ports:
        yield replace(base, name=f"{base.name}, at port {port}", port=port)
    if any_key and not plan.key_in_addition:
        # At another port, by which sshd's side knows which connection is to be taken in this way.
        port = next(port for port in _SPARE_PORTS if port not in plan.ports)
        base = replace(base, name=f"{who}, by a client that cannot do `none`", port=port, without_none=True)
        yield replace(base, methods=("publickey",), key=Key.ANY, expected=let_in_by("publickey"))


def _with_the_module_gone(plan: Plan) -> Iterator[Attempt]:
    source = ELSEWHERE + 2 * len(_ELSEWHERE_WAYS)
    for name, account, methods, typed, key in _ELSEWHERE_WAYS[:_WITHOUT_MODULE]:
        source += 1
        port, gone = plan.ports[0], Variant.MODULE_GONE
        yield Attempt(f"from elsewhere, {name}", account, source, ELSEWHERE, port, gone, methods, typed, key)
    yield from _outsiders(plan, Variant.MODULE_GONE, _stranger(plan, 1))


def _outsiders(plan: Plan, variant: Variant, peer: IPAddress) -> Iterator[Attempt]:
    """Who must not get in, whatever they have."""
    over = f"over the tailnet from {peer}, an account"
    yield _refused(plan, variant, f"{over} with an empty password", DECOY, peer, Typed.EMPTY)
    name = f"{over} that no rule is about, with its own key and the right password"
    yield _refused(plan, variant, name, PROBE, peer, Typed.RIGHT, Key.OWN)


def _refused(
    plan: Plan, variant: Variant, name: str, account: str, peer: IPAddress, typed: Typed, key: Key = Key.NONE
) -> Attempt:
    methods = ("publickey", "keyboard-interactive", "password")
    target, port = target_for(plan, peer), plan.ports[0]
    return Attempt(name, account, peer, target, port, variant, methods, typed, key, REFUSED)


def _stranger(plan: Plan, number: int) -> IPAddress:
    return _STRANGERS[plan.own[0].version] - number


def target_for(plan: Plan, peer: IPAddress) -> IPAddress:
    """The node's own address to which a peer connects. Raises ValueError where it has none of the peer's family."""
    for address in plan.own:
        if address.version == peer.version:
            return address
    raise ValueError(f"the node has no address that {peer} could connect to")


# What came of it

_LOGGED_IN = re.compile(r'^Authenticated to .* using "([\w-]{1,32})"\.\s*$', re.MULTILINE)
_PARTLY = re.compile(r'^Authenticated using "([\w-]{1,32})" with partial success\.\s*$', re.MULTILINE)
_DENIED = re.compile(r": Permission denied (\([\w,@.-]{0,200}\))\.\s*$", re.MULTILINE)
_TOO_MANY = "Too many authentication failures"


def let_in_by(method: str) -> str:
    """The text of a login that went well."""
    return f"let in by {method}"


def _refused_after(*methods: str) -> str:
    return f"{REFUSED} after a partial success by {', '.join(methods)}"


def is_refused(attempt: Attempt, said: Iterable[str]) -> bool:
    """Whether sshd has refused the last of an attempt's methods, by the lines it logs at LogLevel VERBOSE.

    It tells the client much later: after a wrong password, in powers of two of a few milliseconds (auth2.c,
    ensure_minimum_time_since), which are up to five seconds.
    """
    start = f"Failed {attempt.methods[-1]}"
    return attempt.typed is not Typed.NOTHING and any(
        line.startswith((f"{start} for ", f"{start}/pam for ")) for line in said
    )


def read_ending(attempt: Attempt, status: int | None, said: str) -> Ending:
    """What ssh's exit status and the lines it wrote at LogLevel VERBOSE say. Status None: it did not end in time."""
    lines = tuple(line.strip() for line in said.splitlines() if line.strip())
    logged_in = _LOGGED_IN.search(said)
    if logged_in is not None:
        if status is None or status in _NO_SESSION:
            return Ending(f"let in by {logged_in[1]}, but its session failed", said=lines)
        return Ending(let_in_by(logged_in[1]), said=lines)
    if status is None:
        return Ending(NO_ANSWER, said=lines)
    denied, partly = _DENIED.search(said), tuple(_PARTLY.findall(said))
    if denied is None and _TOO_MANY not in said:
        return Ending(CLOSED, said=lines)
    text = _refused_after(*partly) if partly else REFUSED
    # What sshd would still take tells more of its configuration than any login.
    if denied is not None and attempt.methods == _NOTHING_SHOWN and not attempt.expected:
        text = f"{text} {denied[1]}"
    return Ending(text, lines)


def judge(plan: Plan, endings: Mapping[Attempt, Ending]) -> tuple[Outcome, ...]:
    """What was expected and what was found, for each login that had to come to something."""
    before = {attempt.name: ending for attempt, ending in endings.items() if attempt.variant is Variant.BEFORE}
    tried = (
        _outcome(attempt, ending, before)
        for attempt, ending in endings.items()
        if attempt.variant is not Variant.BEFORE
    )
    return (_answered(before), *tried, *_not_tried(plan, endings))


def taken(complaint: str = "") -> Outcome:
    """Whether sshd takes the configuration as it shall be; `complaint`: what it has against it."""
    return Outcome("sshd takes the new configuration", "yes", "no" if complaint else "yes", complaint)


def unchanged(before: Effective, after: Effective) -> Outcome:
    """Whether what sshd goes by on a connection from elsewhere stays the same, as `sshd -T` shows it."""
    names = sorted(
        name for name in {*before.values, *after.values} - _MAY_CHANGE if before.all(name) != after.all(name)
    )
    detail = "\n".join(f"{name}: {', '.join(before.all(name))}; then {', '.join(after.all(name))}" for name in names)
    expected = "no setting changes"
    found = f"changes: {', '.join(names)}" if names else expected
    return Outcome("from elsewhere, what sshd goes by", expected, found, detail)


def _answered(before: Mapping[str, Ending]) -> Outcome:
    """Two stages that are both broken would look alike."""
    name, expected = "from elsewhere, a sshd that answers with the files as they are now", "an answer"
    if any(ending.text not in (CLOSED, NO_ANSWER) for ending in before.values()):
        return Outcome(name, expected, expected, "")
    return Outcome(name, expected, "none", _detail(next(iter(before.values()), Ending(""))))


def _outcome(attempt: Attempt, ending: Ending, before: Mapping[str, Ending]) -> Outcome:
    prefix = "with the module's file gone, " if attempt.variant is Variant.MODULE_GONE else ""
    name = f"{prefix}{attempt.name}"
    expected = attempt.expected or before[attempt.name].text
    return Outcome(name, expected, ending.text, "" if ending.text == expected else _detail(ending))


_MAY_CHANGE: Final = frozenset({"persourcepenaltyexemptlist"})
"""It names addresses of the tailnet alone."""
_SHOWN: Final = 12


def _detail(ending: Ending) -> str:
    return "\n".join(ending.said[-_SHOWN:])


def _not_tried(plan: Plan, endings: Mapping[Attempt, Ending]) -> Iterator[Outcome]:
    expected = _refused_after("none") if plan.key_in_addition else let_in_by("none")
    if plan.accept is None:
        detail = "no account and peer was found that the policy lets in without a check"
        yield Outcome("over the tailnet, whom the policy lets in", expected, NOT_TRIED, detail)
    elif not plan.key_in_addition and not any(attempt.without_none for attempt in endings):
        name = "over the tailnet, whom the policy lets in, by a client that cannot do `none`"
        detail = "sshd takes keys of none of the types that could be made here"
        yield Outcome(name, let_in_by("publickey"), NOT_TRIED, detail)
    if plan.deny is None:
        detail = "no account and peer was found that the policy refuses"
        yield Outcome("over the tailnet, whom the policy refuses", REFUSED, NOT_TRIED, detail)
