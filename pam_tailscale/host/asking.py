"""Asks the running listener to let somebody in for nothing: it has to refuse, by the files as they are now.

A refusal names the methods that can go on, which differ with the drop-in and without: so it tells what sshd has read.
"""

import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pam_tailscale.errors import HostError
from pam_tailscale.host import programs
from pam_tailscale.host.command_line import as_arguments, harmless
from pam_tailscale.host.effective import Effective, connection_spec, offered
from pam_tailscale.host.listeners import Listener
from pam_tailscale.model import IPAddress

NOBODY = "pam-tailscale-nobody"
"""A name that nobody has."""
# Below the first number of sshd's MaxStartups, whatever else is being logged in.
_AT_ONCE = 4
_SECONDS = 10.0
_PAUSE = 0.3
_CONNECT_SECONDS = 2.0
_REFUSED = re.compile(r"Permission denied \(([a-z0-9,.@-]*)\)")
# Not the exit status, which is that of the account's shell.
_LET_IN = re.compile(r"^Authenticated to .*using \"none\"", re.MULTILINE)
_UNSPECIFIED_TO = {4: "127.0.0.1", 6: "::1"}
_OPTIONS = (
    "PreferredAuthentications=none",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "BatchMode=yes",
    "ConnectTimeout=5",
    "LogLevel=VERBOSE",
    "ControlPath=none",
    # First, not alone: the default of some versions takes 100 ms of a processor at each end.
    "KexAlgorithms=^curve25519-sha256",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a running listener: to let these accounts in, at these addresses, for nothing."""

    addresses: tuple[IPAddress, ...]
    """The host's own tailnet addresses: from them nobody may log in, whatever the policy says."""
    accounts: tuple[str, ...]
    """Root, and whoever has an empty password."""


@dataclass(frozen=True, slots=True)
class Question:
    """One login, by `none`, from this host to itself."""

    account: str
    address: str
    port: int
    expected: frozenset[str] | None
    """The methods that can go on; None: whatever they are."""

    def __str__(self) -> str:
        return f"{self.address} port {self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it."""

    let_in: bool = False
    methods: frozenset[str] | None = None
    """Set where it was refused."""
    error: str = ""
    """What the client said where there was no answer."""


Effectively = Callable[[Sequence[str], str], Effective]
"""The settings of an sshd with these options for a connection, as `sshd -T -C` takes it. Raises HostError."""


class End(Protocol):
    """A socket that listens."""

    @property
    def address(self) -> IPAddress:
        """Where; an unspecified one is all of its family."""

    @property
    def port(self) -> int:
        """And on which port."""


_End = TypeVar("_End", bound=End)


def questions(running: Sequence[Listener], asked: Asked, settings: Effectively, *, is_on: bool) -> tuple[Question, ...]:
    """For everybody at the node's addresses, and elsewhere for a name that nobody has: to see that sshd answers.

    Where it is not on, and sshd's own files let in who has an empty password, that is not asked about. Raises
    HostError.
    """
    owners = {end: one for one in running for end in one.endpoints}
    found = []
    for address, end in at_own_addresses(owners, asked.addresses):
        options = harmless(owners[end].settings)
        values = settings(options, connection_spec(NOBODY, address, address, end.port))
        opens_by_itself = not is_on and values.says("permitemptypasswords")
        accounts = (NOBODY,) if opens_by_itself else (NOBODY, *asked.accounts)
        found += [Question(account, str(address), end.port, offered(values)) for account in accounts]
    return (*found, *(Question(NOBODY, address, port, None) for address, port in _elsewhere(running)))


def ask(running: Sequence[Listener], asked: Asked, settings: Effectively, *, is_on: bool) -> list[str]:
    """Ask, and tell which questions had no answer. `is_on`: whether the drop-in is among sshd's files.

    A stranger who holds connections can have that come about (MaxStartups), so each is asked until it has an answer,
    for some time. Raises HostError where somebody is let in, where sshd goes by other files than those there are, and,
    where it is on, where there was no answer: switching off must not depend on that.
    """
    deadline = time.monotonic() + _SECONDS
    todo = questions(running, asked, settings, is_on=is_on)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # Consumed, so that what is raised in there is raised here.
        silent = [text for text in pool.map(lambda question: _settle(question, deadline), todo) if text]
    if silent and is_on:
        raise HostError("; ".join(silent))
    return silent


def _settle(question: Question, deadline: float) -> str:
    while True:
        answer = none(question.account, question.address, question.port)
        if answer.let_in:
            raise HostError(f"sshd lets {question.account} in at {question} without asking for anything")
        if answer.methods is not None:
            if question.expected not in (None, answer.methods):
                raise HostError(
                    f"sshd at {question} does not go by its files as they are now: it offers "
                    f"{_words(answer.methods)}, and would offer {_words(question.expected)}"
                )
            return ""
        if time.monotonic() > deadline:
            break
        time.sleep(_PAUSE)
    return f"sshd could not be asked at {question}: {answer.error}"


def none(account: str, address: str, port: int) -> Answer:
    """What the sshd at one of this host's addresses says to a login by `none` from there. Raises HostError."""
    target = ["-b", address, "-p", str(port), "-l", account, "--", address, "true"]
    done = programs.run(["ssh", "-F", "none", *as_arguments(_OPTIONS), *target])
    if _LET_IN.search(done.stderr):
        return Answer(let_in=True)
    match = _REFUSED.search(done.stderr)
    if match is not None:
        return Answer(methods=frozenset(filter(None, match[1].split(","))))
    lines = done.stderr.strip().splitlines()
    return Answer(error=lines[-1][:300] if lines else "ssh says nothing")


def at_own_addresses(ends: Iterable[_End], own: Iterable[IPAddress]) -> list[tuple[IPAddress, _End]]:
    """The node's addresses, each with the sockets at which a connection to it arrives, by port."""
    known = tuple(ends)
    return [(address, end) for address in own for end in _first_of_each_port(known, address)]


def _first_of_each_port(ends: Sequence[_End], address: IPAddress) -> list[_End]:
    found = {end.port: end for end in reversed(ends) if _takes(end, address)}
    for end in ends:
        if end.port not in found and _may_take(end, address) and _answers(address, end.port):
            found[end.port] = end
    return [found[port] for port in sorted(found)]


def _takes(end: End, address: IPAddress) -> bool:
    return end.address == address or (end.address.is_unspecified and end.address.version == address.version)


def _may_take(end: End, address: IPAddress) -> bool:
    """A socket for all of IPv6 may be one for IPv4 as well: systemd's are, and sshd's own never (ip(7), bindv6only)."""
    return end.address.is_unspecified and end.address.version > address.version


def _answers(address: IPAddress, port: int) -> bool:
    """Whether anybody takes a connection; what cannot be told is asked about, and said then."""
    try:
        socket.create_connection((str(address), port), timeout=_CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        pass
    return True


def _elsewhere(running: Sequence[Listener]) -> list[tuple[str, int]]:
    """One way to each port."""
    ways: dict[int, str] = {}
    for one in running:
        for end in one.endpoints:
            unspecified = _UNSPECIFIED_TO[end.address.version]
            ways.setdefault(end.port, unspecified if end.address.is_unspecified else str(end.address))
    return [(address, port) for port, address in sorted(ways.items())]


def _words(methods: frozenset[str] | None) -> str:
    return ", ".join(sorted(methods or ())) or "nothing"
