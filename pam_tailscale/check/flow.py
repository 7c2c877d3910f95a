"""One check from its beginning to its end, for every provider: a generator that shows, waits, polls and decides.

Pure: whoever drives it does the I/O and passes the time in (desk.py). What a provider is, and what it may answer, is
said here too.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

from pam_tailscale.model import Demand, Reason
from pam_tailscale.secret import Secret

BEGINNINGS_MAX = 4
"""How often one check may begin anew because its provider has lost it."""
HOPS_MAX = 20
"""How often a provider may put another page in the place of one that nobody has acted on."""
BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two polls that failed (RFC 8628 section 3.5: exponential); the last one goes on."""
SLOW_DOWN = 5.0
"""Seconds that `slow_down` adds to the interval (RFC 8628 section 3.5)."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The person has to act: go to a page and approve."""

    text: str = field(repr=False)
    """What the person reads, the page's address in it; as the provider sent it, not yet safe to show."""
    url: str = field(repr=False)
    """The page's address alone, for a QR code; empty where it is not known."""
    ticket: Secret
    """What the provider knows this check by: the URL of the next delegate, the device code."""
    interval: float
    """Seconds between two polls; 0 where a poll itself waits for the answer."""
    lifetime: float
    """Seconds for which it can be approved."""
    begun: float
    """Unix time at which it began."""


@dataclass(frozen=True, slots=True)
class Passed:
    """The person has authenticated, recently enough for the demand that was asked about."""

    message: str = ""
    """For the person, from the control plane."""
    authenticated: float | None = None
    """Unix time of the authentication; None where only the control plane knows it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The check is over, and the answer is no."""

    reason: Reason
    detail: str
    """For the administrator."""
    message: str = ""
    """For the person, from the control plane."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The person has not acted yet."""

    slow_down: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The provider no longer knows this check, or its time is over: the person has to be asked anew."""

    detail: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """The provider could not be asked."""

    detail: str
    """For the administrator: what went wrong, and what to do."""
    retry_after: float = 0.0
    """Seconds that the provider wants to be left alone."""


Asked = Passed | Hold | Refused | Trouble | None
Polled = Passed | Hold | Refused | Unanswered | Lost | Trouble


class Provider(Protocol):
    """Who knows whether a person has authenticated. Methods may be called from several threads, and raise nothing."""

    @property
    def name(self) -> str:
        """`control` or `oidc`."""

    def recall(self, demand: Demand, now: float) -> Passed | None:
        """What this host itself remembers; `now` is Unix time. Asks nobody: every login waits for it."""

    def ask(self, demand: Demand) -> Asked:
        """What is remembered elsewhere. None: nothing is, and a check has to begin."""

    def begin(self, demand: Demand) -> Hold | Passed | Refused | Trouble:
        """Begin a check; called only where `ask` has answered None."""

    def poll(self, demand: Demand, hold: Hold, patience: float, cancelled: Callable[[], bool]) -> Polled:
        """Whether the person has acted. Where the answer itself waits: for `patience` seconds, or until `cancelled`."""

    def prepare(self) -> None:
        """Make ready, because rules that ask for checks are in force: what is missing is then known before a login."""

    def close(self) -> None:
        """End what is open; nothing may be asked after that."""

    def problem(self) -> str:
        """Why no check can be passed at the moment and what to do; empty where nothing is known to be wrong."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Do: ask the provider what is remembered; the reply is Asked."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Do: begin at the provider; the reply is Hold, Passed, Refused or Trouble."""


@dataclass(frozen=True, slots=True)
class Show:
    """Do: let everybody who waits for this check read where to go; the reply is None."""

    hold: Hold


@dataclass(frozen=True, slots=True)
class Wait:
    """Do: wait; the reply is None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Poll:
    """Do: ask the provider whether the person has acted; the reply is Polled."""

    hold: Hold


Step = Ask | Begin | Show | Wait | Poll
Answer = Asked | Polled
Reply = tuple[float, Answer]
"""The time (monotonic seconds) and the answer to the step."""
Verdict = Passed | Refused
Flow = Generator[Step, Reply, Verdict]


def pursue() -> Flow:
    """One check: yields what is to be done, is sent the time and the answer, returns the verdict."""
    for number in range(BEGINNINGS_MAX):
        answer = yield from _begin(again=number > 0)
        if isinstance(answer, Passed | Refused):
            return answer
        if not isinstance(answer, Hold):
            return _unavailable(answer)
        verdict = yield from _until_acted_on(answer)
        if verdict is not None:
            return verdict
    return Refused(Reason.CHECK_EXPIRED, "nobody approved the check in time, however often it began anew")


def _begin(*, again: bool) -> Generator[Step, Reply, Answer]:
    """Ask what is remembered, and begin where nothing is.

    `again`: it worked a moment ago and somebody waits, so trouble is borne for a while.
    """
    for pause in (*BACKOFF, None) if again else (None,):
        _, answer = yield Ask()
        if answer is None:
            _, answer = yield Begin()
        if pause is None or not isinstance(answer, Trouble):
            break
        yield Wait(max(pause, answer.retry_after))
    return answer


def _unavailable(answer: Answer) -> Refused:
    detail = answer.detail if isinstance(answer, Trouble) else "the provider answered out of turn: report this"
    return Refused(Reason.CHECK_UNAVAILABLE, detail)


def _until_acted_on(hold: Hold) -> Generator[Step, Reply, Verdict | None]:
    """Show and poll, from page to page. None where the check is lost or its time over, and has to begin anew."""
    for hop in range(HOPS_MAX):
        answer = yield from _poll(hold, at_once=not hop)
        if not isinstance(answer, Hold):
            return answer
        hold = answer
    return None


def _poll(hold: Hold, *, at_once: bool) -> Generator[Step, Reply, Verdict | Hold | None]:
    now, _ = yield Show(hold)
    ends, interval, failures = now + hold.lifetime, hold.interval, 0
    # A provider that answers with page after page must not be asked without a pause.
    pause = interval if at_once else max(interval, BACKOFF[0])
    while now < ends:
        if pause:
            yield Wait(pause)
        now, answer = yield Poll(hold)
        if isinstance(answer, Passed | Refused | Hold):
            return answer
        if isinstance(answer, Trouble):
            pause = max(interval, BACKOFF[min(failures, len(BACKOFF) - 1)], answer.retry_after)
            failures += 1
        elif isinstance(answer, Unanswered):
            interval += SLOW_DOWN if answer.slow_down else 0.0
            pause, failures = interval, 0
        else:
            return None
    return None
