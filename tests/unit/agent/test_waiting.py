"""The waiting room with real sockets and threads: who is prompted and told, and what is left when it is over."""

import dataclasses
import gc
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from pam_tailscale import wire
from pam_tailscale.agent.waiting import ASKING_THREADS, Login, WaitingRoom
from pam_tailscale.check import desk
from pam_tailscale.check.desk import Desk
from pam_tailscale.check.flow import (
    Answer,
    Asked,
    Hold,
    Passed,
    Polled,
    Provider,
    Refused,
    Trouble,
    Unanswered,
    Verdict,
)
from pam_tailscale.errors import WireError
from pam_tailscale.model import Decision, Demand, Method, Reason
from pam_tailscale.model import Verdict as Answered
from tests.support.checks import PAGE, ScriptedProvider, Shim, hold
from tests.support.facts import CONNECTION, PEER, request
from tests.support.waiting import wait_until

SOON = 10.0
WAITING = 4
DEMAND = Demand(PEER, "alice", CONNECTION, "", 3600.0)
BOB = dataclasses.replace(DEMAND, peer=dataclasses.replace(PEER, login="bob@example.com"))
KEYBOARD = request(method=Method.KEYBOARD)
WORDS = {Passed: "passed", Refused: "refused", type(None): "needed"}


class Room:
    """A waiting room, and whoever is in it."""

    def __init__(self, provider: Provider | None = None, waiting: int = WAITING) -> None:
        self.provider = ScriptedProvider() if provider is None else provider
        self.finished: list[tuple[Demand, Verdict | None]] = []
        self.when_finishing: Callable[[], None] = lambda: None
        self.when_prompting: Callable[[], None] = lambda: None
        self.shims: list[Shim] = []
        self.room = WaitingRoom(Desk(waiting), self.provider, self._finish, self._words, waiting)
        self.room.start()

    def login(self, demand: Demand = DEMAND, *, interactive: bool = True) -> Shim:
        """Somebody logs in."""
        shim = Shim()
        self.shims.append(shim)
        self.admit(shim, demand, interactive=interactive)
        return shim

    def admit(self, shim: Shim, demand: Demand = DEMAND, *, interactive: bool = True) -> None:
        """As the agent does, which gives the connection away."""
        decision = Decision(Answered.CHECK, Reason.CHECK_NEEDED, "1a2b", demand=demand)
        self.room.admit(Login(KEYBOARD, decision, demand, shim.agents, 0.0), interactive=interactive)

    @property
    def waiting(self) -> int:
        """Connections that wait for a person."""
        return sum(one.waiting for one in self.room.pending())

    def stop(self) -> None:
        """End it; what modules have heard can still be read."""
        if self.room.alive:
            self.room.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        for shim in self.shims:
            shim.close()

    def _words(self, login: Login, page: Hold) -> str:
        assert login.demand.person
        self.when_prompting()
        return page.text

    def _finish(self, login: Login, verdict: Verdict | None) -> None:
        self.finished.append((login.demand, verdict))
        self.when_finishing()
        detail = verdict.detail if isinstance(verdict, Refused) else ""
        pairs = {wire.KEY_ANSWER: wire.ANSWER_VERDICT, wire.KEY_VERDICT: WORDS[type(verdict)], wire.KEY_TEXT: detail}
        login.shim.send(wire.encode(pairs))


def left_behind() -> tuple[set[threading.Thread], dict[str, str]]:
    """The threads and descriptors of this process, and what each of these is."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found[entry.name] = str(entry.readlink())
    return set(threading.enumerate()), found


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Every test ends with the threads and descriptors that it began with."""
    gc.collect()  # what tests before this one have let go of would otherwise be gone afterwards
    before = left_behind()
    yield

    def as_before() -> bool:
        now = left_behind()
        assert now == before, (now, before)
        return True

    wait_until(as_before, SOON, "threads and descriptors as before")


@pytest.fixture
def room(_nothing_left: None) -> Iterator[Room]:
    """With a provider that begins a check, and waits for a person."""
    with Room() as made:
        yield made


@pytest.fixture
def provider(room: Room) -> ScriptedProvider:
    """The provider of the room."""
    assert isinstance(room.provider, ScriptedProvider)
    return room.provider


def prompted(shim: Shim) -> Shim:
    """A module that has heard its prompt."""
    heard = shim.hear()
    assert heard == {wire.KEY_ANSWER: wire.ANSWER_PROMPT, wire.KEY_TEXT: f"open {PAGE}"}
    return shim


def verdict(shim: Shim) -> str:
    """The word of a verdict, after which the agent closes."""
    heard = shim.hear()
    assert heard[wire.KEY_ANSWER] == wire.ANSWER_VERDICT
    assert shim.hear() == {}
    return heard[wire.KEY_VERDICT]


def enter(shim: Shim) -> None:
    """Press Enter, and wait until the agent has read it."""
    shim.press_enter()
    wait_until(lambda: not select.select([shim.agents], [], [], 0)[0], SOON, "Enter was heard")


def test_a_room_that_nobody_enters() -> None:
    """It is alive between start and stop, and no longer."""
    with Room() as empty:
        assert empty.room.alive
        assert empty.room.pending() == []
        empty.stop()
        assert not empty.room.alive


def test_prompt_enter_approval(room: Room, provider: ScriptedProvider) -> None:
    """Whoever pressed Enter first is told as soon as the provider knows."""
    shim = prompted(room.login())
    enter(shim)
    provider.approve()
    assert verdict(shim) == "passed"
    assert room.finished == [(DEMAND, Passed())]
    assert room.room.pending() == []


def test_approval_enter(room: Room, provider: ScriptedProvider) -> None:
    """Whoever approves first is told at Enter, and not before: the module listens to the person."""
    shim = prompted(room.login())
    provider.approve()
    wait_until(lambda: room.room.pending() == [], SOON, "the check is over")
    assert room.finished == []
    shim.press_enter()
    assert verdict(shim) == "passed"


def test_a_refusal(room: Room, provider: ScriptedProvider) -> None:
    """With its reason."""
    shim = prompted(room.login())
    shim.press_enter()
    provider.approve(Refused(Reason.CHECK_REJECTED, "no"))
    assert shim.hear()[wire.KEY_TEXT] == "no"


def test_whoever_waits_is_prompted_again(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else wakes the room."""
    monkeypatch.setattr(desk, "PATIENCE", 0.05)
    shim = prompted(room.login())
    for _ in range(5):
        shim.press_enter()
        prompted(shim)


def test_a_provider_is_asked_again_after_its_interval(
    room: Room, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock, with nobody pressing anything."""
    monkeypatch.setattr(desk, "LONG", 0.0)
    provider.begun = hold(interval=0.01)
    shim = prompted(room.login())
    wait_until(lambda: provider.questions.count("poll") > 1, SOON, "polled twice")
    shim.press_enter()
    provider.approve()
    assert verdict(shim) == "passed"


def test_whoever_comes_again_wakes_the_room(room: Room, provider: ScriptedProvider) -> None:
    """It slept, because nobody waited; now somebody waits for the next poll, and does not press Enter."""
    provider.begun = hold(interval=0.5)
    shim = prompted(room.login())
    shim.close()
    wait_until(lambda: closed(shim), SOON, "nobody waits")
    prompted(room.login())
    wait_until(lambda: "poll" in provider.questions, SOON, "polled")


@pytest.mark.parametrize(("asked", "told"), [(None, "needed"), (Passed(), "passed")], ids=["unknown", "remembered"])
def test_a_method_that_cannot_wait(room: Room, provider: ScriptedProvider, asked: Asked, told: str) -> None:
    """It is told, and begins nothing."""
    provider.asked = asked
    assert verdict(room.login(interactive=False)) == told
    assert provider.questions == ["ask"]


@pytest.mark.parametrize("enter", [False, True], ids=["at the prompt", "after Enter"])
@pytest.mark.parametrize("approved", [False, True], ids=["undecided", "approved"])
def test_a_module_that_hangs_up(room: Room, provider: ScriptedProvider, *, enter: bool, approved: bool) -> None:
    """No thread and no connection stay for a client that has gone, and nobody is told anything."""
    shim = prompted(room.login())
    if approved:
        provider.approve()
        wait_until(lambda: room.room.pending() == [], SOON, "the check is over")
    elif enter:
        shim.press_enter()
    shim.close()
    wait_until(lambda: room.waiting == 0 and closed(shim), SOON, "the room knows")
    assert room.finished == []


def closed(shim: Shim) -> bool:
    """Whether the agent has closed its end."""
    return shim.agents.fileno() == -1


def test_a_module_that_hangs_up_before_it_is_prompted() -> None:
    """The provider still thinks; its answer is for nobody."""
    blocked = Blocking()
    with Room(blocked) as room:
        shim = room.login()
        blocked.reached("ask")
        shim.close()
        wait_until(lambda: closed(shim), SOON, "the room knows")
        blocked.go_on.set()
        wait_until(lambda: room.room.pending() == [], SOON, "nothing pends that nobody has seen")
        assert room.finished == []


def test_a_poll_is_cancelled_when_nobody_waits() -> None:
    """The provider sees it while it waits, and its thread is free for others."""
    blocked = Blocking("poll")
    with Room(blocked) as room:
        shim = prompted(room.login())
        blocked.reached("poll")
        shim.close()
        assert blocked.saw_the_end.wait(SOON)


class Blocking(ScriptedProvider):
    """Whose answers come when a test lets them; a poll ends when it is cancelled."""

    def __init__(self, where: str = "ask") -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.saw_the_end = threading.Event()
        self._where = where
        self._reached = threading.Event()

    def reached(self, where: str) -> None:
        """Waits until the provider is there."""
        assert where == self._where
        assert self._reached.wait(SOON)

    def ask(self, demand: Demand) -> Asked:
        """Blocks for alice."""
        if self._where == "ask" and demand == DEMAND:
            self._reached.set()
            assert self.go_on.wait(SOON)
        return super().ask(demand)

    def poll(self, demand: Demand, hold: Hold, patience: float, cancelled: Callable[[], bool]) -> Polled:
        """Waits for its end, however long that takes."""
        if self._where != "poll":
            return super().poll(demand, hold, patience, cancelled)
        self._reached.set()
        wait_until(cancelled, SOON, "cancelled")
        self.saw_the_end.set()
        return Unanswered()


def test_a_provider_that_is_slow_for_one_is_not_slow_for_others() -> None:
    """The room listens, prompts and tells while a question is under way."""
    blocked = Blocking()
    with Room(blocked) as room:
        slow = room.login()
        blocked.reached("ask")
        shim = prompted(room.login(BOB))
        shim.press_enter()
        blocked.approve()
        assert verdict(shim) == "passed"
        assert room.finished == [(BOB, Passed())]
        blocked.go_on.set()
        prompted(slow)


class Failing(ScriptedProvider):
    """Whose questions end in an error, as no provider's may."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where
        self.failures = 0

    def _fail(self, where: str) -> None:
        if where == self._where and not self.failures:
            self.failures += 1
            raise ZeroDivisionError

    def ask(self, demand: Demand) -> Asked:
        self._fail("ask")
        return super().ask(demand)

    def begin(self, demand: Demand) -> Hold | Passed | Refused | Trouble:
        self._fail("begin")
        return super().begin(demand)

    def poll(self, demand: Demand, hold: Hold, patience: float, cancelled: Callable[[], bool]) -> Polled:
        self._fail("poll")
        return super().poll(demand, hold, patience, cancelled)

    def prepare(self) -> None:
        self._fail("prepare")
        super().prepare()


@pytest.mark.parametrize("where", ["ask", "begin"])
def test_a_provider_that_fails_refuses(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """The error is in the journal, and the next login is asked about."""
    with Room(Failing(where)) as room:
        heard = room.login().hear()
        assert heard[wire.KEY_VERDICT] == "refused"
        assert "journal" in heard[wire.KEY_TEXT]
        assert "ZeroDivisionError" in caplog.text
        prompted(room.login())


def test_a_provider_that_fails_while_polling_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """The person has been sent to a page already."""
    failing = Failing("poll")
    with Room(failing) as room:
        shim = prompted(room.login())
        shim.press_enter()
        failing.approve()
        assert verdict(shim) == "passed"
        assert "ZeroDivisionError" in caplog.text


def test_the_provider_is_made_ready_in_a_thread_of_the_room(room: Room, provider: ScriptedProvider) -> None:
    """Whoever says so goes on."""
    room.room.prepare()
    wait_until(lambda: provider.questions == ["prepare"], SOON, "ready")


def test_a_provider_that_cannot_be_made_ready_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    """It is said, and logins are answered."""
    with Room(Failing("prepare")) as room:
        room.room.prepare()
        wait_until(lambda: "could not be made ready" in caplog.text, SOON, "said")
        prompted(room.login())


def test_stopping_leaves_whoever_waits_without_an_answer() -> None:
    """Wherever they are: they hear the end, which is a no, and no thread waits for them any more."""
    blocked = Blocking()
    with Room(blocked) as room:
        at_prompt, entered, asked = prompted(room.login(BOB)), prompted(room.login(BOB)), room.login()
        enter(entered)
        blocked.reached("ask")
        stopping = threading.Thread(target=room.room.stop)
        stopping.start()
        wait_until(lambda: not room.room.alive, SOON, "the room listens no more")
        blocked.asked = Passed()
        blocked.go_on.set()
        stopping.join()
        assert [shim.hear() for shim in (at_prompt, entered, asked)] == [{}, {}, {}]
        assert room.finished == []


def test_stopping_cancels_what_is_polled() -> None:
    """A provider that keeps its answer back does not keep the agent from ending."""
    blocked = Blocking("poll")
    with Room(blocked) as room:
        shim = prompted(room.login())
        blocked.reached("poll")
        room.stop()
        assert blocked.saw_the_end.is_set()
        assert shim.hear() == {}


def test_stopping_does_not_begin_what_is_queued() -> None:
    """A provider that is slow for many must not keep the agent from ending."""
    blocked = Blocking()
    with Room(blocked) as room:
        room.login()
        blocked.reached("ask")
        occupied = threading.Barrier(WAITING + ASKING_THREADS)
        free = threading.Event()
        for _ in range(WAITING + ASKING_THREADS - 1):
            room.room._pool.submit(lambda: (occupied.wait(SOON), free.wait(SOON)))
        occupied.wait(SOON)
        for number in range(20):
            room.login(
                dataclasses.replace(BOB, peer=dataclasses.replace(BOB.peer, stable_id=f"n{number}")), interactive=False
            )
        stopping = threading.Thread(target=room.room.stop)
        stopping.start()
        wait_until(lambda: room.room._pool._work_queue.qsize() <= 1, SOON, "only the end is queued")
        free.set()
        blocked.go_on.set()
        stopping.join()
        assert blocked.questions == ["ask"]


GARBAGE = {
    "nothing": b"\0",
    "no protocol": b"\xff\xfe",
    "half a pair": b"version\0",
    "another version": b"version\0" + b"99\0",
    "another request": wire.encode({wire.KEY_REQUEST: wire.REQUEST_DECIDE}),
    "no request": wire.encode({}),
    "too long": b"a" * (wire.MESSAGE_MAX + 100),
    "a verdict": wire.encode({wire.KEY_ANSWER: wire.ANSWER_VERDICT, wire.KEY_VERDICT: wire.VERDICT_ALLOW}),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_whoever_does_not_speak_the_protocol_is_not_let_in(
    room: Room, provider: ScriptedProvider, garbage: bytes
) -> None:
    """Their connection is closed without a verdict; others wait on."""
    stray, other = prompted(room.login()), prompted(room.login())
    stray.ours.send(garbage)
    assert stray.hear() == {}
    provider.approve()
    other.press_enter()
    assert verdict(other) == "passed"
    assert len(room.finished) == 1


def test_enter_said_twice_is_said_once(room: Room, provider: ScriptedProvider) -> None:
    """The second is said out of turn, and neither ends nor hastens anything."""
    shim = prompted(room.login())
    enter(shim)
    enter(shim)
    assert room.waiting == 1
    provider.approve()
    assert verdict(shim) == "passed"


@pytest.mark.parametrize("error", [BrokenPipeError, WireError, ZeroDivisionError], ids=lambda error: error.__name__)
def test_one_who_cannot_be_told_keeps_nobody_else_from_it(
    room: Room, provider: ScriptedProvider, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Of several who are told at once; nothing is left of the one who is not, and only what is odd has a traceback."""
    first, second = prompted(room.login()), prompted(room.login())
    for shim in (first, second):
        enter(shim)

    def fail_once() -> None:
        room.when_finishing = lambda: None
        raise error

    room.when_finishing = fail_once
    provider.approve(Refused(Reason.CHECK_REJECTED, "no"))
    heard = [shim.hear().get(wire.KEY_VERDICT) for shim in (first, second)]
    assert sorted(heard, key=str) == [None, "refused"]
    assert ("Traceback" in caplog.text) is (error is not BrokenPipeError)
    assert room.room.alive
    prompted(room.login(BOB))


@pytest.mark.parametrize("error", [OSError, WireError, ZeroDivisionError], ids=lambda error: error.__name__)
def test_a_prompt_that_cannot_be_made_is_nobody_elses(
    room: Room, provider: ScriptedProvider, error: type[Exception]
) -> None:
    """The check goes on for the others who wait for it."""

    def fail_once() -> None:
        room.when_prompting = lambda: None
        raise error

    room.when_prompting = fail_once
    room.login()
    shim = prompted(room.login())
    enter(shim)
    provider.approve()
    assert verdict(shim) == "passed"


def fill(shim: Shim) -> None:
    """Send what the module does not read, until no more goes."""
    while True:
        shim.agents.send(b"x" * 4096)


def test_a_module_that_does_not_read_keeps_nobody_waiting(room: Room) -> None:
    """The room never waits for a socket."""
    deaf = Shim()
    room.shims.append(deaf)
    deaf.agents.settimeout(0)
    with pytest.raises(BlockingIOError):
        fill(deaf)
    deaf.agents.settimeout(60)
    room.admit(deaf)
    prompted(room.login(BOB))


def test_numbers_of_connections_come_again(room: Room, provider: ScriptedProvider) -> None:
    """The kernel gives a descriptor's number to the next one; who had it before is not meant."""
    numbers = set()
    provider.asked = Passed()
    for turn in range(20):
        shim = Shim()
        room.shims.append(shim)
        numbers.add(shim.agents.fileno())
        room.admit(shim, interactive=bool(turn % 2))
        assert verdict(shim) == "passed"
        shim.close()
    assert len(numbers) < 20
    assert len(room.finished) == 20


def test_many_at_once(room: Room, provider: ScriptedProvider) -> None:
    """Logins of a script on many hosts of many people: each is told its own."""
    provider.asked = Passed()
    peers = [dataclasses.replace(PEER, login=f"user{number % 20}@example.com") for number in range(200)]
    demands = [dataclasses.replace(DEMAND, peer=peer, user=f"u{number}") for number, peer in enumerate(peers)]
    together = threading.Barrier(8)

    def enter(share: int) -> None:
        together.wait(SOON)
        for demand in demands[share::8]:
            room.login(demand, interactive=False)

    threads = [threading.Thread(target=enter, args=(share,)) for share in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [verdict(shim) for shim in room.shims] == ["passed"] * 200
    assert sorted(demand.user for demand, _ in room.finished) == sorted(demand.user for demand in demands)
    assert room.room.pending() == []


def test_forgetting_a_person_refuses_who_waits(room: Room, provider: ScriptedProvider) -> None:
    """At once where Enter was pressed, else at Enter; also where the check was passed a moment ago."""
    entered, at_prompt, other = prompted(room.login()), prompted(room.login()), prompted(room.login(BOB))
    enter(entered)
    room.room.forget(PEER.login)
    assert verdict(entered) == "refused"
    at_prompt.press_enter()
    assert verdict(at_prompt) == "refused"
    other.press_enter()
    provider.approve()
    assert verdict(other) == "passed"


def test_answers_that_no_step_has_are_trouble() -> None:
    """A provider that answers with what it should not is refused, not believed."""

    class Odd(ScriptedProvider):
        def ask(self, demand: Demand) -> Asked:
            super().ask(demand)
            odd: Answer = Unanswered()
            return odd  # type: ignore[return-value]

    with Room(Odd()) as room:
        assert verdict(room.login()) == "refused"
