"""Asks the running listener to let somebody in for nothing: it has to refuse, by the files as they are now.

A refusal names the methods that can go on, which differ with the drop-in and without: so it tells what sshd has read.
"""

import re
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pam_tailscale.errors import HostError
from pam_tailscale.host.effective import Effective, offered
from pam_tailscale.host.listeners import Listener
from pam_tailscale.model import IPAddress

NOBODY = "pam-tailscale-nobody"
"""A name that nobody has."""
# Below the first number of sshd's MaxStartups, whatever else is being logged in.
_AT_ONCE = 4
_SECONDS = 10.0
_PAUSE = 0.3
_REFUSED = re.compile(r"Permission denied \(([a-z0-9,.@-]*)\)")
_UNSPECIFIED_TO = {4: "127.0.0.1", 6: "::1"}
_OPTIONS = (
    "PreferredAuthentications=none",
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "GlobalKnownHostsFile=/dev/null",
    "BatchMode=yes",
    "ConnectTimeout=10",
    "LogLevel=ERROR",
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


Effectively = Callable[[str], Effective]
"""The settings for a connection, as `sshd -T -C` takes it. Raises HostError."""


def questions(running: Sequence[Listener], asked: Asked, settings: Effectively, *, is_on: bool) -> tuple[Question, ...]:
    """For everybody at the node's addresses, and elsewhere for a name that nobody has: to see that sshd answers.

    Where it is not on, and sshd's own files let in who has an empty password, that is not asked about. Raises
    HostError.
    """
    found = []
    for address, port in _at_own_addresses(running, asked.addresses):
        connection = f"host={address},addr={address},laddr={address},lport={port}"
        values = settings(f"user={NOBODY},{connection}")
        opens_by_itself = not is_on and values.says("permitemptypasswords")
        accounts = (NOBODY,) if opens_by_itself else (NOBODY, *asked.accounts)
        found += [Question(account, address, port, offered(values)) for account in accounts]
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
        answer = _answer(question)
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


def _answer(question: Question) -> Answer:
    options = [part for option in _OPTIONS for part in ("-o", option)]
    target = ["-p", str(question.port), "-l", question.account, "--", question.address, "true"]
    try:
        done = subprocess.run(
            ["ssh", "-F", "none", *options, *target],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS * 2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise HostError(f"ssh does not run or end: {err}") from err
    if done.returncode == 0:
        return Answer(let_in=True)
    match = _REFUSED.search(done.stderr)
    if match is not None:
        return Answer(methods=frozenset(filter(None, match[1].split(","))))
    lines = done.stderr.strip().splitlines()
    return Answer(error=lines[-1][:300] if lines else "it says nothing")


def _at_own_addresses(running: Sequence[Listener], own: Iterable[IPAddress]) -> list[tuple[str, int]]:
    """The node's addresses at which a listener answers."""
    return [
        (str(address), port)
        for address in own
        for port in sorted({end.port for one in running for end in one.endpoints if _covers(end.address, address)})
    ]


def _covers(listening: IPAddress, address: IPAddress) -> bool:
    """A socket for all of IPv6 may be one for IPv4 as well, as those are that systemd makes (ip(7), bindv6only)."""
    return listening == address or (listening.is_unspecified and listening.version >= address.version)


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
