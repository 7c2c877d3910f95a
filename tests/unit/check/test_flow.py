"""One check as a script: what is to be done, what came of it, and the verdict at the end."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pam_tailscale.check.flow import (
    BACKOFF,
    BEGINNINGS_MAX,
    HOPS_MAX,
    Answer,
    Ask,
    Begin,
    Flow,
    Hold,
    Lost,
    Passed,
    Poll,
    Refused,
    Show,
    Step,
    Trouble,
    Unanswered,
    Verdict,
    Wait,
    pursue,
)
from pam_tailscale.model import Reason
from tests.support.checks import hold

PASSED = Passed("welcome", 1.0)
REFUSED = Refused(Reason.CHECK_REJECTED, "no", "go away")
DOWN = Trouble("the provider is down: start it")
SLOWER = Unanswered(slow_down=True)
LOST = Lost("unknown code")
HELD = hold()
"""The provider keeps its answer back until the person has acted."""
POLLED = hold("polled", interval=5.0)
"""The provider answers at once, and is asked every 5 seconds."""


@dataclass(frozen=True)
class After:
    """An answer that took some seconds to come."""

    seconds: float
    answer: Answer


Script = list[Step | After | Answer]


def play(script: Script) -> Step | Verdict:
    """Send the answers of a script, in which each stands after its step; what comes after the last line.

    Waiting takes the time it says, showing none.
    """
    course, now, lines = pursue(), 0.0, iter(script)
    step: Step | Verdict = next(course)
    for expected in lines:
        assert step == expected
        answer: Answer = None
        if isinstance(step, Wait):
            now += step.seconds
        elif not isinstance(step, Show):
            line = next(lines)
            seconds, answer = (line.seconds, line.answer) if isinstance(line, After) else (0.0, line)  # type: ignore[assignment]
            now += seconds
        step = _next(course, now, answer)
        if isinstance(step, Passed | Refused):
            assert list(lines) == []
    return step


def _next(course: Flow, now: float, answer: Answer) -> Step | Verdict:
    try:
        return course.send((now, answer))
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict


def begun(page: Hold) -> Script:
    """Nothing is remembered, and a check begins."""
    return [Ask(), None, Begin(), page, Show(page)]


def lost(times: int) -> Script:
    """A check that began and was lost, so many times."""
    return [*begun(HELD), Poll(HELD), LOST] * times


@pytest.mark.parametrize("end", [PASSED, REFUSED], ids=["passed", "refused"])
@pytest.mark.parametrize(
    "script",
    [
        [Ask()],
        [Ask(), None, Begin()],
        [*begun(HELD), Poll(HELD)],
        [*begun(POLLED), Wait(5.0), Poll(POLLED)],
        [Ask(), HELD, Show(HELD), Poll(HELD)],
        [*begun(HELD), Poll(HELD), Unanswered(), Poll(HELD)],
        [*begun(HELD), Poll(HELD), DOWN, Wait(BACKOFF[0]), Poll(HELD)],
        [*begun(HELD), Poll(HELD), POLLED, Show(POLLED), Wait(5.0), Poll(POLLED)],
        [*lost(1), Ask()],
        [*lost(1), *begun(POLLED), Wait(5.0), Poll(POLLED)],
        [*lost(1), Ask(), DOWN, Wait(BACKOFF[0]), Ask()],
    ],
    ids=[
        "what was remembered",
        "the beginning",
        "the first poll",
        "the first poll, at its time",
        "a check that asking began",
        "a later poll",
        "after trouble",
        "another page",
        "remembered after a loss",
        "begun anew after a loss",
        "after trouble after a loss",
    ],
)
def test_the_providers_verdict_is_the_end_wherever_it_comes(script: Script, end: Verdict) -> None:
    """Passed and Refused are handed on as they are: message, detail and all."""
    assert play([*script, end]) is end


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ([Ask(), DOWN], DOWN.detail),
        ([Ask(), None, Begin(), DOWN], DOWN.detail),
        ([Ask(), dataclasses.replace(DOWN, retry_after=60.0)], DOWN.detail),
        ([Ask(), Unanswered()], "out of turn"),
        ([Ask(), LOST], "out of turn"),
        ([Ask(), None, Begin(), None], "out of turn"),
        ([*lost(1), Ask(), None, Begin(), SLOWER], "out of turn"),
    ],
    ids=["asking", "beginning", "told to wait", "unanswered", "lost", "nothing begun", "later out of turn"],
)
def test_what_fails_before_anything_is_shown_refuses(script: Script, told: str) -> None:
    """Nobody has been promised anything yet; the administrator reads why."""
    end = play(script)
    assert isinstance(end, Refused)
    assert end.reason is Reason.CHECK_UNAVAILABLE
    assert told in end.detail
    assert end.message == ""


@pytest.mark.parametrize(
    ("script", "step"),
    [
        ([], Ask()),
        ([Ask(), None], Begin()),
        ([Ask(), None, Begin(), HELD], Show(HELD)),
        ([Ask(), HELD], Show(HELD)),
        (begun(HELD), Poll(HELD)),
        (begun(POLLED), Wait(5.0)),
    ],
    ids=["first", "nothing remembered", "begun", "begun by asking", "held", "polled"],
)
def test_the_way_to_the_first_poll(script: Script, step: Step) -> None:
    """Ask before beginning, show before polling, and poll at once only where the provider keeps the answer back."""
    assert play(script) == step


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        ([Unanswered()] * 3, [5.0, 5.0, 5.0]),
        ([SLOWER], [10.0]),
        ([SLOWER, SLOWER, Unanswered()], [10.0, 15.0, 15.0]),
        ([DOWN] * 6, [5.0, 5.0, 5.0, 8.0, 15.0, 15.0]),
        ([DOWN, DOWN, DOWN, DOWN, Unanswered(), DOWN], [5.0, 5.0, 5.0, 8.0, 5.0, 5.0]),
        ([SLOWER, DOWN, DOWN, DOWN, DOWN, DOWN, Unanswered()], [10.0, 10.0, 10.0, 10.0, 10.0, 15.0, 10.0]),
        ([Trouble("busy", retry_after=2.0)], [5.0]),
        ([Trouble("busy", retry_after=40.0), DOWN, Unanswered()], [40.0, 5.0, 5.0]),
    ],
    ids=["usual", "slower", "slower again", "trouble", "over", "both", "a short rest", "a rest"],
)
def test_pauses_between_polls(answers: list[Answer], pauses: list[float]) -> None:
    """slow_down adds 5 s for good, trouble backs off until it is over, and Retry-After is never undercut."""
    script: Script = [*begun(POLLED), Wait(5.0)]
    for answer, pause in zip(answers, pauses, strict=True):
        script += [Poll(POLLED), answer, Wait(pause)]
    assert play(script) == Poll(POLLED)


@pytest.mark.parametrize(
    ("answers", "pauses"),
    [
        ([Unanswered()] * 3, [0.0, 0.0, 0.0]),
        ([SLOWER, Unanswered()], [5.0, 5.0]),
        ([DOWN] * 7, [1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]),
        ([DOWN, DOWN, Unanswered(), DOWN], [1.0, 2.0, 0.0, 1.0]),
        ([Trouble("busy", retry_after=40.0), DOWN], [40.0, 2.0]),
    ],
    ids=["usual", "slower", "trouble", "over", "a rest"],
)
def test_pauses_where_the_provider_keeps_its_answer_back(answers: list[Answer], pauses: list[float]) -> None:
    """It is asked again at once, unless it has failed."""
    script = begun(HELD)
    for answer, pause in zip(answers, pauses, strict=True):
        script += [Poll(HELD), After(20.0, answer)]
        script += [Wait(pause)] if pause else []
    assert play(script) == Poll(HELD)


def test_trouble_after_a_loss_is_waited_out() -> None:
    """Somebody waits, and it worked a moment ago: a control plane that restarts makes us ask again, not fail."""
    resting = Trouble("starting", retry_after=30.0)
    script: Script = [*lost(1), Ask(), DOWN, Wait(BACKOFF[0]), Ask(), None, Begin(), resting, Wait(30.0), *begun(HELD)]
    assert play(script) == Poll(HELD)


def test_trouble_after_a_loss_does_not_last_forever() -> None:
    """Half a minute; no try of it counts as a beginning."""
    script = lost(1)
    for pause in BACKOFF:
        script += [Ask(), DOWN, Wait(pause)]
    assert play([*script, *begun(HELD)]) == Poll(HELD)
    end = play([*script, Ask(), DOWN])
    assert isinstance(end, Refused)
    assert (end.reason, end.detail) == (Reason.CHECK_UNAVAILABLE, DOWN.detail)


@pytest.mark.parametrize("times", range(1, BEGINNINGS_MAX))
def test_what_is_lost_begins_anew(times: int) -> None:
    """With a question first: it may have been passed meanwhile."""
    assert play(lost(times)) == Ask()


def test_what_is_lost_again_and_again_ends() -> None:
    """Nobody is sent from page to page for ever."""
    end = play(lost(BEGINNINGS_MAX))
    assert isinstance(end, Refused)
    assert end.reason is Reason.CHECK_EXPIRED


@pytest.mark.parametrize("answer", [Unanswered(), DOWN, dataclasses.replace(DOWN, retry_after=900.0)], ids=repr)
def test_a_check_ends_with_its_lifetime(answer: Answer) -> None:
    """It is not polled after that, and begins anew: the person reads another page."""
    page = hold(interval=5.0, lifetime=12.0)
    script: Script = [*begun(page), Wait(5.0), Poll(page), After(8.0, answer)]
    assert play(script) == Ask()


def test_a_lifetime_is_counted_from_when_the_page_is_shown() -> None:
    """One that is over at once is never polled."""
    page = hold(lifetime=0.0)
    assert play(begun(page)) == Ask()
    assert play(begun(page) * BEGINNINGS_MAX) == Refused(
        Reason.CHECK_EXPIRED, "nobody approved the check in time, however often it began anew"
    )


def test_each_page_has_its_own_lifetime_and_interval() -> None:
    """Nothing of the one before goes on: not its time, not its slow_down."""
    first, second = hold("one", interval=5.0, lifetime=30.0), hold("two", interval=7.0, lifetime=30.0)
    script: Script = [*begun(first), Wait(5.0), Poll(first), SLOWER, Wait(10.0), Poll(first), second]
    script += [Show(second), Wait(7.0), Poll(second), After(20.0, Unanswered()), Wait(7.0), Poll(second)]
    assert play([*script, Unanswered()]) == Ask()


def pages(interval: float = 0.0) -> Iterator[Hold]:
    """One page after the other."""
    return (hold(f"page {number}", interval=interval) for number in itertools.count())


@pytest.mark.parametrize(("interval", "pause"), [(0.0, 1.0), (0.5, 1.0), (7.0, 7.0)], ids=["held", "hasty", "polled"])
def test_page_after_page_is_paused_and_bounded(interval: float, pause: float) -> None:
    """A provider that sends from one to the next is asked at most once a second, and then from the beginning."""
    following = pages(interval)
    page = next(following)
    script = begun(page)
    for hop in range(HOPS_MAX):
        pauses = [Wait(pause if hop else interval)] if hop or interval else []
        script += [*pauses, Poll(page), page := next(following)]
        script += [Show(page)] if hop < HOPS_MAX - 1 else []
    assert play(script) == Ask()


def test_no_provider_keeps_a_check_running_without_time_passing() -> None:
    """Whatever it answers, again and again, and at once: the check ends, or waits."""
    answers: list[Answer] = [None, LOST, DOWN, HELD, POLLED, hold(lifetime=0.0)]
    for asked, started, polled in itertools.product(answers, repeat=3):
        course = pursue()
        step: Step | Verdict = next(course)
        for _ in range(10 * BEGINNINGS_MAX):
            if isinstance(step, Wait | Passed | Refused):
                break
            step = _next(course, 0.0, {Ask: asked, Begin: started, Poll: polled}.get(type(step)))
        assert isinstance(step, Wait | Passed | Refused)
