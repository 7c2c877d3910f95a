"""The provider that is made late: once, in whoever asks first, and answering as the real one does."""

import threading

from pam_tailscale.agent.deferred import Deferred
from pam_tailscale.check.flow import Passed, Provider, Unanswered
from pam_tailscale.model import Demand
from tests.support.checks import ScriptedProvider, hold
from tests.support.facts import CONNECTION, PEER

DEMAND = Demand(PEER, "alice", CONNECTION, "https://unused/", period=None)


def test_nothing_is_made_before_it_is_needed() -> None:
    """Neither by a login that looks for what is remembered, nor by the status."""
    made: list[Provider] = []

    def make() -> Provider:
        made.append(ScriptedProvider())
        return made[-1]

    deferred = Deferred(make)
    assert (deferred.recall(DEMAND, 0.0), deferred.problem(), deferred.name) == (None, "", "control")
    deferred.close()
    assert made == []
    deferred.prepare()
    assert len(made) == 1


def test_it_answers_as_the_real_one() -> None:
    """Each question is passed on."""
    real = ScriptedProvider(asked=Passed("asked"), begun=hold("begun"), trouble="down")
    deferred = Deferred(lambda: real)
    assert deferred.ask(DEMAND) == Passed("asked")
    assert deferred.begin(DEMAND) == hold("begun")
    assert deferred.poll(DEMAND, hold(), 0.0, lambda: True) == Unanswered()
    assert deferred.problem() == "down"
    deferred.close()
    assert real.questions == ["ask", "begin", "poll", "close"]


def test_two_who_ask_first_get_the_same() -> None:
    """A second connection to the control plane would never be closed."""
    made: list[Provider] = []
    together = threading.Barrier(2)

    def make() -> Provider:
        made.append(ScriptedProvider())
        return made[-1]

    deferred = Deferred(make)

    def ask() -> None:
        together.wait()
        deferred.ask(DEMAND)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
