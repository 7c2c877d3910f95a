"""Finds out what a decision needs: the account, the way back, the peer, the pin. All the I/O of it, and no decision."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pam_tailscale import localaccounts
from pam_tailscale import pin as pins
from pam_tailscale.agent.refresh import own_node, tailscaled_problem
from pam_tailscale.agent.store import KnowledgeStore, Snapshot
from pam_tailscale.errors import ConfigError, TailscaledError
from pam_tailscale.model import IPAddress, Peer, Pin, Reason, Request
from pam_tailscale.policy.decision import RUNNING
from pam_tailscale.policy.facts import Facts, Knowledge, Problem, RouteBack
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL, Route, Whois

_ATTEMPTS = 3

RouteTo = Callable[[IPAddress, IPAddress], Route]
InterfaceOf = Callable[[IPAddress], int | None]


class Gatherer:
    """Gathers the facts for one request after the other, from any thread.

    Args:
        store: the knowledge of tailscaled.
        new_api: makes a LocalAPI client; each thread gets its own.
        route_to: the kernel's route to an address from another.
        interface_of: index of the interface that has an address.
        pin_path: the pin's file.
        apply: puts the rules of all sources that can be about a peer into the knowledge.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        new_api: Callable[[], LocalAPI],
        route_to: RouteTo,
        interface_of: InterfaceOf,
        pin_path: Path,
        apply: Callable[[Knowledge, Whois], Knowledge],
    ) -> None:
        self._store = store
        self._new_api = new_api
        self._route_to = route_to
        self._interface_of = interface_of
        self._pin_path = pin_path
        self._apply = apply
        self._threads = threading.local()

    def gather(self, request: Request) -> Facts:
        """The facts, all about one and the same state of tailscaled: whatever changes meanwhile is asked again."""
        for _ in range(_ATTEMPTS):
            before = self._store.snapshot(time.monotonic())
            facts = self._facts(request, before)
            if self._store.snapshot(time.monotonic()).generation == before.generation:
                return facts
        changed = Problem(Reason.STATE_CHANGED, "tailscaled's state changes faster than it can be asked: try again")
        return Facts(before.knowledge, before.age, self.pin(), None, changed, changed)

    def pin(self) -> Pin | Problem:
        """The pin as its file has it now."""
        try:
            found = pins.load(self._pin_path)
        except ConfigError as err:
            return Problem(Reason.PIN_DAMAGED, str(err))
        if found is None:
            return Problem(
                Reason.NOT_PINNED, "this host is not pinned to a tailnet: run 'pam-tailscale enable' as root"
            )
        return found

    def whois(self, address: IPAddress, port: int) -> Peer | Problem | None:
        """Who is at an address, as tailscaled says."""
        found = self._whois(address, port)
        return found.peer if isinstance(found, Whois) else found

    def _whois(self, address: IPAddress, port: int) -> Whois | Problem | None:
        try:
            return self._api.whois(address, port)
        except TailscaledError as err:
            return tailscaled_problem(err)

    def _facts(self, request: Request, snapshot: Snapshot) -> Facts:
        connection, knowledge = request.connection, self._with_interface(snapshot.knowledge)
        account, pin = localaccounts.look_up(request.user), self.pin()
        if knowledge.problem is not None or knowledge.backend_state != RUNNING:
            unasked = knowledge.problem or Problem(Reason.TAILSCALED_NOT_RUNNING, "tailscaled is not running")
            return Facts(knowledge, snapshot.age, pin, account, unasked, unasked)
        found = self._whois(connection.client, connection.client_port)
        if not snapshot.bus_live:
            found = self._still_the_same(snapshot) or found
        route = self._route(connection.client, connection.server)
        if not isinstance(found, Whois):
            return Facts(knowledge, snapshot.age, pin, account, route, found)
        return Facts(
            self._apply(knowledge, found),
            snapshot.age,
            pin,
            account,
            route,
            found.peer,
            routes=found.routes,
            shared=found.shared,
        )

    def _route(self, client: IPAddress, server: IPAddress) -> RouteBack | Problem:
        try:
            route = self._route_to(client, server)
        except TailscaledError as err:
            return Problem(Reason.ROUTE_NOT_TAILNET, str(err))
        return RouteBack(local=route.kind == "local", interface=route.interface if route.kind == "unicast" else 0)

    def _with_interface(self, knowledge: Knowledge) -> Knowledge:
        """Tailscaled may say that it runs before its interface has its addresses, and says nothing when it has."""
        if knowledge.interface is not None:
            return knowledge
        for address in knowledge.self_addresses:
            with contextlib.suppress(TailscaledError):
                if (found := self._interface_of(address)) is not None:  # a host without IPv6 has one of the two
                    return dataclasses.replace(knowledge, interface=found)
        return knowledge

    def _still_the_same(self, snapshot: Snapshot) -> Problem | None:
        """Without a live bus: ask after the whois whether tailscaled is still the node we know."""
        known = snapshot.knowledge
        try:
            prefs, status = self._api.prefs(), self._api.status()
        except TailscaledError as err:
            return tailscaled_problem(err)
        seen = (
            prefs.control_url or DEFAULT_CONTROL_URL,
            status.self_stable_id,
            status.tailnet_id,
            status.backend_state,
            own_node(status),
        )
        if seen != (known.control_url, known.node_id, known.tailnet_id, known.backend_state, known.own):
            return Problem(Reason.STATE_CHANGED, "tailscaled is not in the state last read from it: wait a moment")
        return None

    @property
    def _api(self) -> LocalAPI:
        api: LocalAPI | None = getattr(self._threads, "api", None)
        if api is None:
            api = self._threads.api = self._new_api()
        return api
