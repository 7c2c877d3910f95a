"""The desk where connections wait for checks: which are pending, who waits for which, what is to be done next.

Pure: events come in with their time (monotonic seconds), effects go out as values; agent/waiting.py carries them out.
Two kinds of connection come: those at keyboard-interactive can wait for a person; all others are answered in a moment.

A pending check belongs to a person and a node and outlives the connections that wait for it. It is worked on only while
one waits, so that a thousand of them cost nothing but their memory. One answer of the provider opens one connection:
the others ask again, because only the provider knows whether it remembers (`always` is remembered nowhere).
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pam_tailscale.check import flow
from pam_tailscale.check.flow import Hold, Passed, Refused
from pam_tailscale.model import Demand, Reason, folded

PENDING_MAX = 2048
"""Checks of one host that may be pending at the same time."""
BEGINNINGS_MAX = 30
"""Pages that one person on one node may be sent to within BEGINNINGS_WINDOW."""
BEGINNINGS_WINDOW = 600.0
"""Seconds."""
PATIENCE = 20.0
"""Seconds to wait for the person after they have pressed Enter, before they are asked again (design section 2)."""
ROUNDS_MAX = 60
"""Prompts for one connection: the shims bear 64."""
VERDICT_KEEP = 150.0
"""Seconds for which a check that was passed waits for Enter; LoginGraceTime is 120, if sshd is not told otherwise."""
GLANCE = 0.3
"""Seconds for which a method that cannot wait asks about a check that is pending."""
LONG = 30.0
"""Seconds for which one question to the provider may wait while somebody waits here."""

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """Effect: put `step` to the provider, and bring the answer to done()."""

    number: int
    demand: Demand
    step: flow.Ask | flow.Begin | flow.Poll
    patience: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Effect: nobody needs the answer of this job any more; it may come early."""

    number: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """Effect: let the person at this connection read where to go, and wait for Enter."""

    connection: int
    hold: Hold


@dataclass(frozen=True, slots=True)
class Settle:
    """Effect: the connection's check is over; None where it is needed and cannot be waited for."""

    connection: int
    verdict: Passed | Refused | None


Effect = Job | Cancel | Prompt | Settle


@dataclass(slots=True)
class _Pending:
    """One check. It stands between two steps: `step` is what comes next, `job` the one that is under way."""

    demand: Demand
    """Whose check it is: that of the connection it was begun for."""
    began: float
    course: flow.Flow = field(default_factory=flow.pursue)
    step: flow.Step = field(default_factory=flow.Ask)
    due: float = 0.0
    """When the step `Wait` is over."""
    job: int | None = None
    hold: Hold | None = None
    ends: float = 0.0
    """When `hold` can no longer be approved."""
    waiters: "list[_Waiter]" = field(default_factory=list)

    @property
    def page(self) -> Hold | None:
        """Where to send whoever comes; None before there is a page, and while another is asked for in its place."""
        return None if isinstance(self.step, flow.Ask | flow.Begin) else self.hold

    @property
    def watched(self) -> bool:
        """Whether a connection waits that can wait for a person."""
        return any(waiter.interactive for waiter in self.waiters)

    @property
    def idle(self) -> bool:
        """Nobody waits for it, and nothing is under way."""
        return not self.waiters and self.job is None


@dataclass(slots=True)
class _Waiter:
    """A connection that waits."""

    number: int
    demand: Demand
    interactive: bool
    pending: _Pending | None = None
    """None once there is a verdict."""
    prompted: Hold | None = None
    """What the person reads, or has read."""
    until: float | None = None
    """When they are asked again; None while a prompt stands, which only Enter ends."""
    rounds: int = 0
    verdict: flow.Verdict | None = None
    """What the connection is told when Enter comes."""
    decided: float = 0.0
    """When it came."""

    @property
    def at_prompt(self) -> bool:
        """Whether a prompt stands."""
        return self.prompted is not None and self.until is None


@dataclass(frozen=True, slots=True)
class PendingCheck:
    """One pending check, for the command line."""

    demand: Demand
    began: float
    """Monotonic seconds."""
    waiting: int
    """Connections that wait for it now."""


class Desk:
    """All pending checks of this host. Not locked.

    Args:
        waiting: how many connections may wait for a person at the same time.
    """

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._pending: dict[Key, _Pending] = {}
        self._waiters: dict[int, _Waiter] = {}
        self._jobs: dict[int, _Pending] = {}
        self._numbers = itertools.count(1)
        self._beginnings: dict[Key, tuple[float, int]] = {}
        self._swept = 0.0

    def arrive(self, connection: int, demand: Demand, now: float, *, interactive: bool) -> list[Effect]:
        """A connection whose check is not passed yet; `connection` is a number of its own."""
        waiter = _Waiter(connection, demand, interactive)
        self._sweep(now)
        pending = self._pending.get(demand.key)
        if interactive and self._is_full(demand.key):
            return [Settle(connection, _busy(pending))]
        if pending is None:
            if len(self._pending) >= PENDING_MAX or self._too_many_beginnings(demand.key, now):
                return [Settle(connection, Refused(Reason.CHECK_BUSY, "too many checks are pending, or were begun"))]
            return self._open([waiter], now)
        if not interactive and not _may_glance(pending, now):
            return [Settle(connection, None)]
        self._attach(waiter, pending)
        prompts = self._prompt(waiter, pending.page) if interactive and pending.page else []
        return prompts + self._go_on(pending, now)

    def entered(self, connection: int, now: float) -> list[Effect]:
        """The person has pressed Enter at the prompt."""
        waiter = self._waiters.get(connection)
        if waiter is None or not waiter.at_prompt:
            return []
        waiter.until = now + PATIENCE
        if waiter.verdict is not None:
            return self._settle(waiter, _still_good(waiter.verdict, now - waiter.decided))
        hold = waiter.pending.hold if waiter.pending else None
        if hold is not None and waiter.prompted != hold:
            return self._prompt(waiter, hold)  # what they read is no longer where to go
        return []

    def gone(self, connection: int, now: float) -> list[Effect]:
        """The connection has ended, whatever it waited for."""
        waiter = self._waiters.pop(connection, None)
        pending = waiter.pending if waiter else None
        if waiter is None or pending is None:
            return []
        pending.waiters.remove(waiter)
        if pending.waiters:
            return []
        return [Cancel(pending.job)] if pending.job is not None else self._go_on(pending, now)

    def done(self, number: int, answer: flow.Answer, now: float) -> list[Effect]:
        """The answer to a job."""
        pending = self._jobs.pop(number, None)
        if pending is None or pending.job != number:
            return []
        pending.job = None
        return self._advance(pending, answer, now)

    def tick(self, now: float) -> list[Effect]:
        """Whatever is due."""
        effects: list[Effect] = []
        for waiter in list(self._waiters.values()):
            if waiter.until is not None and waiter.until <= now and waiter.pending is not None:
                hold = waiter.pending.hold
                waiter.until = now + 1  # the new page is being asked for
                effects += self._prompt(waiter, hold) if hold else []
        for pending in {id(one.pending): one.pending for one in self._waiters.values() if one.pending}.values():
            effects += self._go_on(pending, now)
        self._sweep(now)
        return effects

    def next_due(self) -> float | None:
        """When tick() has something to do; None while nobody waits."""
        moments = []
        for waiter in self._waiters.values():
            if waiter.until is not None:
                moments.append(waiter.until)
            if waiter.pending is not None and isinstance(waiter.pending.step, flow.Wait):
                moments.append(waiter.pending.due)
        return min(moments, default=None)

    def pending(self) -> Iterator[PendingCheck]:
        """What is pending now."""
        for one in self._pending.values():
            yield PendingCheck(one.demand, one.began, sum(waiter.interactive for waiter in one.waiters))

    def forget(self, person: str) -> list[Effect]:
        """Nothing of this person is pending any more: whoever waits has to come again."""
        effects: list[Effect] = []
        verdict = Refused(Reason.CHECK_REJECTED, "the person's checks were forgotten while they waited")
        for pending in [one for key, one in self._pending.items() if folded(key[0]) == folded(person)]:
            effects += self._close(pending)
        for waiter in [one for one in self._waiters.values() if folded(one.demand.person) == folded(person)]:
            effects += self._tell([waiter], verdict)  # in place of what they would be told at Enter, too
        return effects

    def _open(self, waiters: "list[_Waiter]", now: float) -> list[Effect]:
        """Begin a check for the first of these connections; the others wait for it, too."""
        pending = _Pending(waiters[0].demand, now)
        pending.step = next(pending.course)
        self._pending[pending.demand.key] = pending
        for waiter in waiters:
            self._attach(waiter, pending)
        return self._go_on(pending, now)

    def _attach(self, waiter: _Waiter, pending: _Pending) -> None:
        waiter.pending = pending
        pending.waiters.append(waiter)
        self._waiters[waiter.number] = waiter

    def _advance(self, pending: _Pending, answer: flow.Answer, now: float) -> list[Effect]:
        waited = isinstance(pending.step, flow.Wait)
        try:
            pending.step = pending.course.send((now, answer))
        except StopIteration as end:
            return self._conclude(pending, end.value, now)
        if waited:
            return self._stand(pending, now)
        # Whoever cannot wait has had their answer.
        hasty = self._tell([one for one in pending.waiters if not one.interactive], None)
        return hasty + self._stand(pending, now)

    def _stand(self, pending: _Pending, now: float) -> list[Effect]:
        """Take the step that came: show at once, wait from now, or go on when somebody waits."""
        if isinstance(pending.step, flow.Show):
            hold = pending.hold = pending.step.hold
            pending.ends = now + hold.lifetime
            self._count_beginning(pending.demand.key, now)
            prompts = [effect for one in (*pending.waiters,) if not one.at_prompt for effect in self._prompt(one, hold)]
            return prompts + self._advance(pending, None, now)
        if isinstance(pending.step, flow.Wait):
            pending.due = now + pending.step.seconds
        return self._go_on(pending, now)

    def _go_on(self, pending: _Pending, now: float) -> list[Effect]:
        """Do what comes next, if somebody waits for it."""
        step = pending.step
        if pending.job is not None or self._pending.get(pending.demand.key) is not pending:
            return []
        if isinstance(step, flow.Wait):
            return self._advance(pending, None, now) if pending.waiters and pending.due <= now else []
        if (isinstance(step, flow.Begin) and not pending.watched) or (pending.hold is None and not pending.waiters):
            return self._close(pending) + self._tell(pending.waiters, None)
        if not pending.waiters or isinstance(step, flow.Show):
            return []
        pending.job = number = next(self._numbers)
        self._jobs[number] = pending
        patience = LONG if pending.watched else GLANCE
        return [Job(number, pending.demand, step, patience if isinstance(step, flow.Poll) else 0.0)]

    def _conclude(self, pending: _Pending, verdict: flow.Verdict, now: float) -> list[Effect]:
        """Tell whom it is about; what it says about another demand than its own, those others ask themselves."""
        effects = self._close(pending)
        about = [one for one in pending.waiters if one.demand.like(pending.demand)]
        if isinstance(verdict, Passed):
            # Whoever has pressed Enter, or cannot wait, rather than a prompt that perhaps nobody looks at.
            about = sorted(about, key=lambda one: one.at_prompt)[:1]
        told = {one.number for one in about}
        for one in about:
            one.decided = now
        others = [one for one in pending.waiters if one.number not in told]
        effects += self._tell(about, verdict)
        return effects + (self._open(others, now) if others else [])

    def _close(self, pending: _Pending) -> list[Effect]:
        """Nothing of it is left but its waiters."""
        if self._pending.get(pending.demand.key) is pending:
            del self._pending[pending.demand.key]
        pending.course.close()
        job, pending.job = pending.job, None
        return [Cancel(job)] if job is not None else []

    def _tell(self, waiters: "Iterable[_Waiter]", verdict: flow.Verdict | None) -> list[Effect]:
        effects: list[Effect] = []
        for waiter in list(waiters):
            if waiter.pending is not None:
                waiter.pending.waiters.remove(waiter)
                waiter.pending = None
            if waiter.at_prompt and verdict is not None:
                waiter.verdict = verdict
            else:
                effects += self._settle(waiter, verdict)
        return effects

    def _settle(self, waiter: _Waiter, verdict: flow.Verdict | None) -> list[Effect]:
        self._waiters.pop(waiter.number, None)
        return [Settle(waiter.number, verdict)]

    def _prompt(self, waiter: _Waiter, hold: Hold) -> list[Effect]:
        waiter.rounds += 1
        if waiter.rounds > ROUNDS_MAX:
            return self._tell([waiter], Refused(Reason.CHECK_EXPIRED, "the person was asked too often"))
        waiter.prompted, waiter.until = hold, None
        return [Prompt(waiter.number, hold)]

    def _is_full(self, key: Key) -> bool:
        """No place is left. Of several the last one is for somebody else, so that nobody takes them all."""
        keys = [waiter.demand.key for waiter in self._waiters.values() if waiter.interactive]
        return len(keys) >= self._waiting or keys.count(key) >= max(1, self._waiting - 1)

    def _count_beginning(self, key: Key, now: float) -> None:
        since, count = self._beginnings.get(key, (now, 0))
        fresh = now - since < BEGINNINGS_WINDOW
        self._beginnings[key] = (since, count + 1) if fresh else (now, 1)

    def _too_many_beginnings(self, key: Key, now: float) -> bool:
        since, count = self._beginnings.get(key, (now, 0))
        return count >= BEGINNINGS_MAX and now - since < BEGINNINGS_WINDOW

    def _sweep(self, now: float) -> None:
        """Forget what is over and nobody waits for; not at every event, since it looks at everything."""
        if now - self._swept < 1 and len(self._pending) < PENDING_MAX:
            return
        self._swept = now
        for pending in [one for one in self._pending.values() if one.idle and one.ends <= now]:
            self._close(pending)
        for key in [key for key, (since, _) in self._beginnings.items() if now - since >= BEGINNINGS_WINDOW]:
            del self._beginnings[key]


def _may_glance(pending: _Pending, now: float) -> bool:
    """Whether a method that cannot wait may ask about this check: not while others ask, nor before its time."""
    if pending.job is not None:
        return isinstance(pending.step, flow.Ask)
    return not (isinstance(pending.step, flow.Wait) and pending.due > now)


def _busy(pending: _Pending | None) -> Refused:
    """Where to go is said all the same, if it is known: whoever approves there can come again."""
    message = pending.page.text if pending and pending.page else ""
    return Refused(Reason.CHECK_BUSY, "as many connections wait for a person as [check] waiting allows", message)


def _still_good(verdict: flow.Verdict, age: float) -> flow.Verdict:
    """What is told at Enter of a verdict that came some seconds ago: passing a check is about a moment."""
    if isinstance(verdict, Passed) and age > VERDICT_KEEP:
        return Refused(Reason.CHECK_EXPIRED, "the check was passed, but Enter came too late: log in anew")
    return verdict
