"""What the agent learns of tailscaled, from what, and when: played by objects that are told what to say."""

import dataclasses
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest

from pam_tailscale.agent import refresh
from pam_tailscale.agent.refresh import (
    Refresher,
    identified,
    own_node,
    tailscaled_problem,
    warnings,
    with_policy,
    without_policy,
)
from pam_tailscale.agent.store import STARTING, KnowledgeStore, Snapshot
from pam_tailscale.errors import PolicyShapeError, TailscaledError, TailscaledNotRootError
from pam_tailscale.model import IPAddress, Reason
from pam_tailscale.policy.facts import Knowledge, Problem
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Policy
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL, BusDown, BusEvent, Netmap, Prefs, Status
from tests.support.facts import CLIENT, CONTROL_URL, INTERFACE, SERVER, knowledge, policy, rule
from tests.support.waiting import wait_until

STATUS = Status(
    version="1.104.5",
    backend_state="Running",
    tun=True,
    self_stable_id="n1CNTRL",
    self_name="server.tailnet.example",
    self_addresses=(SERVER,),
    self_user="",
    self_tags=("tag:server",),
    tailnet_id="tTAILNET",
    tailnet_name="tailnet.example",
    health=(),
)
PREFS = Prefs(
    control_url=CONTROL_URL, run_ssh=False, want_running=True, logged_out=False, operator_user="", shields_up=False
)
POLICY = policy(rule({"alice": "="}))
NETMAP = Netmap(cached=False, self_stable_id="n1CNTRL", self_addresses=(SERVER,), policy=POLICY, bytes_read=100)
EVENT = BusEvent(self_change=True, peers_changed=False, state=None, prefs=None)
DOWN = BusDown("tailscaled closed its bus")

T = TypeVar("T")


@dataclass
class Tailscaled:
    """What tailscaled says; an error is raised in place of its answer."""

    status_: Status | TailscaledError = STATUS
    prefs_: Prefs | TailscaledError = PREFS
    netmap: Netmap | Exception = NETMAP
    interface: int | TailscaledError | None = INTERFACE
    interfaces: dict[IPAddress, int | TailscaledError | None] = field(default_factory=dict)
    reads: int = 0
    asked: int = 0
    versions: list[str] = field(default_factory=list)
    run: int = 0
    before_netmap: Callable[[], None] = lambda: None
    _events: queue.Queue[BusEvent | BusDown] = field(default_factory=queue.Queue)

    def status(self) -> Status:
        self.asked += 1
        return _or_raise(self.status_)

    def prefs(self) -> Prefs:
        return _or_raise(self.prefs_)

    def read_netmap(self, version: str) -> Netmap:
        netmap = self.netmap
        self.before_netmap()
        self.versions.append(version)
        self.reads += 1
        return _or_raise(netmap)

    def interface_of(self, address: IPAddress) -> int | None:
        return _or_raise(self.interfaces.get(address, self.interface))

    def tell(self, event: BusEvent | BusDown = EVENT) -> None:
        """Put something on the bus."""
        self._events.put(event)

    def watch(self, stop: threading.Event) -> Iterator[BusEvent | BusDown]:
        while not stop.is_set():
            try:
                yield self._events.get(timeout=0.02)
            except queue.Empty:
                continue


def _or_raise(value: T | Exception) -> T:
    if isinstance(value, Exception):
        raise value
    return value


@dataclass
class Running:
    """A refresher at work."""

    tailscaled: Tailscaled
    store: KnowledgeStore
    refresher: Refresher

    @property
    def snapshot(self) -> Snapshot:
        return self.store.snapshot(0.0)

    @property
    def known(self) -> Knowledge:
        return self.snapshot.knowledge

    def until(self, predicate: Callable[[], object], what: str) -> None:
        wait_until(predicate, 10, what)


@contextmanager
def running(tailscaled: Tailscaled) -> Iterator[Running]:
    """Starts both threads and ends them."""
    store = KnowledgeStore()
    api = cast("LocalAPI", tailscaled)
    refresher = Refresher(
        store, api, tailscaled.watch, tailscaled.read_netmap, tailscaled.interface_of, lambda: tailscaled.run
    )
    refresher.start()
    try:
        yield Running(tailscaled, store, refresher)
    finally:
        refresher.stop()
    assert not refresher.alive


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is retried is retried at once."""
    monkeypatch.setattr(refresh, "RETRY", (0.01, 0.01))


def test_it_learns_all_at_the_first_event() -> None:
    """Who this is, and the policy."""
    with running(Tailscaled()) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policies, "the policy is read")
        assert agent.known == knowledge(
            policies=(POLICY,),
            self_addresses=frozenset({SERVER}),
            problem=None,
            policy_problem=None,
            own=Node("server.tailnet.example", (SERVER,), ("tag:server",), "", "n1CNTRL"),
        )
        assert agent.snapshot.bus_live
        assert agent.tailscaled.versions == ["1.104.5"] * agent.tailscaled.reads


def test_before_that_it_knows_nothing() -> None:
    """No event, no knowledge: every login is refused."""
    with running(Tailscaled()) as agent:
        assert agent.known is STARTING
        assert agent.refresher.alive


def test_a_changed_policy_is_read_at_the_next_event() -> None:
    """Whatever the event is."""
    with running(Tailscaled()) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policies == (POLICY,), "the policy is read")
        changed = policy(rule({"bob": "="}))
        agent.tailscaled.netmap = dataclasses.replace(NETMAP, policy=changed)
        agent.tailscaled.tell(dataclasses.replace(EVENT, self_change=False, state="Running"))
        agent.until(lambda: agent.known.policies == (changed,), "the changed policy is read")


def test_again_reads_without_an_event() -> None:
    """As after a reload."""
    with running(Tailscaled()) as agent:
        agent.refresher.again()
        agent.until(lambda: agent.known.policies, "the policy is read")
        assert not agent.snapshot.bus_live


def test_tailscaled_that_cannot_be_asked_is_a_problem_and_asked_again() -> None:
    """It comes later than the agent at boot."""
    tailscaled = Tailscaled(status_=TailscaledError("no socket"))
    with running(tailscaled) as agent:
        tailscaled.tell()
        agent.until(lambda: agent.known.problem not in (None, STARTING.problem), "the problem is known")
        assert agent.known.problem == Problem(Reason.TAILSCALED_UNREACHABLE, "no socket")
        tailscaled.status_ = STATUS
        agent.until(lambda: agent.known.policies and agent.known.problem is None, "it is asked again")


def test_a_listener_that_is_not_root_is_not_believed() -> None:
    """It has a reason of its own."""
    assert tailscaled_problem(TailscaledNotRootError("uid 7")).reason is Reason.TAILSCALED_NOT_ROOT
    assert tailscaled_problem(TailscaledError("x")).reason is Reason.TAILSCALED_UNREACHABLE


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TailscaledError("the reader is not there"), Reason.POLICY_UNAVAILABLE),
        (PolicyShapeError("a shape"), Reason.POLICY_SHAPE),
    ],
)
def test_a_policy_that_cannot_be_read_is_none(error: Exception, reason: Reason) -> None:
    """Also where there was one before: what is in force is not known any more. It is tried again."""
    with running(Tailscaled()) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policies, "the policy is read")
        agent.tailscaled.netmap = error
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policy_problem, "the policy is dropped")
        assert agent.known.policies == ()
        assert agent.known.policy_problem == Problem(reason, str(error))
        agent.tailscaled.netmap = NETMAP
        agent.until(lambda: agent.known.policies == (POLICY,), "it is tried again")


def test_a_cached_netmap_is_read_again() -> None:
    """Until the control plane has answered."""
    tailscaled = Tailscaled(netmap=dataclasses.replace(NETMAP, cached=True))
    with running(tailscaled) as agent:
        tailscaled.tell()
        agent.until(lambda: tailscaled.reads > 2, "it is tried again")
        assert agent.known.cached
        tailscaled.netmap = NETMAP
        agent.until(lambda: agent.known.policies and not agent.known.cached, "the netmap is fresh")


def test_a_bus_that_falls_silent_lets_knowledge_age() -> None:
    """What is known stays, but not for ever."""
    with running(Tailscaled()) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.snapshot.bus_live, "the bus is heard")
        agent.tailscaled.tell(DOWN)
        agent.until(lambda: not agent.snapshot.bus_live, "the bus is down")
        agent.tailscaled.tell()
        agent.until(lambda: agent.snapshot.bus_live, "the bus is heard again")


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"prefs_": dataclasses.replace(PREFS, control_url="https://evil.example")},
        {"status_": dataclasses.replace(STATUS, self_stable_id="n9CNTRL")},
        {"status_": dataclasses.replace(STATUS, tailnet_id="tOTHER")},
    ],
    ids=["control plane", "node", "tailnet"],
)
def test_a_policy_is_dropped_with_the_node_it_was_for(elsewhere: dict[str, Any]) -> None:
    """Before anything new is read."""
    with running(Tailscaled()) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policies, "the policy is read")
        agent.tailscaled.netmap = TailscaledError("not yet")
        for name, value in elsewhere.items():
            setattr(agent.tailscaled, name, value)
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policies == (), "the policy is dropped")


def test_the_policy_of_another_node_is_not_taken() -> None:
    """A netmap that is older or newer than what status said."""
    tailscaled = Tailscaled(netmap=dataclasses.replace(NETMAP, self_stable_id="n9CNTRL"))
    with running(tailscaled) as agent:
        tailscaled.tell()
        agent.until(lambda: tailscaled.reads > 2, "it is tried again")
        assert agent.known.policies == ()
        assert agent.known.policy_problem is not None


def test_a_policy_read_while_logged_in_elsewhere_is_not_taken() -> None:
    """There and back again during the reading, to a control plane where the node has the same id."""
    evil = policy(rule({"root": "root"}, {"accept": True}, {"any": True}))
    tailscaled = Tailscaled()
    seen: list[tuple[Policy, ...]] = []
    with running(tailscaled) as agent:

        def there_and_back() -> None:
            """The first reading is of the other control plane's netmap; the bus tells of both changes."""
            if tailscaled.reads:
                seen.append(agent.known.policies)
                return
            for control_url in ("https://evil.example", CONTROL_URL):
                tailscaled.prefs_ = dataclasses.replace(PREFS, control_url=control_url)
                tailscaled.tell()
                wait_until(lambda url=control_url: agent.known.control_url == url, 10, "the bus was heard")  # type: ignore[misc]
            tailscaled.netmap = NETMAP

        tailscaled.netmap = dataclasses.replace(NETMAP, policy=evil)
        tailscaled.before_netmap = there_and_back
        tailscaled.tell()
        agent.until(lambda: agent.known.policies == (POLICY,), "the right policy is read")
    assert all((evil,) != policies for policies in seen)


def test_nothing_is_read_while_tailscaled_is_not_running() -> None:
    """The change to Running is announced."""
    tailscaled = Tailscaled(status_=dataclasses.replace(STATUS, backend_state="NeedsLogin", self_stable_id=""))
    with running(tailscaled) as agent:
        tailscaled.tell()
        agent.until(lambda: agent.known.backend_state == "NeedsLogin", "the state is known")
        agent.refresher.again()
        agent.until(lambda: tailscaled.asked > 2, "it was looked at again")
        assert tailscaled.reads == 0
        tailscaled.status_ = STATUS
        tailscaled.tell()
        agent.until(lambda: agent.known.policies, "the policy is read")


def test_an_address_without_an_interface_is_not_the_last_word() -> None:
    """A host without IPv6 has only the other."""
    tailscaled = Tailscaled(status_=dataclasses.replace(STATUS, self_addresses=(CLIENT, SERVER)))
    tailscaled.interfaces = {CLIENT: None}
    with running(tailscaled) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policies, "the policy is read")
        assert agent.known.interface == INTERFACE


def test_an_interface_that_is_not_found_is_none() -> None:
    """Then no login's way back is right."""
    with running(Tailscaled(interface=TailscaledError("netlink"))) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.policies, "the policy is read")
        assert agent.known.interface is None


def test_a_trouble_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not at every attempt."""
    tailscaled = Tailscaled(netmap=TailscaledError("the reader is not there"))
    with running(tailscaled) as agent:
        tailscaled.tell()
        agent.until(lambda: tailscaled.reads > 5, "it is tried again and again")
    assert caplog.text.count("the reader is not there") == 1


def test_identified_takes_all_of_it() -> None:
    """And clears the problem of not having been asked."""
    known = identified(STARTING, STATUS, PREFS, 5)
    assert known.problem is None
    assert (known.backend_state, known.version, known.interface) == ("Running", "1.104.5", 5)
    assert (known.control_url, known.node_id, known.tailnet_id) == (CONTROL_URL, "n1CNTRL", "tTAILNET")
    assert known.self_addresses == {SERVER}


def test_an_empty_control_url_is_tailscales_own() -> None:
    """ipn/prefs.go: so that a pin has something to hold it against."""
    known = identified(STARTING, STATUS, dataclasses.replace(PREFS, control_url=""), 5)
    assert known.control_url == DEFAULT_CONTROL_URL


def test_what_does_not_concern_the_node_keeps_the_policy() -> None:
    """A new version, a new interface, a stop and start."""
    before = with_policy(identified(STARTING, STATUS, PREFS, 5), NETMAP)
    after = identified(before, dataclasses.replace(STATUS, version="1.106.0", backend_state="Stopped"), PREFS, 6)
    assert after.policies == (POLICY,)


def test_a_netmap_without_a_policy_lets_nobody_in() -> None:
    """It is a policy without rules, not a missing one: headscale sends none where no rule is."""
    known = with_policy(identified(STARTING, STATUS, PREFS, 5), dataclasses.replace(NETMAP, policy=None))
    assert known.policy_problem is None
    assert [list(one.rules) for one in known.policies] == [[]]


def test_without_policy_keeps_the_rest() -> None:
    """And says why."""
    problem = Problem(Reason.POLICY_UNAVAILABLE, "x")
    known = without_policy(knowledge(), problem)
    assert known == knowledge(policies=(), policy_problem=problem)


BOB = dataclasses.replace(PREFS, operator_user="bob")


def test_an_operator_is_remembered_until_tailscaled_starts_again() -> None:
    """Without the name in the settings any more, tailscaled is still where the operator led it."""
    tailscaled = Tailscaled(prefs_=BOB)
    with running(tailscaled) as agent:
        agent.tailscaled.tell()
        agent.until(lambda: agent.known.operator == "bob", "the operator is known")
        tailscaled.prefs_ = PREFS
        asked = tailscaled.asked
        agent.tailscaled.tell()
        agent.until(lambda: tailscaled.asked > asked + 1, "the settings are read again")
        assert agent.known.operator == "bob"
        tailscaled.run += 1
        agent.tailscaled.tell()
        agent.until(lambda: not agent.known.operator, "another tailscaled has no operator")


def test_an_operator_in_passing_is_noticed() -> None:
    """On the bus the name was there, though it is not when the settings are read."""
    with running(Tailscaled()) as agent:
        agent.tailscaled.tell(dataclasses.replace(EVENT, prefs=BOB))
        agent.until(lambda: agent.known.operator == "bob", "the operator is known")


WARNINGS = [
    ({}, {}, ""),
    ({"tun": False}, {}, "TUN"),
    ({}, {"run_ssh": True}, "tailscale set --ssh=false"),
    ({}, {"shields_up": True}, "shields"),
    ({}, {"operator_user": "bob"}, "'bob' is tailscale's operator"),
]


@pytest.mark.parametrize(("status", "prefs", "text"), WARNINGS)
def test_warnings(status: dict[str, Any], prefs: dict[str, Any], text: str) -> None:
    """Each setting that stands in the way, with what to do; none where all is well."""
    found = list(warnings(dataclasses.replace(STATUS, **status), dataclasses.replace(PREFS, **prefs)))
    assert len(found) == (1 if text else 0)
    assert all(text in one for one in found)


def test_the_two_threads_never_undo_each_other() -> None:
    """Events and readings at the same time, again and again: at rest all is known."""
    with running(Tailscaled()) as agent:
        for _ in range(60):
            agent.tailscaled.tell()
            agent.refresher.again()
        agent.until(lambda: agent.tailscaled.asked > 50 and agent.known.policies == (POLICY,), "all is known")
        assert agent.known.problem is None


def test_this_hosts_own_node() -> None:
    """A tagged one has no owner, whatever the status says; one that is logged out is none."""
    person = dataclasses.replace(STATUS, self_tags=(), self_user="alice@example.com")
    assert own_node(person) == Node("server.tailnet.example", (SERVER,), (), "alice@example.com", "n1CNTRL")
    tagged = dataclasses.replace(STATUS, self_user="tagged-devices")
    assert own_node(tagged) == Node("server.tailnet.example", (SERVER,), ("tag:server",), "", "n1CNTRL")
    assert own_node(dataclasses.replace(STATUS, self_stable_id="")) is None
