"""Events in any order at the desk: nobody gets in without an approval that was given for just their demand.

A model provider has the pages and remembers; people approve, reject, and approve what is another's. The machine plays
modules, people, provider and clock against the desk, and looks at every effect.
"""

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pam_tailscale.check.desk import PATIENCE, VERDICT_KEEP, Cancel, Desk, Effect, Job, Prompt, Settle
from pam_tailscale.check.flow import Answer, Ask, Hold, Lost, Passed, Poll, Refused, Trouble, Unanswered
from pam_tailscale.model import Demand, Reason
from tests.support.checks import hold
from tests.support.facts import CONNECTION, PEER

ALICE, BOB = "alice@example.com", "bob@example.com"
ENOUGH = 4
"""Connections at the same time: with more of them, most only hear that there is no room."""
LIFETIME = 300.0
SOON = PATIENCE + 10.0
"""Seconds for which a module waits for a word."""
ALWAYS = 0.0
EVERY_NODE_OF_EVERYONE = [
    dataclasses.replace(PEER, login=login, stable_id=node) for login in (ALICE, BOB) for node in ("n7CNTRL", "n8CNTRL")
]
DELEGATE = "https://unused/remembered"
"""The delegate of rules whose checks begin by asking, as a control plane's do."""
DEMANDS = [
    Demand(peer, user, CONNECTION, delegate, period)
    for peer in EVERY_NODE_OF_EVERYONE
    for user, delegate, period in [
        ("alice", "", 400.0),
        ("alice", "", ALWAYS),
        ("root", "", 400.0),
        ("alice", DELEGATE, 400.0),
        ("root", DELEGATE, None),
    ]
]

AMISS = [Trouble("down"), Trouble("busy", retry_after=30.0), Lost("?"), Unanswered(slow_down=True), None]
"""What a provider may say out of turn."""


# Said once more here, so that the model's own Demand.key and Demand.like are tried, too.


def whose(demand: Demand) -> tuple[str, str]:
    """The person and the node."""
    return demand.peer.login, demand.peer.stable_id


def what(demand: Demand) -> tuple[object, ...]:
    """All of a demand but its connection."""
    return (*whose(demand), demand.user, demand.delegate, demand.period)


@dataclass
class Page:
    """A check as the provider has it."""

    demand: Demand
    hold: Hold
    ends: float
    approved_by: str = ""
    rejected: bool = False
    lost: bool = False


@dataclass
class Given:
    """What the provider has answered."""

    demand: Demand
    asked: float
    """When the question was put."""
    opened: list[int] = field(default_factory=list)
    """The connections that were told it."""


@dataclass
class Login:
    """A connection as its module sees it."""

    demand: Demand
    interactive: bool
    came: float
    standing: Hold | None = None
    """The prompt that the person reads; while one stands nobody listens to us."""
    waits: bool = True


class Provider:
    """Remembers, has pages, and says so. Each of its verdicts can be told from all others."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.memory: dict[tuple[str, str, str], float] = {}
        self.given: dict[str, Given] = {}
        self._names = (str(number) for number in itertools.count())

    def answer(self, job: Job, asked: float, now: float) -> Answer:
        """What it says to one question."""
        if isinstance(job.step, Poll):
            return self._poll(job, self.pages[job.step.hold.ticket.reveal()], asked, now)
        if isinstance(job.step, Ask):
            if self._remembers(job.demand, now):
                return self._passed(job.demand, asked)
            if job.demand.delegate != DELEGATE:
                return None
        return self._page(job.demand, now)

    def _page(self, demand: Demand, now: float) -> Hold:
        name = next(self._names)
        interval = 0.0 if demand.delegate == DELEGATE else 5.0
        self.pages[name] = Page(demand, hold(name, text=name, interval=interval, lifetime=LIFETIME), now + LIFETIME)
        return self.pages[name].hold

    def _poll(self, job: Job, page: Page, asked: float, now: float) -> Answer:
        assert job.demand == page.demand, "a page is asked about for whom it was made"
        if page.lost or page.ends <= now:
            return Lost("unknown code")
        if page.rejected:
            return self._refused(page.demand, Reason.CHECK_REJECTED, asked)
        if not page.approved_by:
            return Unanswered()
        page.lost = True  # a code is redeemed once
        if page.approved_by != page.demand.person:
            return self._refused(page.demand, Reason.CHECK_WRONG_PERSON, asked)
        self.memory[self._who(page.demand)] = now
        return self._passed(page.demand, asked)

    def _remembers(self, demand: Demand, now: float) -> bool:
        if demand.period == ALWAYS:
            return False
        return now - self.memory.get(self._who(demand), -1e9) < (demand.period or 1000.0)

    @staticmethod
    def _who(demand: Demand) -> tuple[str, str, str]:
        return (*whose(demand), demand.user)

    def _passed(self, demand: Demand, asked: float) -> Passed:
        name = next(self._names)
        self.given[name] = Given(demand, asked)
        return Passed(name)

    def _refused(self, demand: Demand, reason: Reason, asked: float) -> Refused:
        name = next(self._names)
        self.given[name] = Given(demand, asked)
        return Refused(reason, name)


class DeskMachine(RuleBasedStateMachine):
    """Everything that can happen to a desk."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.provider = Provider()
        self.logins: dict[int, Login] = {}
        self.jobs: dict[int, tuple[Job, float]] = {}
        """Under way, with the time at which they were put."""
        self.on_the_way: dict[int, Answer] = {}
        """Answers that the provider has given and that have not arrived."""
        self.cancelled: set[int] = set()
        self.given_up: set[int] = set()
        """Those of checks that were forgotten."""
        self.forgotten: dict[str, float] = {}
        self.decided: dict[str, float] = {}
        """When the desk heard a verdict."""
        self.polled: dict[str, float] = {}
        """When an answer about a page arrived."""
        self._numbers = itertools.count(1)
        self.desk = Desk(4)
        self.waiting = 4

    @initialize(waiting=st.sampled_from([2, 4]))
    def open(self, waiting: int) -> None:
        """As many may wait as the configuration says."""
        self.desk, self.waiting = Desk(waiting), waiting

    # Modules and the people at them.

    @rule(demand=st.sampled_from(DEMANDS), interactive=st.sampled_from([True, True, False]))
    @precondition(lambda self: len(self._open()) < ENOUGH // 2)
    def come(self, demand: Demand, interactive: bool) -> None:  # noqa: FBT001 (a generated value)
        """Somebody logs in."""
        number, before = next(self._numbers), self._waiting()
        self.logins[number] = login = Login(demand, interactive, self.now)
        self._carry_out(self.desk.arrive(number, demand, self.now, interactive=interactive))
        assert not (interactive and before >= self.waiting and login.waits), "one too many waits"

    @rule(data=st.data(), like=st.booleans(), interactive=st.sampled_from([True, True, False]))
    @precondition(lambda self: 0 < len(self._open()) <= ENOUGH)
    def come_as_well(self, data: st.DataObject, like: bool, interactive: bool) -> None:  # noqa: FBT001
        """The same person once more from the same node: most of what can go wrong needs two connections."""
        there = self.logins[data.draw(st.sampled_from(self._open()))].demand
        own = [demand for demand in DEMANDS if whose(demand) == whose(there)]
        self.come(there if like else data.draw(st.sampled_from(own)), interactive)

    @rule(data=st.data())
    @precondition(lambda self: self._standing())
    def press_enter(self, data: st.DataObject) -> None:
        """Somebody reads a prompt, and presses Enter."""
        self._enter(data.draw(st.sampled_from(self._standing())))

    @rule()
    @precondition(lambda self: self._standing())
    def press_enter_everywhere(self) -> None:
        """Everybody is impatient."""
        for number in self._standing():
            self._enter(number)

    @rule(data=st.data())
    @precondition(lambda self: self._open())
    def hang_up(self, data: st.DataObject) -> None:
        """A connection ends at any time."""
        number = data.draw(st.sampled_from(self._open()))
        self.logins[number].waits, self.logins[number].standing = False, None
        self._carry_out(self.desk.gone(number, self.now))

    # People at the provider, its administrators, and what it suffers.

    @rule(data=st.data(), person=st.sampled_from([ALICE, BOB]), rightful=st.sampled_from([True, True, True, False]))
    @precondition(lambda self: self.provider.pages)
    def approve(self, data: st.DataObject, person: str, rightful: bool) -> None:  # noqa: FBT001
        """Somebody approves a page: whose it is, or who got hold of its address."""
        page = self._some_page(data)
        page.approved_by = page.demand.person if rightful else person

    @rule(data=st.data())
    @precondition(lambda self: self.provider.pages)
    def approve_and_hear_of_it(self, data: st.DataObject) -> None:
        """The person approves, and the desk hears of it as soon as it may."""
        page = self._some_page(data)
        page.approved_by = page.demand.person
        self.answer_all()
        self.time_passes(5.0)
        self.answer_all()

    @rule(data=st.data(), how=st.sampled_from(["rejected", "lost"]))
    @precondition(lambda self: self.provider.pages)
    def spoil(self, data: st.DataObject, how: str) -> None:
        """Somebody rejects a page, or the provider starts anew and knows it no more."""
        setattr(self._some_page(data), how, True)

    @rule(person=st.sampled_from([ALICE, BOB]))
    @precondition(lambda self: self.decided and self._open())
    def forget(self, person: str) -> None:
        """What this person has passed until now counts no more."""
        self.forgotten[person] = self.now
        self.provider.memory = {who: at for who, at in self.provider.memory.items() if who[0] != person}
        self.given_up |= {number for number, (job, _) in self.jobs.items() if job.demand.person == person}
        self._carry_out(self.desk.forget(person))
        assert self.given_up & self.jobs.keys() <= self.cancelled
        self.now += 1e-3

    # The provider's answers, and the clock.

    @rule(data=st.data())
    @precondition(lambda self: self.jobs.keys() - self.on_the_way.keys())
    def answer(self, data: st.DataObject) -> None:
        """The provider answers a question, cancelled or not; it takes a while to arrive."""
        self._answer(data.draw(st.sampled_from(sorted(self.jobs.keys() - self.on_the_way.keys()))))

    @rule(data=st.data(), answer=st.sampled_from(AMISS))
    @precondition(lambda self: self.jobs.keys() - self.on_the_way.keys())
    def answer_amiss(self, data: st.DataObject, answer: Answer) -> None:
        """It is down, or confused."""
        number = data.draw(st.sampled_from(sorted(self.jobs.keys() - self.on_the_way.keys())))
        self.on_the_way[number] = answer

    @rule(data=st.data())
    @precondition(lambda self: self.on_the_way)
    def arrive(self, data: st.DataObject) -> None:
        """An answer arrives."""
        self._deliver(data.draw(st.sampled_from(sorted(self.on_the_way))))

    @rule()
    @precondition(lambda self: self.jobs)
    def answer_all(self) -> None:
        """The provider is quick."""
        for _ in range(4):
            for number in sorted(self.jobs):
                self._answer(number)
                self._deliver(number)

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 19.0, 20.0, 99.0, LIFETIME]))
    @precondition(lambda self: self.provider.pages)
    def time_passes(self, seconds: float) -> None:
        """The desk is woken when it is due, and once more, because something else woke it."""
        end = self.now + seconds
        while (due := self.desk.next_due()) is not None and due <= end:
            self._tick(max(due, self.now))
        self._tick(end)

    def teardown(self) -> None:
        """If the provider goes on answering, everybody is soon told something or reads where to go."""
        end = self.now + SOON
        while self._listening():
            assert self.now < end, f"wait without a word: {[self.logins[number] for number in self._listening()]}"
            self._let_happen()

    # What holds at all times.

    @invariant()
    def not_more_wait_than_may(self) -> None:
        assert self._waiting() <= self.waiting
        whose_places = [whose(self.logins[number].demand) for number in self._open() if self.logins[number].interactive]
        assert all(whose_places.count(one) <= max(1, self.waiting - 1) for one in whose_places)

    @invariant()
    def nobody_waits_and_nothing_is_asked(self) -> None:
        waited_for = {whose(self.logins[number].demand) for number in self._open()}
        for job, _ in self.jobs.values():
            assert whose(job.demand) in waited_for or job.number in self.cancelled

    @invariant()
    def one_question_at_a_time_about_a_person_on_a_node(self) -> None:
        asked = [whose(job.demand) for job, _ in self.jobs.values() if job.number not in self.given_up]
        assert len(asked) == len(set(asked))

    @invariant()
    def what_pends_is_one_check_a_person_and_node(self) -> None:
        pending = list(self.desk.pending())
        assert len({whose(one.demand) for one in pending}) == len(pending)
        waiting = [self.logins[number] for number in self._open() if self.logins[number].interactive]
        assert sum(one.waiting for one in pending) <= len(waiting)

    @invariant()
    def who_was_answered_or_has_gone_is_unknown(self) -> None:
        for number in sorted(self.logins.keys() - set(self._open()))[-2:]:
            assert self.desk.entered(number, self.now) + self.desk.gone(number, self.now) == []

    @invariant()
    def enter_counts_where_a_prompt_stands(self) -> None:
        for number in self._listening():
            assert self.desk.entered(number, self.now) == []

    # How effects are judged.

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Job():
                    self._put(effect)
                case Cancel(number):
                    assert number in self.jobs
                    self.cancelled.add(number)
                case Prompt():
                    self._prompt(effect)
                case Settle():
                    self._settle(effect)

    def _put(self, job: Job) -> None:
        assert job.number not in self.jobs
        assert any(one.demand == job.demand for one in self.desk.pending()), "of a check that is over"
        if isinstance(job.step, Poll):
            pause = job.step.hold.interval
            last = self.polled.get(job.step.hold.ticket.reveal(), -1e9)
            assert self.now - last >= pause - 1e-6, "polled too soon"
        self.jobs[job.number] = (job, self.now)

    def _prompt(self, effect: Prompt) -> None:
        login = self._addressed(effect.connection)
        assert login.interactive
        page = self.provider.pages[effect.hold.ticket.reveal()]
        assert whose(page.demand) == whose(login.demand), "another's page"
        login.standing = effect.hold

    def _settle(self, effect: Settle) -> None:
        login = self._addressed(effect.connection)
        login.waits = False
        match effect.verdict:
            case None:
                assert not login.interactive
            case Passed(name):
                self._backed(effect.connection, name)
                assert self.provider.given[name].opened == [effect.connection], "one approval, two connections"
                assert self.now - self.decided[name] <= VERDICT_KEEP, "passed long ago"
            case Refused(_, name) if name in self.provider.given:
                self._backed(effect.connection, name)
            case Refused(reason, _):
                assert reason is not Reason.CHECK_WRONG_PERSON

    def _backed(self, connection: int, name: str) -> None:
        """The provider has said so, about such a demand, and nothing of it was forgotten since."""
        given, login = self.provider.given[name], self.logins[connection]
        given.opened.append(connection)
        assert what(given.demand) == what(login.demand), "a verdict about something else"
        assert self.forgotten.get(login.demand.person, -1.0) < min(given.asked, login.came), "forgotten since"

    def _addressed(self, number: int) -> Login:
        login = self.logins[number]
        assert login.waits, "it was answered, or has gone"
        assert login.standing is None, "the module listens to the person"
        return login

    # What moves things.

    def _enter(self, number: int) -> None:
        self.logins[number].standing = None
        self._carry_out(self.desk.entered(number, self.now))

    def _answer(self, number: int) -> None:
        if number not in self.on_the_way:
            job, asked = self.jobs[number]
            self.on_the_way[number] = self.provider.answer(job, asked, self.now)

    def _deliver(self, number: int) -> None:
        (job, _), answer = self.jobs.pop(number), self.on_the_way.pop(number)
        if isinstance(answer, Passed):
            self.decided[answer.message] = self.now
        if isinstance(job.step, Poll):
            self.polled[job.step.hold.ticket.reveal()] = self.now
        self._carry_out(self.desk.done(number, answer, self.now))

    def _tick(self, now: float) -> None:
        self.now = now
        self._carry_out(self.desk.tick(now))
        due = self.desk.next_due()
        assert due is None or due > now, "it is woken again and again"

    def _let_happen(self) -> None:
        """One more thing happens, as the world goes on by itself."""
        for number in sorted(self.jobs):
            self._answer(number)
            self._deliver(number)
        due = self.desk.next_due()
        self._tick(self.now + 1.0 if due is None else min(due, self.now + 1.0))

    def _some_page(self, data: st.DataObject) -> Page:
        return self.provider.pages[data.draw(st.sampled_from(sorted(self.provider.pages, key=int)[-4:]))]

    def _open(self) -> list[int]:
        return [number for number, login in self.logins.items() if login.waits]

    def _standing(self) -> list[int]:
        return [number for number, login in self.logins.items() if login.standing is not None]

    def _listening(self) -> list[int]:
        return [number for number in self._open() if self.logins[number].standing is None]

    def _waiting(self) -> int:
        return sum(self.logins[number].interactive for number in self._open())


TestDesk = DeskMachine.TestCase
TestDesk.settings = settings(max_examples=300, stateful_step_count=50, deadline=None, report_multiple_bugs=False)
