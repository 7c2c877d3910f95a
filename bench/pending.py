"""What a thousand pending checks cost the agent: memory, time while nothing happens, and the time of decisions."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench import large_localapi, processes
from bench.checked import Control
from bench.figures import Figure, middle
from bench.large import AGENT_SOCKET, USER, Large
from pam_tailscale import client, wire
from pam_tailscale.check.control import HELD_MAX
from pam_tailscale.errors import PamTailscaleError
from pam_tailscale.model import Method, Mode, Phase
from tests.support.waiting import wait_until

ROUNDS, QUICK_ROUNDS = 3, 1
IDLE_SECONDS, QUICK_IDLE_SECONDS = 20, 3
DECISIONS = 999
AT_ONCE = 8
_WARM_UP = 300


class Pending(Large):
    """That host in a tailnet whose rules ask a control plane for a check of a thousand people, and nobody approves."""

    rules = large_localapi.RULES + len(large_localapi.CHECKED)

    def _localapi_options(self) -> list[str]:
        control = Control(self.box, 0)
        return [control.url, control.delegate]

    def begin(self, numbers: Iterable[int]) -> None:
        """A login by `none` from each of these peers, which is told that a check is needed."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            verdicts = set(pool.map(self._ask, numbers))
        if verdicts != {wire.VERDICT_CHECK}:
            raise RuntimeError(f"not all were told that a check is needed: {verdicts}")

    def _ask(self, number: int) -> str:
        request = {
            wire.KEY_REQUEST: wire.REQUEST_DECIDE,
            wire.KEY_USER: USER,
            wire.KEY_CLIENT: large_localapi.checked_client(number),
            wire.KEY_CLIENT_PORT: "50000",
            wire.KEY_SERVER: large_localapi.SERVER,
            wire.KEY_SERVER_PORT: "22",
            wire.KEY_METHOD: Method.NONE.value,
            wire.KEY_PHASE: Phase.AUTH.value,
            wire.KEY_MODE: Mode.ENFORCE.value,
        }
        try:
            return client.ask(self.box.path(AGENT_SOCKET), request)[wire.KEY_VERDICT]
        except PamTailscaleError as err:
            raise AssertionError(str(err)) from err

    def pending(self) -> Sequence[Any]:
        """What the agent says is pending."""
        asked = {wire.KEY_REQUEST: wire.REQUEST_CHECKS}
        found: Sequence[Any] = client.ask_document(self.box.path(AGENT_SOCKET), asked)["pending"]
        return found

    @property
    def agent_pid(self) -> int:
        """The agent's process."""
        if self.host.agent is None:
            raise RuntimeError("the agent does not run")
        return self.host.agent.pid


def pending(scene: Pending, *, quick: bool) -> list[Figure]:
    """Each round with another agent: measured, then a thousand checks begin, then measured again."""
    more, slower, percents = [], [], []
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        scene.restart_agent()
        scene.decide(AT_ONCE, _WARM_UP)
        before, without = processes.memory_mib(scene.agent_pid, "VmRSS"), _typical(scene)
        _begin_all(scene)
        more.append(processes.memory_mib(scene.agent_pid, "VmRSS") - before)
        slower.append(_typical(scene) / without)
        percents.append(_idle_percent(scene, QUICK_IDLE_SECONDS if quick else IDLE_SECONDS))
    count = len(large_localapi.CHECKED)
    note = f"with {count} pending checks, {HELD_MAX} of them asked about at the control plane"
    return [
        middle("pending_mib", more, f"resident memory of the agent: more {note} than before"),
        middle("pending_idle_cpu_percent", percents, f"of one core: agent and readers, while nothing happens {note}"),
        middle("pending_decisions_slower", slower, f"median time of a decision that accepts {note} / without"),
    ]


def _begin_all(scene: Pending) -> None:
    """All checks are begun; as many requests as the agent keeps at all wait at the control plane for their end."""
    numbers = large_localapi.CHECKED
    scene.begin(numbers)
    scene.begin(numbers[: HELD_MAX + AT_ONCE])
    wait_until(lambda: len(scene.pending()) == len(numbers), 10, "all checks are pending")


def _typical(scene: Pending) -> float:
    """The median of decisions, one at a time, in milliseconds."""
    return middle("", scene.decide(1, DECISIONS).milliseconds, "").value


def _idle_percent(scene: Pending, seconds: float) -> float:
    reader = scene.host.reader
    pids = [scene.agent_pid, *([reader.pid] if reader is not None else [])]
    before, began = sum(map(processes.cpu_seconds, pids)), time.monotonic()
    time.sleep(seconds)
    used = sum(map(processes.cpu_seconds, pids)) - before
    return used / (time.monotonic() - began) * 100
