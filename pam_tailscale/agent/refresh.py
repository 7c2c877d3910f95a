"""Keeps the knowledge of tailscaled true: one thread hears its bus, one reads the policy; both write the store.

Two threads, because they differ in time: that the node was logged in elsewhere must be known in milliseconds, a netmap
of a large tailnet takes a second to read, and whoever reads the bus slowly is cut off from it.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from pam_tailscale.agent.store import POLICY_PENDING, KnowledgeStore
from pam_tailscale.errors import PolicyShapeError, TailscaledError, TailscaledNotRootError
from pam_tailscale.model import IPAddress, Reason
from pam_tailscale.policy.decision import RUNNING
from pam_tailscale.policy.facts import Knowledge, Problem
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Policy
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL, BusDown, BusEvent, Netmap, Prefs, Status

POLL = 900.0
"""Seconds after which the policy is read again although nothing was announced."""
RETRY = (0.2, 1.0, 5.0, 15.0)
"""Seconds between readings that failed, or gave a cached netmap; the last one goes on."""
BUS = "tailscaled's bus is not heard"
STATUS = "tailscaled cannot be asked"
POLICY = "the tailnet's policy cannot be read"

log = logging.getLogger(__name__)


class Refresher:
    """The two threads.

    Args:
        store: what they write.
        api: a LocalAPI client of their own.
        watch: the bus: yields events until told to stop.
        read_netmap: reads the netmap of a tailscaled of the given version.
        interface_of: index of the interface that has an address.
        instance: tells one run of tailscaled from the next.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        api: LocalAPI,
        watch: Callable[[threading.Event], Iterable[BusEvent | BusDown]],
        read_netmap: Callable[[str], Netmap],
        interface_of: Callable[[IPAddress], int | None],
        instance: Callable[[], object] = lambda: None,
    ) -> None:
        self._store = store
        self._api = api
        self._watch = watch
        self._read_netmap = read_netmap
        self._interface_of = interface_of
        self._instance = instance
        self._operator: tuple[object, str] = (None, "")
        self._stop = threading.Event()
        self._policy_wanted = threading.Event()
        self._asking = threading.Lock()
        self._said: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=self._hear, name="bus"),
            threading.Thread(target=self._read, name="policy"),
        ]

    def start(self) -> None:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads and wait for them."""
        self._stop.set()
        self._policy_wanted.set()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """Whether both threads run; they end only with stop()."""
        return all(thread.is_alive() for thread in self._threads)

    def again(self) -> None:
        """Read the policy again soon, as after a reload."""
        self._policy_wanted.set()

    def _hear(self) -> None:
        """Hear the bus until the end. What is not known to go wrong counts as silence of the bus, and it goes on."""
        while not self._stop.is_set():
            try:
                self._hear_events()
            except Exception:
                log.exception("hearing tailscaled's bus failed")
                self._store.bus(time.monotonic(), live=False)
                self._stop.wait(RETRY[1])

    def _hear_events(self) -> None:
        for event in self._watch(self._stop):
            now = time.monotonic()
            if isinstance(event, BusDown):
                self._store.bus(now, live=False)
                self._say(BUS, event.reason)
                # Without it each decision confirms on its own what this host is; see gather.py.
                continue
            self._say(BUS, "")
            if event.prefs is not None:
                # Whoever was operator may already have taken their own name out of the settings.
                with self._asking:
                    self._operator_by(event.prefs, self._instance())
            self._identify()
            self._store.bus(now, live=True)
            self._policy_wanted.set()

    def _identify(self) -> None:
        """Read what this node is and whose. Quick; a change of it drops the policy at once.

        One thread at a time, to the end: the client is not made for two, and an older answer must not be stored over a
        newer one.
        """
        with self._asking:
            self._identify_alone()

    def _identify_alone(self) -> None:
        instance = self._instance()
        try:
            status, prefs = self._api.status(), self._api.prefs()
        except TailscaledError as err:
            problem = tailscaled_problem(err)
            self._say(STATUS, problem.detail)
            self._store.change(lambda known: dataclasses.replace(known, problem=problem), time.monotonic())
            return
        self._say(STATUS, "")
        interface, operator = self._carrier(status), self._operator_by(prefs, instance)
        self._store.change(lambda known: identified(known, status, prefs, interface, operator), time.monotonic())

    def _operator_by(self, prefs: Prefs, instance: object) -> str:
        """The operator these settings name, or the last one that was named since this run of tailscaled began."""
        before, last = self._operator
        self._operator = instance, prefs.operator_user or (last if before == instance else "")
        return self._operator[1]

    def _carrier(self, status: Status) -> int | None:
        for address in status.self_addresses:
            try:
                if (found := self._interface_of(address)) is not None:
                    return found
            except TailscaledError as err:
                log.warning("%s", err)
        return None

    def _read(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._policy_wanted.wait(RETRY[min(failures, len(RETRY)) - 1] if failures else POLL)
            if failures:
                # What failed is not asked again at once for every event that its own failure causes.
                self._stop.wait(RETRY[0])
            if self._stop.is_set():
                return
            self._policy_wanted.clear()
            failures = 0 if self._read_safely() else failures + 1

    def _read_safely(self) -> bool:
        """Read the policy; what is not known to go wrong leaves none in force."""
        try:
            return self._read_once()
        except Exception:
            log.exception("reading the tailnet's policy failed")
            problem = Problem(Reason.POLICY_UNAVAILABLE, "reading the tailnet's policy failed: see the agent's journal")
            self._store.change(lambda known: without_policy(known, problem), time.monotonic())
            return False

    def _read_once(self) -> bool:
        """Read the policy. False where it has to be tried again soon."""
        self._identify()
        known = self._store.snapshot(time.monotonic()).knowledge
        if known.problem is not None:
            return False
        if known.backend_state != RUNNING:
            return True  # the change to Running is announced
        try:
            netmap = self._read_netmap(known.version)
        except (TailscaledError, PolicyShapeError) as err:
            reason = Reason.POLICY_SHAPE if isinstance(err, PolicyShapeError) else Reason.POLICY_UNAVAILABLE
            problem = Problem(reason, str(err))
            self._say(POLICY, problem.detail)
            self._store.change(lambda known: without_policy(known, problem), time.monotonic())
            return False
        if not self._take(netmap, known):
            self._policy_wanted.set()
            return True
        known = self._store.snapshot(time.monotonic()).knowledge
        self._say(POLICY, known.policy_problem.detail if known.policy_problem else "")
        return not known.cached and known.policy_problem is None

    def _take(self, netmap: Netmap, before: Knowledge) -> bool:
        """Take the policy, unless what this host is has changed since `before`, and be it there and back again.

        Whoever operates tailscale may log the node in to a control plane of their own for a moment, and with some
        control planes the node has the same id there.
        """
        self._identify()
        taken = False

        def take(known: Knowledge) -> Knowledge:
            nonlocal taken
            taken = known is before  # the store keeps the object while its value stays the same
            return with_policy(known, netmap) if taken else known

        self._store.change(take, time.monotonic(), policy_read=True)
        return taken

    def _say(self, what: str, detail: str) -> None:
        """Log a trouble when it begins and when it ends, not at every attempt."""
        if detail == self._said.get(what, ""):
            return
        self._said[what] = detail
        if detail:
            log.error("%s: %s", what, detail)
        else:
            log.info("no longer: %s", what)


def tailscaled_problem(err: TailscaledError) -> Problem:
    """The problem that stands for a failed question to tailscaled."""
    not_root = isinstance(err, TailscaledNotRootError)
    return Problem(Reason.TAILSCALED_NOT_ROOT if not_root else Reason.TAILSCALED_UNREACHABLE, str(err))


def identified(known: Knowledge, status: Status, prefs: Prefs, interface: int | None, operator: str = "") -> Knowledge:
    """The knowledge with this status. The policy is kept only while node, tailnet and control plane are the same."""
    fresh = dataclasses.replace(
        known,
        backend_state=status.backend_state,
        version=status.version,
        control_url=prefs.control_url or DEFAULT_CONTROL_URL,
        node_id=status.self_stable_id,
        tailnet_id=status.tailnet_id,
        self_addresses=frozenset(status.self_addresses),
        interface=interface,
        problem=None,
        operator=operator,
        warnings=tuple(warnings(status, prefs)),
        own=own_node(status),
    )
    same_node = (known.control_url, known.node_id, known.tailnet_id) == (
        fresh.control_url,
        fresh.node_id,
        fresh.tailnet_id,
    )
    return fresh if same_node else without_policy(fresh, POLICY_PENDING)


def own_node(status: Status) -> Node | None:
    """This host's node as a policy file names it; None while it is in no tailnet."""
    if not status.self_stable_id:
        return None
    owner = "" if status.self_tags else status.self_user
    return Node(status.self_name, status.self_addresses, status.self_tags, owner, status.self_stable_id)


def without_policy(known: Knowledge, problem: Problem) -> Knowledge:
    """The knowledge without a policy, and why."""
    return dataclasses.replace(known, policies=(), policy_problem=problem)


def with_policy(known: Knowledge, netmap: Netmap) -> Knowledge:
    """The knowledge with the policy of this netmap, where the netmap is this node's."""
    if netmap.self_stable_id != known.node_id:
        return without_policy(known, POLICY_PENDING)
    # A node that no rule is about gets a policy without rules, or none at all from headscale: both let nobody in.
    policy = netmap.policy if netmap.policy is not None else Policy("netmap", ())
    return dataclasses.replace(known, policies=(policy,), cached=netmap.cached, policy_problem=None)


def warnings(status: Status, prefs: Prefs) -> Iterator[str]:
    """What stands in the way of plain ssh over the tailnet, or goes round it."""
    if not status.tun:
        yield "tailscaled runs with userspace networking, where sshd sees no tailnet address: run it with a TUN device"
    if prefs.run_ssh:
        yield "Tailscale SSH is on and takes port 22 before sshd: run 'tailscale set --ssh=false'"
    if prefs.shields_up:
        yield "shields are up, nobody can connect over the tailnet: run 'tailscale set --shields-up=false'"
    if prefs.operator_user:
        yield (
            f"the account {prefs.operator_user!r} is tailscale's operator and can put a policy of their own in "
            "place of the tailnet's: run 'tailscale set --operator=' if that is not meant"
        )
