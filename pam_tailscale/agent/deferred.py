"""The provider `control`, made when a check rule first needs it: most hosts have none, and it costs 15 MiB."""

import threading
from collections.abc import Callable
from typing import Final

from pam_tailscale.check.flow import Asked, Hold, Passed, Polled, Provider, Refused, Trouble
from pam_tailscale.model import Demand


class Deferred:
    """A Provider that makes the real one at the first question, in the thread that has it."""

    name: Final = "control"

    def __init__(self, make: Callable[[], Provider]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: Provider | None = None

    def recall(self, demand: Demand, now: float) -> Passed | None:
        """Nothing: what is remembered, the control plane remembers."""
        del demand, now
        return None

    def ask(self, demand: Demand) -> Asked:
        """As the real one."""
        return self._provider().ask(demand)

    def begin(self, demand: Demand) -> Hold | Passed | Refused | Trouble:
        """As the real one."""
        return self._provider().begin(demand)

    def poll(self, demand: Demand, hold: Hold, patience: float, cancelled: Callable[[], bool]) -> Polled:
        """As the real one."""
        return self._provider().poll(demand, hold, patience, cancelled)

    def prepare(self) -> None:
        """As the real one, which it makes."""
        self._provider().prepare()

    def close(self) -> None:
        """As the real one, where there is one."""
        if self._made is not None:
            self._made.close()

    def problem(self) -> str:
        """As the real one; nothing is wrong before anything was asked."""
        return self._made.problem() if self._made is not None else ""

    def _provider(self) -> Provider:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made
