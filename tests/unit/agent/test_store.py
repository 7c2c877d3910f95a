"""What the agent knows: replaced whole, with a generation that no change escapes and an age that no silence hides."""

import dataclasses
import threading

from pam_tailscale.agent.store import STARTING, KnowledgeStore
from pam_tailscale.model import Reason
from pam_tailscale.policy.facts import Knowledge
from tests.support.facts import knowledge, rule

KNOWN = knowledge()


def test_it_begins_knowing_nothing() -> None:
    """And says so, with a problem that refuses."""
    snapshot = KnowledgeStore().snapshot(5.0)
    assert snapshot.knowledge is STARTING
    assert snapshot.knowledge.problem is not None
    assert snapshot.knowledge.problem.reason is Reason.AGENT_STARTING
    assert not snapshot.bus_live


def test_a_change_replaces_the_whole() -> None:
    """And is a new generation."""
    store = KnowledgeStore()
    before = store.snapshot(0.0)
    store.change(lambda _: KNOWN, 1.0)
    after = store.snapshot(1.0)
    assert after.knowledge is KNOWN
    assert after.generation != before.generation
    assert before.knowledge is STARTING


def test_reading_the_same_again_only_renews_the_age() -> None:
    """The object and the generation stay, so that a login in between need not be asked again."""
    store = KnowledgeStore()
    store.change(lambda _: KNOWN, 1.0)
    first = store.snapshot(31.0)
    store.change(lambda known: dataclasses.replace(known, policies=knowledge(rule({"alice": "alice"})).policies), 30.0)
    second = store.snapshot(31.0)
    assert (first.age, second.age) == (30.0, 1.0)
    assert second.generation == first.generation
    assert second.knowledge is first.knowledge


def test_there_and_back_again_is_another_generation() -> None:
    """Two equal values with something else in between differ."""
    store = KnowledgeStore()
    store.change(lambda _: KNOWN, 1.0)
    first = store.snapshot(1.0)
    store.change(lambda known: dataclasses.replace(known, control_url="https://elsewhere"), 2.0)
    store.change(lambda _: knowledge(), 3.0)
    second = store.snapshot(3.0)
    assert second.knowledge == first.knowledge
    assert second.generation != first.generation
    assert second.knowledge is not first.knowledge


def test_with_a_live_bus_knowledge_does_not_age() -> None:
    """From its end on it does, counted from then."""
    store = KnowledgeStore()
    store.change(lambda _: KNOWN, 1.0)
    store.bus(2.0, live=True)
    assert store.snapshot(1000.0).age == 0.0
    live = store.snapshot(1000.0)
    store.bus(1000.0, live=False)
    assert store.snapshot(1007.0).age == 7.0
    assert store.snapshot(1007.0).generation != live.generation


def test_a_bus_that_stays_down_does_not_make_knowledge_younger() -> None:
    """Each attempt to hear it says again that it is down."""
    store = KnowledgeStore()
    store.change(lambda _: KNOWN, 1.0)
    store.bus(2.0, live=True)
    for now in (10.0, 20.0, 30.0):
        store.bus(now, live=False)
    assert store.snapshot(70.0).age == 60.0


def test_the_policys_age_is_its_own() -> None:
    """Only a reading of the policy renews it."""
    store = KnowledgeStore()
    store.change(lambda _: KNOWN, 1.0, policy_read=True)
    store.change(lambda known: dataclasses.replace(known, version="1.106.0"), 9.0)
    assert store.snapshot(10.0).policy_age == 9.0


def test_no_change_is_lost_between_writers() -> None:
    """Two threads each add their own."""
    store = KnowledgeStore()
    store.change(lambda _: knowledge(warnings=()), 0.0)

    def add(known: Knowledge) -> Knowledge:
        return dataclasses.replace(known, warnings=(*known.warnings, "x"))

    def write() -> None:
        for _ in range(100):
            store.change(add, 0.0)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.snapshot(0.0).knowledge.warnings) == 400
