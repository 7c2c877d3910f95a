"""The two threads of the refresher ask tailscaled in turns."""

import threading
from collections.abc import Iterator
from typing import cast

import pytest

from pam_tailscale.agent.refresh import Refresher
from pam_tailscale.agent.store import KnowledgeStore
from pam_tailscale.model import parse_address
from pam_tailscale.policy.rules import Policy
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import BusEvent, Netmap, Prefs, Status
from tests.support.waiting import wait_until

ADDRESS = parse_address("100.64.0.1")
STATUS = Status("1.104.5", "Running", True, "n1", "server", (ADDRESS,), "", (), "t1", "tailnet", ())  # noqa: FBT003
PREFS = Prefs("https://control.example", False, True, False, "", False)  # noqa: FBT003
EVENT = BusEvent(self_change=True, peers_changed=False, state=None, prefs=None)
NETMAP = Netmap(cached=False, self_stable_id="n1", self_addresses=(ADDRESS,), policy=Policy("netmap", ()), bytes_read=1)


class Slow:
    """A LocalAPI that lingers in its first question until a second one comes in beside it, or for a while."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.answered = 0
        self.overlapped = False
        self._inside = 0
        self._second = threading.Event()

    def status(self) -> Status:
        self._inside += 1
        if self._inside > 1:
            self.overlapped = True
            self._second.set()
        self.entered.set()
        if not self.answered:
            self._second.wait(0.3)
        self._inside -= 1
        self.answered += 1
        return STATUS

    def prefs(self) -> Prefs:
        return PREFS


def test_both_threads_never_ask_at_the_same_time() -> None:
    """A change on the bus while the policy is read does not mix up two questions on one connection."""
    api, ended = Slow(), threading.Event()

    def watch(stop: threading.Event) -> Iterator[BusEvent]:
        yield EVENT
        stop.wait()
        ended.set()

    refresher = Refresher(KnowledgeStore(), cast(LocalAPI, api), watch, lambda _: NETMAP, lambda _: 7)
    refresher.start()
    try:
        assert api.entered.wait(10)
        refresher.again()
        wait_until(lambda: api.answered >= 3, 10, "the bus and the policy thread have both asked")
    finally:
        refresher.stop()
    assert ended.is_set()
    assert not api.overlapped


class Quick:
    """A LocalAPI that answers at once."""

    def status(self) -> Status:
        return STATUS

    def prefs(self) -> Prefs:
        return PREFS


def quiet_watch(stop: threading.Event) -> Iterator[BusEvent]:
    """A bus with one event."""
    yield EVENT
    stop.wait()


def test_a_mistake_while_hearing_the_bus_counts_as_its_silence(caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise what is known would look fresh for ever. The thread goes on, and the journal has the mistake."""
    store, failed, again = KnowledgeStore(), threading.Event(), threading.Event()

    def watch(stop: threading.Event) -> Iterator[BusEvent]:
        yield EVENT
        if not failed.is_set():
            failed.set()
            raise ZeroDivisionError
        again.wait(10)
        yield EVENT
        stop.wait()

    refresher = Refresher(store, cast(LocalAPI, Quick()), watch, lambda _: NETMAP, lambda _: 7)
    refresher.start()
    try:
        assert failed.wait(10)
        wait_until(lambda: "hearing tailscaled's bus failed" in caplog.text, 10, "the mistake is logged")
        wait_until(lambda: not store.snapshot(0.0).bus_live, 10, "the knowledge ages")
        again.set()
        wait_until(lambda: store.snapshot(0.0).bus_live, 10, "the bus is heard again")
        assert refresher.alive
    finally:
        again.set()
        refresher.stop()


def test_a_mistake_while_reading_the_policy_leaves_none_in_force(caplog: pytest.LogCaptureFixture) -> None:
    """And it is read again."""
    store, broken = KnowledgeStore(), threading.Event()

    def read(_: str) -> Netmap:
        if broken.is_set():
            raise ZeroDivisionError
        return NETMAP

    refresher = Refresher(store, cast(LocalAPI, Quick()), quiet_watch, read, lambda _: 7)
    refresher.start()
    try:
        wait_until(lambda: store.snapshot(0.0).knowledge.policies, 10, "the policy is read")
        broken.set()
        refresher.again()
        wait_until(lambda: not store.snapshot(0.0).knowledge.policies, 10, "no policy is in force")
        assert "reading the tailnet's policy failed" in caplog.text
        broken.clear()
        wait_until(lambda: store.snapshot(0.0).knowledge.policies, 10, "the policy is read again")
    finally:
        refresher.stop()
