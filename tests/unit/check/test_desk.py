"""The desk's promises, each by a short story: who comes, what the provider says, who is told what."""

import dataclasses
from collections.abc import Iterable

import pytest

from pam_tailscale.check.desk import (
    BEGINNINGS_MAX,
    BEGINNINGS_WINDOW,
    GLANCE,
    LONG,
    PATIENCE,
    PENDING_MAX,
    ROUNDS_MAX,
    VERDICT_KEEP,
    Cancel,
    Desk,
    Effect,
    Job,
    PendingCheck,
    Prompt,
    Settle,
)
from pam_tailscale.check.flow import Answer, Ask, Begin, Hold, Lost, Passed, Poll, Refused, Trouble, Unanswered
from pam_tailscale.model import Demand, Reason
from tests.support.checks import hold
from tests.support.facts import CONNECTION, PEER

WAITING = 4
DEMAND = Demand(PEER, "alice", CONNECTION, "https://unused/check", 3600.0)
ROOT = dataclasses.replace(DEMAND, user="root")
BOB = dataclasses.replace(DEMAND, peer=dataclasses.replace(PEER, login="bob@example.com"))
PHONE = dataclasses.replace(DEMAND, peer=dataclasses.replace(PEER, stable_id="n8CNTRL"))
FROM_ELSEWHERE = dataclasses.replace(DEMAND, connection=dataclasses.replace(CONNECTION, client_port=40001))
PASSED = Passed("welcome")
REFUSED = Refused(Reason.CHECK_REJECTED, "no")
DOWN = Trouble("down")
PAGE = hold("one")
"""The provider keeps its answer back."""
NEXT = hold("two", text="open the second page")


class Scene:
    """A desk, its connections as their modules see them, and the provider's jobs. Connections are numbers."""

    def __init__(self, waiting: int = WAITING) -> None:
        self.desk = Desk(waiting + 1)
        self.now = 1000.0
        self.jobs: list[Job] = []
        """Under way, the oldest first."""
        self.cancelled: set[int] = set()
        self.standing: dict[int, Hold] = {}
        """The prompts that stand."""
        self.told: dict[int, Passed | Refused | None] = {}

    def ssh(self, connection: int, demand: Demand = DEMAND) -> None:
        """A connection comes that can wait for a person."""
        self._carry_out(self.desk.arrive(connection, demand, self.now, interactive=True))

    def script(self, connection: int, demand: Demand = DEMAND) -> None:
        """A connection comes that cannot wait."""
        self._carry_out(self.desk.arrive(connection, demand, self.now, interactive=False))

    def enter(self, connection: int) -> None:
        """Somebody presses Enter there."""
        del self.standing[connection]
        self._carry_out(self.desk.entered(connection, self.now))

    def hang_up(self, connection: int) -> None:
        """A connection ends."""
        self.standing.pop(connection, None)
        self._carry_out(self.desk.gone(connection, self.now))

    def say(self, *answers: Answer) -> None:
        """The provider answers what it was asked, the oldest question first."""
        for answer in answers:
            self.finish(self.jobs.pop(0), answer)

    def finish(self, job: Job, answer: Answer) -> None:
        """The answer to one job."""
        self._carry_out(self.desk.done(job.number, answer, self.now))

    def later(self, seconds: float) -> None:
        """Time passes, and the desk is woken when it wants to be."""
        end = self.now + seconds
        while (due := self.desk.next_due()) is not None and due <= end:
            assert due > self.now, "it is woken again and again"
            self.now = due
            self._carry_out(self.desk.tick(self.now))
        self.now = end

    def forget(self, person: str) -> None:
        """The administrator forgets a person."""
        self._carry_out(self.desk.forget(person))

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Job():
                    self.jobs.append(effect)
                case Cancel(number):
                    self.cancelled.add(number)
                case Prompt(connection, page):
                    self._may_hear(connection)
                    self.standing[connection] = page
                case Settle(connection, verdict):
                    self._may_hear(connection)
                    self.told[connection] = verdict

    def _may_hear(self, connection: int) -> None:
        assert connection not in self.standing, "the module listens to the person, not to us"
        assert connection not in self.told, "it has been answered"

    @property
    def steps(self) -> list[object]:
        """What the provider is being asked."""
        return [job.step for job in self.jobs]

    @property
    def pending(self) -> list[PendingCheck]:
        """As the desk has them."""
        return list(self.desk.pending())


@pytest.fixture
def scene() -> Scene:
    """Nobody waits."""
    return Scene()


def shown(scene: Scene, *connections: int, demand: Demand = DEMAND, page: Hold = PAGE) -> None:
    """These connections have been prompted with the page of one check."""
    for connection in connections:
        scene.ssh(connection, demand)
    for answer in (None, page):
        scene.finish(scene.jobs.pop(), answer)
    assert set(connections) <= set(scene.standing)


def test_nobody_waits_and_nothing_happens(scene: Scene) -> None:
    """An empty desk wants nothing, and bears events about connections and jobs it does not know."""
    assert scene.desk.next_due() is None
    effects = (
        scene.desk.tick(0.0) + scene.desk.entered(1, 0.0) + scene.desk.gone(1, 0.0) + scene.desk.done(1, None, 0.0)
    )
    assert effects + scene.desk.forget("") == []
    assert scene.pending == []


def test_one_login(scene: Scene) -> None:
    """Asked, begun, shown, polled while the prompt stands, and let in at Enter."""
    scene.ssh(1)
    assert scene.steps == [Ask()]
    assert scene.jobs[0].demand == DEMAND
    scene.say(None)
    assert scene.steps == [Begin()]
    scene.say(PAGE)
    assert scene.standing == {1: PAGE}
    assert [(job.step, job.patience) for job in scene.jobs] == [(Poll(PAGE), LONG)]
    scene.say(PASSED)
    assert scene.told == {}
    scene.enter(1)
    assert scene.told == {1: PASSED}
    assert scene.pending == []


@pytest.mark.parametrize("verdict", [PASSED, REFUSED], ids=["passed", "refused"])
def test_who_has_pressed_enter_is_told_at_once(scene: Scene, verdict: Passed | Refused) -> None:
    """Nobody has to press it twice."""
    shown(scene, 1)
    scene.enter(1)
    scene.say(verdict)
    assert scene.told == {1: verdict}


@pytest.mark.parametrize("verdict", [PASSED, REFUSED], ids=["passed", "refused"])
def test_a_verdict_that_comes_while_a_prompt_stands_is_told_at_enter(scene: Scene, verdict: Passed | Refused) -> None:
    """The module listens to the person then; and the check is over meanwhile."""
    shown(scene, 1)
    scene.say(verdict)
    assert (scene.told, scene.pending, scene.jobs) == ({}, [], [])
    scene.later(60.0)
    scene.enter(1)
    assert scene.told == {1: verdict}


def test_a_passed_check_is_not_good_for_ever(scene: Scene) -> None:
    """Whoever comes back to their prompt hours later has not authenticated recently."""
    shown(scene, 1)
    scene.say(PASSED)
    scene.later(VERDICT_KEEP + 1)
    scene.enter(1)
    told = scene.told[1]
    assert isinstance(told, Refused)
    assert told.reason is Reason.CHECK_EXPIRED


def test_a_refusal_does_not_age(scene: Scene) -> None:
    """Why it was refused is told however late."""
    shown(scene, 1)
    scene.say(REFUSED)
    scene.later(VERDICT_KEEP + 1)
    scene.enter(1)
    assert scene.told == {1: REFUSED}


def test_who_presses_enter_early_is_asked_again(scene: Scene) -> None:
    """After a while, with the same page, again and again."""
    shown(scene, 1)
    for _ in range(3):
        scene.enter(1)
        scene.later(PATIENCE - 1)
        assert scene.standing == {}
        scene.later(1)
        assert scene.standing == {1: PAGE}
    scene.enter(1)
    scene.say(PASSED)
    assert scene.told == {1: PASSED}


def prompt_often(scene: Scene, connection: int) -> None:
    """As often as a connection that reads its first page may still be prompted."""
    for _ in range(ROUNDS_MAX - 1):
        scene.enter(connection)
        scene.later(PATIENCE)


def test_a_connection_is_not_prompted_for_ever(scene: Scene) -> None:
    """The module bears only so many prompts."""
    shown(scene, 1)
    prompt_often(scene, 1)
    scene.enter(1)
    scene.later(PATIENCE)
    told = scene.told[1]
    assert isinstance(told, Refused)
    assert told.reason is Reason.CHECK_EXPIRED


def test_the_last_prompt_too_is_answered_where_the_page_has_changed(scene: Scene) -> None:
    """The one prompt too many is then due at Enter, when the desk has the word."""
    shown(scene, 1, 2)
    prompt_often(scene, 1)
    scene.say(NEXT)
    scene.enter(1)
    told = scene.told[1]
    assert isinstance(told, Refused)
    assert told.reason is Reason.CHECK_EXPIRED


def test_one_prompt_too_many_leaves_out_nobody_else(scene: Scene) -> None:
    """A new page is shown to all others who wait."""
    shown(scene, 1, 2)
    prompt_often(scene, 1)
    scene.enter(1)
    scene.enter(2)
    scene.say(NEXT)
    assert isinstance(scene.told[1], Refused)
    assert scene.standing == {2: NEXT}


@pytest.mark.parametrize("other", [BOB, PHONE], ids=["another person", "another node"])
def test_a_check_belongs_to_a_person_and_a_node(scene: Scene, other: Demand) -> None:
    """Nobody is shown another's page, and nobody goes on by it."""
    shown(scene, 1)
    scene.ssh(2, other)
    assert 2 not in scene.standing
    assert [job.demand for job in scene.jobs] == [DEMAND, other]
    assert [one.demand for one in scene.pending] == [DEMAND, other]
    scene.say(PASSED)
    assert scene.told == {}
    scene.enter(1)
    assert scene.told == {1: PASSED}


def test_a_check_survives_its_connection(scene: Scene) -> None:
    """The next login of the same person and node is shown the same page, at once, and begins nothing."""
    shown(scene, 1)
    scene.hang_up(1)
    scene.say(Unanswered())
    scene.later(300.0)
    scene.ssh(2, FROM_ELSEWHERE)
    assert scene.standing == {2: PAGE}
    assert scene.steps == [Poll(PAGE)]
    scene.say(PASSED)
    scene.enter(2)
    assert scene.told == {2: PASSED}


def test_a_check_that_was_approved_meanwhile_lets_in_without_a_prompt(scene: Scene) -> None:
    """By a method that cannot wait, too: `ssh` tries none first."""
    shown(scene, 1)
    scene.hang_up(1)
    scene.say(Unanswered())
    scene.script(2)
    assert [(job.step, job.patience) for job in scene.jobs] == [(Poll(PAGE), GLANCE)]
    scene.say(PASSED)
    assert scene.told == {2: PASSED}


@pytest.mark.parametrize("end", [PASSED, REFUSED], ids=["approved", "rejected"])
def test_a_check_ends_with_its_verdict(scene: Scene, end: Passed | Refused) -> None:
    """The next login begins another one."""
    shown(scene, 1)
    scene.say(end)
    scene.ssh(2)
    assert scene.steps == [Ask()]
    assert 2 not in scene.standing


def test_a_check_ends_with_its_time(scene: Scene) -> None:
    """When nobody waits for it, it is gone; a login of anybody sweeps."""
    shown(scene, 1)
    scene.hang_up(1)
    scene.say(Unanswered())
    scene.later(PAGE.lifetime - 1)
    scene.script(2, BOB)
    assert DEMAND in [one.demand for one in scene.pending]
    scene.later(2.0)
    scene.script(3, PHONE)
    assert DEMAND not in [one.demand for one in scene.pending]
    scene.ssh(4)
    assert 4 not in scene.standing


def test_a_check_whose_time_ends_while_somebody_waits_begins_anew(scene: Scene) -> None:
    """They are shown the next page at their next Enter."""
    shown(scene, 1)
    scene.later(PAGE.lifetime)
    scene.say(Unanswered(), None, NEXT)
    assert scene.standing == {1: PAGE}
    scene.enter(1)
    assert scene.standing == {1: NEXT}


def test_one_check_for_one_person_and_node(scene: Scene) -> None:
    """However many connections, and however many accounts they ask for: one question at a time."""
    for connection, demand in enumerate([DEMAND, ROOT, FROM_ELSEWHERE]):
        scene.ssh(connection, demand)
        scene.script(connection + 10, demand)
    assert scene.steps == [Ask()]
    scene.say(None, PAGE)
    assert scene.standing == dict.fromkeys(range(3), PAGE)
    assert scene.steps == [Poll(PAGE)]
    assert [(one.demand, one.waiting) for one in scene.pending] == [(DEMAND, 3)]


def test_all_go_on_by_one_approval_if_the_provider_remembers(scene: Scene) -> None:
    """One goes on by the approval itself, the others because they ask again."""
    shown(scene, 1, 2, 3)
    for connection in (1, 2, 3):
        scene.enter(connection)
    scene.say(PASSED)
    assert scene.told == {1: PASSED}
    scene.say(PASSED)
    assert scene.told == {1: PASSED, 2: PASSED}
    scene.say(PASSED)
    assert scene.told == {1: PASSED, 2: PASSED, 3: PASSED}
    assert (scene.jobs, scene.pending) == ([], [])


def test_the_others_are_asked_anew_if_the_provider_does_not_remember(scene: Scene) -> None:
    """`always`: one approval opens one connection."""
    always = dataclasses.replace(DEMAND, period=0.0)
    shown(scene, 1, 2, demand=always)
    scene.enter(1)
    scene.enter(2)
    scene.say(PASSED, None, NEXT)
    assert scene.told == {1: PASSED}
    assert scene.standing == {2: NEXT}


def test_an_approval_goes_to_who_waits_for_it(scene: Scene) -> None:
    """Rather than to a prompt that perhaps nobody looks at any more."""
    shown(scene, 1, 2)
    scene.enter(2)
    scene.say(PASSED)
    assert scene.told == {2: PASSED}
    assert scene.steps == [Ask()]


def test_a_refusal_is_told_to_all_it_is_about(scene: Scene) -> None:
    """Nobody is asked again for what was refused."""
    shown(scene, 1, 2)
    scene.enter(2)
    scene.say(REFUSED)
    scene.enter(1)
    assert scene.told == {1: REFUSED, 2: REFUSED}
    assert scene.jobs == []


@pytest.mark.parametrize("verdict", [PASSED, REFUSED], ids=["passed", "refused"])
@pytest.mark.parametrize(
    "change",
    [{"user": "root"}, {"delegate": "https://unused/other"}, {"period": 60.0}, {"period": 0.0}, {"period": None}],
    ids=str,
)
def test_a_verdict_for_one_demand_is_none_for_another(
    scene: Scene, verdict: Passed | Refused, change: dict[str, object]
) -> None:
    """They share the page; then the provider is asked about the other one itself."""
    other = dataclasses.replace(DEMAND, **change)  # type: ignore[arg-type]
    shown(scene, 1)
    scene.ssh(2, other)
    assert scene.standing[2] == PAGE
    scene.enter(1)
    scene.enter(2)
    scene.say(verdict)
    assert scene.told == {1: verdict}
    assert [(job.demand, job.step) for job in scene.jobs] == [(other, Ask())]
    scene.say(PASSED)
    assert scene.told == {1: verdict, 2: PASSED}


def test_an_approval_nobody_waits_for_opens_nothing(scene: Scene) -> None:
    """A connection with another demand came after the one whose check it is had gone."""
    shown(scene, 1)
    scene.hang_up(1)
    scene.ssh(2, ROOT)
    scene.enter(2)
    scene.say(PASSED)
    assert scene.told == {}
    assert [(job.demand, job.step) for job in scene.jobs] == [(ROOT, Ask())]


def test_not_more_wait_than_may(scene: Scene) -> None:
    """All of them together stay below sshd's MaxStartups; who hangs up or is answered makes room."""
    shown(scene, 1, 2)
    shown(scene, 3, demand=BOB)
    scene.ssh(4, PHONE)
    scene.ssh(5, PHONE)
    scene.ssh(6, PHONE)
    assert isinstance(scene.told[6], Refused)
    assert scene.told[6].reason is Reason.CHECK_BUSY
    scene.hang_up(3)
    scene.ssh(7, PHONE)
    assert 7 not in scene.told
    scene.ssh(8, PHONE)
    assert isinstance(scene.told[8], Refused)


def test_who_has_a_verdict_but_has_not_pressed_enter_still_waits(scene: Scene) -> None:
    """Their sshd process is there, so they count."""
    shown(scene, 1, 2, 3, 4)
    scene.say(REFUSED)
    scene.ssh(5)
    assert isinstance(scene.told[5], Refused)
    scene.enter(1)
    scene.ssh(6)
    assert 6 not in scene.told


def test_the_one_too_many_is_told_where_to_go(scene: Scene) -> None:
    """They can approve there and come again. Nobody is told another's page."""
    shown(scene, *range(WAITING))
    scene.ssh(10)
    assert scene.told[10] == Refused(
        Reason.CHECK_BUSY, "as many connections wait for a person as [check] waiting allows", PAGE.text
    )
    scene.ssh(11, BOB)
    scene.ssh(12, BOB)
    told = scene.told[12]
    assert isinstance(told, Refused)
    assert told.message == ""


def test_no_one_person_takes_all_places(scene: Scene) -> None:
    """The last one is for somebody else, whoever of the two comes first."""
    shown(scene, *range(WAITING))
    scene.ssh(10)
    assert isinstance(scene.told[10], Refused)
    scene.ssh(11, BOB)
    assert 11 not in scene.told


def test_a_single_place_is_for_whoever_comes() -> None:
    """There is no other to keep."""
    scene = Scene(waiting=0)
    scene.ssh(1)
    scene.ssh(2)
    assert 1 not in scene.told
    assert isinstance(scene.told[2], Refused)


def test_methods_that_cannot_wait_are_not_counted(scene: Scene) -> None:
    """They are answered in a moment, and take nobody's place."""
    for connection in range(WAITING, 10):
        scene.script(connection)
    shown(scene, *range(WAITING))
    assert set(scene.told) == set(range(WAITING, 10))


def test_what_nobody_waits_for_is_not_polled(scene: Scene) -> None:
    """The poll that runs is cancelled; its answer is taken, and no other follows."""
    shown(scene, 1, 2)
    scene.hang_up(1)
    assert scene.cancelled == set()
    scene.hang_up(2)
    assert scene.cancelled == {scene.jobs[0].number}
    scene.say(Unanswered())
    assert (scene.jobs, scene.desk.next_due()) == ([], None)
    scene.later(60.0)
    assert scene.jobs == []


@pytest.mark.parametrize("answers", [[], [None]], ids=["while asking", "while beginning"])
def test_what_is_left_before_anything_is_shown_is_given_up(scene: Scene, answers: list[Answer]) -> None:
    """Nothing pends that nobody has seen."""
    scene.ssh(1)
    scene.say(*answers)
    scene.hang_up(1)
    assert scene.cancelled == {scene.jobs[0].number}
    scene.say(DOWN)
    assert scene.pending == []


def test_a_check_that_has_just_begun_at_the_provider_is_kept(scene: Scene) -> None:
    """The person hung up a moment too early for its page; their next login shows it."""
    scene.ssh(1)
    scene.say(None)
    scene.hang_up(1)
    scene.say(PAGE)
    assert scene.jobs == []
    scene.ssh(2)
    assert scene.standing == {2: PAGE}


@pytest.mark.parametrize(
    ("answer", "told"),
    [(None, None), (PASSED, PASSED), (REFUSED, REFUSED), (PAGE, None)],
    ids=["nothing", "passed", "refused", "begun by asking"],
)
def test_a_method_that_cannot_wait_asks_once(scene: Scene, answer: Answer, told: Passed | Refused | None) -> None:
    """It begins no check, and polls none."""
    scene.script(1)
    assert scene.steps == [Ask()]
    scene.say(answer)
    assert scene.told == {1: told}
    assert scene.jobs == []


@pytest.mark.parametrize(
    "answer",
    [Unanswered(), Unanswered(slow_down=True), DOWN, Lost("?"), NEXT, None],
    ids=lambda answer: repr(answer)[:12],
)
def test_a_method_that_cannot_wait_looks_once_at_what_is_pending(scene: Scene, answer: Answer) -> None:
    """Whatever is said, it is told that a check is needed."""
    shown(scene, 1)
    scene.hang_up(1)
    scene.say(Unanswered())
    scene.script(2)
    scene.say(answer)
    assert scene.told == {2: None}
    assert scene.jobs == []


def test_a_method_that_cannot_wait_does_not_disturb(scene: Scene) -> None:
    """While a poll runs for others, or before it is time for the next one, it is told so at once."""
    page = hold(interval=5.0)
    shown(scene, 1, page=page)
    scene.script(2)
    assert scene.told == {2: None}
    scene.later(5.0)
    assert scene.steps == [Poll(page)]
    scene.script(3)
    assert scene.told == {2: None, 3: None}
    scene.say(Unanswered())
    scene.hang_up(1)
    scene.later(4.0)
    scene.script(4)
    assert (scene.told[4], scene.jobs) == (None, [])
    scene.later(1.0)
    scene.script(5)
    assert scene.steps == [Poll(page)]


def test_a_glance_becomes_a_wait_when_somebody_comes_who_can(scene: Scene) -> None:
    """The method that cannot wait is told, the person is prompted."""
    scene.script(1)
    scene.ssh(2)
    scene.say(None)
    assert scene.told == {1: None}
    scene.say(PAGE)
    assert scene.standing == {2: PAGE}


def test_a_new_page_is_shown_to_whoever_waits(scene: Scene) -> None:
    """At once where Enter was pressed, else at Enter; and to who comes then."""
    shown(scene, 1, 2)
    scene.enter(1)
    scene.say(NEXT)
    assert scene.standing == {1: NEXT, 2: PAGE}
    scene.enter(2)
    assert scene.standing == {1: NEXT, 2: NEXT}
    scene.ssh(3)
    assert scene.standing[3] == NEXT


def test_a_page_that_is_lost_is_shown_to_nobody_new(scene: Scene) -> None:
    """Who comes while the next one is being asked for waits for that."""
    shown(scene, 1)
    scene.say(Lost("?"))
    scene.ssh(2)
    assert scene.standing == {1: PAGE}
    scene.say(None)
    for connection in (3, 4, 5):
        scene.ssh(connection)
    told = scene.told[5]
    assert isinstance(told, Refused)
    assert told.message == ""
    scene.say(NEXT)
    assert scene.standing == {1: PAGE, 2: NEXT, 3: NEXT, 4: NEXT}


def test_trouble_while_a_page_is_shown_is_not_the_end(scene: Scene) -> None:
    """It is polled again, after a pause that grows."""
    shown(scene, 1)
    scene.say(DOWN)
    assert scene.jobs == []
    scene.later(1.0)
    assert scene.steps == [Poll(PAGE)]
    scene.say(DOWN)
    scene.later(1.0)
    assert scene.jobs == []
    scene.later(1.0)
    scene.say(PASSED)
    scene.enter(1)
    assert scene.told == {1: PASSED}


def test_trouble_before_a_page_is_shown_refuses_everyone_it_is_about(scene: Scene) -> None:
    """Whoever asks for another account finds out themselves."""
    scene.ssh(1)
    scene.script(2)
    scene.ssh(3, ROOT)
    scene.say(DOWN)
    refused = Refused(Reason.CHECK_UNAVAILABLE, DOWN.detail)
    assert scene.told == {1: refused, 2: refused}
    assert [job.demand for job in scene.jobs] == [ROOT]


def test_polls_keep_their_distance_whoever_comes_and_goes(scene: Scene) -> None:
    """A person who hangs up and comes again does not make us poll faster (RFC 8628 section 3.5)."""
    page = hold(interval=5.0)
    shown(scene, 1, page=page)
    for connection in range(2, 8):
        scene.hang_up(connection - 1)
        scene.ssh(connection)
        assert scene.jobs == []
    scene.later(5.0)
    assert scene.steps == [Poll(page)]


def test_a_host_has_room_for_so_many_checks(scene: Scene) -> None:
    """One more is refused, until one is over."""
    for number in range(PENDING_MAX):
        one = dataclasses.replace(DEMAND, peer=dataclasses.replace(PEER, stable_id=f"n{number}"))
        scene.script(number, one)
        scene.say(PAGE)
    assert len(scene.pending) == PENDING_MAX
    scene.ssh(PENDING_MAX)
    told = scene.told[PENDING_MAX]
    assert isinstance(told, Refused)
    assert told.reason is Reason.CHECK_BUSY
    scene.later(PAGE.lifetime)
    scene.ssh(PENDING_MAX + 1)
    assert PENDING_MAX + 1 not in scene.told


def rejected(scene: Scene, times: int, demand: Demand = DEMAND) -> None:
    """A person begins a check and rejects it, so many times."""
    for _ in range(times):
        scene.ssh(1, demand)
        scene.say(None, PAGE, REFUSED)
        scene.enter(1)
        del scene.told[1]


def test_a_person_begins_so_many_checks(scene: Scene) -> None:
    """One more is refused, unless another person or node begins it, until some time has passed."""
    rejected(scene, BEGINNINGS_MAX)
    scene.ssh(2)
    told = scene.told[2]
    assert isinstance(told, Refused)
    assert told.reason is Reason.CHECK_BUSY
    assert scene.jobs == []
    rejected(scene, 1, BOB)
    rejected(scene, 1, PHONE)
    scene.later(BEGINNINGS_WINDOW)
    rejected(scene, BEGINNINGS_MAX)
    scene.ssh(3)
    assert isinstance(scene.told[3], Refused)


def test_forgetting_ends_what_is_pending(scene: Scene) -> None:
    """Of that person, on all nodes, and of nobody else; late answers count for nothing."""
    shown(scene, 1)
    shown(scene, 2, demand=PHONE)
    shown(scene, 3, demand=BOB)
    scene.script(4, ROOT)
    scene.enter(2)
    scene.forget(PEER.login)
    assert [one.demand for one in scene.pending] == [BOB]
    assert scene.cancelled == {job.number for job in scene.jobs if job.demand != BOB}
    scene.enter(1)
    for connection in (1, 2):
        told = scene.told[connection]
        assert isinstance(told, Refused)
        assert told.reason is Reason.CHECK_REJECTED
    scene.ssh(5)
    scene.say(PASSED, PASSED)
    assert 5 not in scene.told
    assert 5 not in scene.standing
    assert scene.told[4] is None


def test_a_person_is_forgotten_however_they_are_written(scene: Scene) -> None:
    """The administrator types a name as they know it; a check that waits, and a verdict that does."""
    shown(scene, 1)
    scene.forget("Alice@Example.com")
    assert scene.pending == []
    scene.enter(1)
    assert isinstance(scene.told[1], Refused)
    shown(scene, 2)
    scene.say(None, PASSED)
    scene.forget("ALICE@EXAMPLE.COM")
    scene.enter(2)
    assert isinstance(scene.told[2], Refused)


def test_forgetting_takes_back_a_verdict_that_is_not_told_yet(scene: Scene) -> None:
    """Approved, forgotten, and only then Enter: that opens nothing."""
    shown(scene, 1)
    shown(scene, 2, demand=BOB)
    scene.say(PASSED, PASSED)
    scene.forget(PEER.login)
    scene.enter(1)
    scene.enter(2)
    assert isinstance(scene.told[1], Refused)
    assert scene.told[2] == PASSED


def test_the_answer_of_a_job_counts_once(scene: Scene) -> None:
    """Whoever brings it twice, or brings what nobody asked for, changes nothing."""
    scene.ssh(1)
    job = scene.jobs[0]
    scene.finish(job, None)
    scene.finish(job, PASSED)
    scene.finish(dataclasses.replace(job, number=job.number + 100), PASSED)
    assert scene.told == {}


def test_the_answer_of_a_cancelled_poll_is_taken(scene: Scene) -> None:
    """Somebody came again before it was there: it is about them, too."""
    shown(scene, 1)
    scene.hang_up(1)
    scene.script(2)
    assert scene.told == {2: None}
    scene.ssh(3)
    scene.enter(3)
    assert scene.steps == [Poll(PAGE)]
    scene.say(PASSED)
    assert scene.told[3] == PASSED


def test_enter_where_no_prompt_stands_says_nothing(scene: Scene) -> None:
    """A module that speaks out of turn neither goes on nor waits longer."""
    shown(scene, 1)
    scene.enter(1)
    due = scene.desk.next_due()
    scene.now += 1
    assert scene.desk.entered(1, scene.now) == []
    assert scene.desk.next_due() == due


def test_whoever_hangs_up_is_never_told_anything(scene: Scene) -> None:
    """At a prompt, after Enter, with a verdict that waits for Enter: the number may be another's by then."""
    shown(scene, 1, 2, 3)
    scene.enter(2)
    scene.hang_up(1)
    scene.hang_up(2)
    scene.say(REFUSED)
    scene.hang_up(3)
    assert scene.told == {}
    assert scene.desk.entered(3, scene.now) == []
    assert (scene.jobs, scene.pending, scene.desk.next_due()) == ([], [], None)


def test_a_check_that_was_lost_and_left_is_not_begun_by_a_method_that_cannot_wait(scene: Scene) -> None:
    """Nobody would see its page."""
    shown(scene, 1)
    scene.say(Lost("?"))
    scene.hang_up(1)
    scene.say(None)
    scene.script(2)
    assert scene.steps == [Ask()]


def test_who_waits_without_a_page_is_not_looked_at_without_a_pause(scene: Scene) -> None:
    """The others of an approval, while a slow provider is asked about them; nor are they prompted with nothing."""
    shown(scene, 1, 2)
    scene.enter(1)
    scene.enter(2)
    scene.say(PASSED)
    scene.later(PATIENCE + 5)
    assert (scene.told, scene.standing) == ({1: PASSED}, {})
    scene.say(None, NEXT)
    assert scene.standing == {2: NEXT}
