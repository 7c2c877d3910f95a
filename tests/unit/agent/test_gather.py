"""The facts of one login: all about the same state of tailscaled, or none."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from pam_tailscale.agent.gather import Gatherer
from pam_tailscale.agent.refresh import own_node
from pam_tailscale.agent.store import STARTING, KnowledgeStore
from pam_tailscale.errors import TailscaledError, TailscaledNotRootError
from pam_tailscale.model import IPAddress, Peer, Reason
from pam_tailscale.policy.facts import Knowledge, Problem, RouteBack
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL, Prefs, Route, Status, Whois
from tests.support.facts import CLIENT, CONTROL_URL, INTERFACE, PEER, PIN, SERVER, knowledge, policy, request
from tests.support.pins import write_pin
from tests.unit.agent.test_refresh import PREFS, STATUS

ROUTE = Route("unicast", INTERFACE)


@dataclass
class Tailscaled:
    """What tailscaled and the kernel say; an error is raised in place of an answer."""

    peer: Peer | TailscaledError | None = PEER
    about: Whois = field(default_factory=lambda: Whois(PEER))
    """What else whois says of the peer."""
    status_: Status | TailscaledError = STATUS
    prefs_: Prefs | TailscaledError = PREFS
    route: Route | TailscaledError = ROUTE
    asked: list[str] = field(default_factory=list)
    during_whois: Callable[[], None] = lambda: None
    interfaces: dict[str, int | TailscaledError | None] = field(default_factory=dict)

    def whois(self, address: IPAddress, port: int) -> Whois | None:
        self.asked.append(f"whois {address} {port}")
        self.during_whois()
        if isinstance(self.peer, TailscaledError):
            raise self.peer
        return dataclasses.replace(self.about, peer=self.peer) if self.peer is not None else None

    def status(self) -> Status:
        self.asked.append("status")
        if isinstance(self.status_, TailscaledError):
            raise self.status_
        return self.status_

    def prefs(self) -> Prefs:
        self.asked.append("prefs")
        if isinstance(self.prefs_, TailscaledError):
            raise self.prefs_
        return self.prefs_

    def route_to(self, destination: IPAddress, source: IPAddress) -> Route:
        self.asked.append(f"route {destination} from {source}")
        if isinstance(self.route, TailscaledError):
            raise self.route
        return self.route

    def interface_of(self, address: IPAddress) -> int | None:
        found = self.interfaces.get(str(address))
        if isinstance(found, TailscaledError):
            raise found
        return found


@pytest.fixture
def tailscaled() -> Tailscaled:
    """In order."""
    return Tailscaled()


@pytest.fixture
def store() -> KnowledgeStore:
    """All is known, and the bus is heard."""
    store = KnowledgeStore()
    store.change(lambda _: knowledge(own=own_node(STATUS)), time.monotonic())
    store.bus(time.monotonic(), live=True)
    return store


@pytest.fixture
def gatherer(store: KnowledgeStore, tailscaled: Tailscaled, tmp_path: Path) -> Gatherer:
    """With a pin."""
    write_pin(PIN, tmp_path / "pin.json")
    return gatherer_of(store, tailscaled, tmp_path / "pin.json", lambda known, _: known)


def gatherer_of(
    store: KnowledgeStore, tailscaled: Tailscaled, pin: Path, apply: Callable[[Knowledge, Whois], Knowledge]
) -> Gatherer:
    """With these sources of policy."""
    api = cast("LocalAPI", tailscaled)
    return Gatherer(store, lambda: api, tailscaled.route_to, tailscaled.interface_of, pin, apply)


def test_the_sources_are_applied_to_the_peer(store: KnowledgeStore, tailscaled: Tailscaled, tmp_path: Path) -> None:
    """With all that whois said of it; without a peer there is nobody to apply them to."""
    applied: list[Whois] = []

    def apply(known: Knowledge, whois: Whois) -> Knowledge:
        applied.append(whois)
        return dataclasses.replace(known, policies=(policy(source="grants"),))

    gatherer = gatherer_of(store, tailscaled, tmp_path / "pin.json", apply)
    tailscaled.about = Whois(PEER, {"acme.example/cap/ssh": []}, ("10.0.0.0/8",), shared=True)
    facts = gatherer.gather(request())
    assert [one.source for one in facts.knowledge.policies] == ["grants"]
    assert (facts.routes, facts.shared) == (("10.0.0.0/8",), True)
    tailscaled.peer = None
    facts = gatherer.gather(request())
    assert (facts.routes, facts.shared) == ((), False)
    assert applied == [tailscaled.about]


def test_all_the_facts(gatherer: Gatherer, tailscaled: Tailscaled) -> None:
    """One whois with the port, one route, nothing else is asked of anybody."""
    facts = gatherer.gather(request("root"))
    assert facts.knowledge == knowledge(own=own_node(STATUS))
    assert (facts.age, facts.pin, facts.peer) == (0.0, PIN, PEER)
    assert facts.route == RouteBack(local=False, interface=INTERFACE)
    assert facts.account is not None
    assert facts.account.name == "root"
    assert tailscaled.asked == [f"whois {CLIENT} 40000", f"route {CLIENT} from {SERVER}"]


def test_an_account_that_does_not_exist(gatherer: Gatherer) -> None:
    """Is none; the rest is found out all the same, so that both take as long."""
    facts = gatherer.gather(request("nobody-here"))
    assert facts.account is None
    assert facts.peer == PEER


@pytest.mark.parametrize("kind", ["local", "broadcast", "multicast", "anycast", "other"])
def test_only_a_unicast_route_leads_to_another_node(gatherer: Gatherer, tailscaled: Tailscaled, kind: str) -> None:
    """Everything else is this host's own address, or none of a node: it leaves by no interface."""
    tailscaled.route = Route(kind, INTERFACE)
    assert gatherer.gather(request()).route == RouteBack(local=kind == "local", interface=0)


@pytest.mark.parametrize("absent", [None, TailscaledError("netlink")], ids=["no interface", "no answer"])
@pytest.mark.parametrize("has", sorted(map(str, knowledge().self_addresses)))
def test_an_interface_that_came_later_is_found(
    gatherer: Gatherer, tailscaled: Tailscaled, store: KnowledgeStore, has: str, absent: TailscaledError | None
) -> None:
    """By any one of the addresses: a host without IPv6 has only the other."""
    change(store, interface=None)
    tailscaled.interfaces = dict.fromkeys(map(str, knowledge().self_addresses), absent) | {has: INTERFACE}
    assert gatherer.gather(request()).knowledge.interface == INTERFACE


def test_no_interface_is_none(gatherer: Gatherer, tailscaled: Tailscaled, store: KnowledgeStore) -> None:
    """With userspace networking there is none."""
    change(store, interface=None)
    tailscaled.interfaces = {}
    assert gatherer.gather(request()).knowledge.interface is None


def test_no_route(gatherer: Gatherer, tailscaled: Tailscaled) -> None:
    """Is a problem of the route."""
    tailscaled.route = TailscaledError("no route")
    assert gatherer.gather(request()).route == Problem(Reason.ROUTE_NOT_TAILNET, "no route")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TailscaledError("500"), Reason.TAILSCALED_UNREACHABLE),
        (TailscaledNotRootError("uid 7"), Reason.TAILSCALED_NOT_ROOT),
    ],
)
def test_a_whois_that_fails(gatherer: Gatherer, tailscaled: Tailscaled, error: TailscaledError, reason: Reason) -> None:
    """Is a problem, never nobody."""
    tailscaled.peer = error
    assert gatherer.gather(request()).peer == Problem(reason, str(error))


def test_nobody_is_nobody(gatherer: Gatherer, tailscaled: Tailscaled) -> None:
    """Tailscaled knows no such peer."""
    tailscaled.peer = None
    assert gatherer.gather(request()).peer is None


def change(store: KnowledgeStore, **changes: Any) -> None:
    """Something that is known changes."""

    def how(known: Knowledge) -> Knowledge:
        return dataclasses.replace(known, **changes)

    store.change(how, time.monotonic())


def test_what_changes_meanwhile_is_asked_again(
    gatherer: Gatherer, tailscaled: Tailscaled, store: KnowledgeStore
) -> None:
    """The whois of before does not go with the policy of after."""

    def once() -> None:
        tailscaled.during_whois = lambda: None
        tailscaled.peer = dataclasses.replace(PEER, login="bob@example.com")
        change(store, control_url="https://elsewhere.example")

    tailscaled.during_whois = once
    facts = gatherer.gather(request())
    assert facts.knowledge.control_url == "https://elsewhere.example"
    assert facts.peer == dataclasses.replace(PEER, login="bob@example.com")
    assert sum(one.startswith("whois") for one in tailscaled.asked) == 2


def test_there_and_back_again_is_noticed(gatherer: Gatherer, tailscaled: Tailscaled, store: KnowledgeStore) -> None:
    """A whois may have been answered by what was there in between."""

    def once() -> None:
        tailscaled.during_whois = lambda: None
        change(store, control_url="https://elsewhere.example")
        change(store, control_url=CONTROL_URL)

    tailscaled.during_whois = once
    gatherer.gather(request())
    assert sum(one.startswith("whois") for one in tailscaled.asked) == 2


def test_what_never_rests_is_a_no(gatherer: Gatherer, tailscaled: Tailscaled, store: KnowledgeStore) -> None:
    """After three attempts."""
    numbers = iter(range(100))
    tailscaled.during_whois = lambda: change(store, version=f"1.104.{next(numbers)}")
    facts = gatherer.gather(request())
    assert isinstance(facts.peer, Problem)
    assert isinstance(facts.route, Problem)
    assert facts.peer.reason is facts.route.reason is Reason.STATE_CHANGED
    assert facts.account is None
    assert sum(one.startswith("whois") for one in tailscaled.asked) == 3


@pytest.fixture
def _silent(store: KnowledgeStore) -> None:
    """The bus is not heard."""
    store.bus(time.monotonic(), live=False)


@pytest.mark.usefixtures("_silent")
def test_without_a_bus_tailscaled_is_asked_what_it_is(gatherer: Gatherer, tailscaled: Tailscaled) -> None:
    """After the whois: what it is then, it was when that was answered."""
    assert gatherer.gather(request()).peer == PEER
    assert tailscaled.asked[:3] == [f"whois {CLIENT} 40000", "prefs", "status"]


OTHER: list[dict[str, Any]] = [
    {"status_": dataclasses.replace(STATUS, self_stable_id="n9CNTRL")},
    {"status_": dataclasses.replace(STATUS, tailnet_id="tOTHER")},
    {"status_": dataclasses.replace(STATUS, self_tags=("tag:other",))},
    {"status_": dataclasses.replace(STATUS, backend_state="Stopped")},
    {"prefs_": dataclasses.replace(PREFS, control_url="https://elsewhere.example")},
    {"prefs_": dataclasses.replace(PREFS, control_url="")},
]


@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize("changes", OTHER, ids=["node", "tailnet", "tags", "state", "control plane", "Tailscale's own"])
def test_without_a_bus_another_state_is_a_no(
    gatherer: Gatherer, tailscaled: Tailscaled, changes: dict[str, Any]
) -> None:
    """Until it is read anew."""
    for name, value in changes.items():
        setattr(tailscaled, name, value)
    peer = gatherer.gather(request()).peer
    assert isinstance(peer, Problem)
    assert peer.reason is Reason.STATE_CHANGED


@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize("name", ["status_", "prefs_"])
def test_without_a_bus_no_answer_is_a_no(gatherer: Gatherer, tailscaled: Tailscaled, name: str) -> None:
    """The whois alone is not enough."""
    setattr(tailscaled, name, TailscaledError("503"))
    assert gatherer.gather(request()).peer == Problem(Reason.TAILSCALED_UNREACHABLE, "503")


@pytest.mark.usefixtures("_silent")
def test_an_empty_control_url_is_the_same_as_tailscales(
    gatherer: Gatherer, tailscaled: Tailscaled, store: KnowledgeStore
) -> None:
    """As it was when it was read."""
    change(store, control_url=DEFAULT_CONTROL_URL)
    tailscaled.prefs_ = dataclasses.replace(PREFS, control_url="")
    assert gatherer.gather(request()).peer == PEER


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (STARTING, Reason.AGENT_STARTING),
        (knowledge(backend_state="Stopped"), Reason.TAILSCALED_NOT_RUNNING),
        (knowledge(problem=Problem(Reason.TAILSCALED_NOT_ROOT, "x")), Reason.TAILSCALED_NOT_ROOT),
    ],
)
def test_nobody_is_asked_where_the_answer_is_no_anyway(
    gatherer: Gatherer, tailscaled: Tailscaled, store: KnowledgeStore, known: Knowledge, reason: Reason
) -> None:
    """A tailscaled that hangs would otherwise make every refusal wait."""
    store.change(lambda _: known, time.monotonic())
    facts = gatherer.gather(request())
    assert isinstance(facts.peer, Problem)
    assert facts.peer.reason is reason
    assert tailscaled.asked == []


def test_the_pin_is_read_anew(gatherer: Gatherer, tmp_path: Path) -> None:
    """So that pinning needs no restart; missing and damaged are problems of their own."""
    path = tmp_path / "pin.json"
    path.unlink()
    missing = gatherer.pin()
    path.write_text("{")
    damaged = gatherer.gather(request()).pin
    assert isinstance(missing, Problem)
    assert isinstance(damaged, Problem)
    assert (missing.reason, damaged.reason) == (Reason.NOT_PINNED, Reason.PIN_DAMAGED)
    write_pin(PIN, path)
    assert gatherer.pin() == PIN
