"""What the agent knows of tailscaled, as one value that is replaced whole. No I/O; times are passed in.

One thread writes after each reading, the request threads take snapshots.
"""

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pam_tailscale.model import Reason
from pam_tailscale.policy.facts import Knowledge, Problem

POLICY_PENDING = Problem(Reason.POLICY_UNAVAILABLE, "the tailnet's policy has not been read yet: wait a moment")
STARTING = Knowledge(
    backend_state="",
    version="",
    control_url="",
    node_id="",
    tailnet_id="",
    self_addresses=frozenset(),
    interface=None,
    cached=False,
    policies=(),
    problem=Problem(Reason.AGENT_STARTING, "the agent has not heard from tailscaled yet: wait a moment"),
    policy_problem=POLICY_PENDING,
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The knowledge at one moment. `generation` differs between two snapshots if anything changed in between."""

    knowledge: Knowledge
    generation: int
    age: float
    """Seconds since it was last known to be true; 0 while the bus is heard."""
    bus_live: bool
    policy_age: float
    """Seconds since the policy was last read."""


@dataclass(frozen=True, slots=True)
class _State:
    knowledge: Knowledge = STARTING
    generation: int = 0
    bus_live: bool = False
    confirmed: float = 0.0
    policy_read: float = 0.0


class KnowledgeStore:
    """Holds the latest knowledge. Writers take turns; readers take the state as one reference and never wait."""

    def __init__(self) -> None:
        self._writing = threading.Lock()
        self._state = _State()

    def snapshot(self, now: float) -> Snapshot:
        """The knowledge as it is at `now`."""
        state = self._state
        return Snapshot(
            knowledge=state.knowledge,
            generation=state.generation,
            age=0.0 if state.bus_live else now - state.confirmed,
            bus_live=state.bus_live,
            policy_age=now - state.policy_read,
        )

    def change(self, how: Callable[[Knowledge], Knowledge], now: float, *, policy_read: bool = False) -> None:
        """Replace the knowledge by what `how` makes of it.

        Reading the same again only renews its age, and keeps the object.
        """
        with self._writing:
            state = self._state
            knowledge = how(state.knowledge)
            changed = knowledge != state.knowledge
            self._state = dataclasses.replace(
                state,
                knowledge=knowledge if changed else state.knowledge,
                generation=state.generation + changed,
                confirmed=now,
                policy_read=now if policy_read else state.policy_read,
            )

    def bus(self, now: float, *, live: bool) -> None:
        """The bus is heard again, or is not: from then on the knowledge ages."""
        with self._writing:
            state = self._state
            if state.bus_live and not live:
                state = dataclasses.replace(state, confirmed=now, generation=state.generation + 1)
            self._state = dataclasses.replace(state, bus_live=live)
