"""What is measured on the real tailnet: how long a login takes, how soon a policy counts, and what idling costs."""

import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Self

from bench import processes
from bench.figures import Figure, middle, spread
from bench.real import FLOOR, OURS, PORTS, PUBLICKEY, TAILSCALE_SSH, USER, Real, Server, project
from pam_tailscale import client, wire
from pam_tailscale.errors import PamTailscaleError
from pam_tailscale.model import Method, Mode, Phase
from pam_tailscale.tailnet import bus
from pam_tailscale.tailnet.records import BusEvent
from tests.support.members import OPEN, accept, make_policy
from tests.support.roots import Suite
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

RUNS, QUICK_RUNS = 31, 9
CHANGES, QUICK_CHANGES = 10, 4
IDLE_SECONDS, QUICK_IDLE_SECONDS = 60, 12
IDLE_WINDOWS = 6
TAILNET = "100.64.0.0/10"
TABLE = "5265"
"""A routing table of our own, and the priority of its rule: before tailscale's 5270."""
AGENT_SOCKET = "/run/pam-tailscale/agent.sock"
TAILSCALED_SOCKET = "/run/tailscale/tailscaled.sock"
_MATCHED: Mapping[str, str] = {
    FLOOR: "the same sshd with a module that only permits and sets TCP_NODELAY",
    PUBLICKEY: "stock sshd with a public key",
    TAILSCALE_SSH: "Tailscale SSH on the same host",
}
OPENSSH: Mapping[Suite, str] = {"bookworm": "OpenSSH 9.2p1", "trixie": "OpenSSH 10.0p1"}


def logins(real: Real, *, quick: bool) -> list[Figure]:
    """Login times on Debian 12, as ratios and in milliseconds."""
    return _logins(real, "bookworm", "", quick=quick)


def logins_debian13(real: Real, *, quick: bool) -> list[Figure]:
    """The same on Debian 13."""
    return _logins(real, "trixie", "debian13_", quick=quick)


def logins_quickack(real: Real, *, quick: bool) -> list[Figure]:
    """With a route for sshd's packets that has the kernel acknowledge at once, which takes 40 ms off a login.

    The client holds its first request back until the packet before it is acknowledged; the server's kernel takes its
    time with that. It is before authentication, where nothing of ours runs.
    """
    server = real.servers["bookworm"]
    tool = server.node.box.host_tool
    rule = ["priority", TABLE, "from", server.node.ipv4, "ipproto", "tcp", "sport", str(PORTS[OURS]), "lookup", TABLE]
    tool(["ip", "route", "add", TAILNET, "dev", "tailscale0", "table", TABLE, "quickack", "1"])
    tool(["ip", "rule", "add", *rule])
    try:
        times = _times(real, server, [OURS, TAILSCALE_SSH], quick=quick)
    finally:
        tool(["ip", "rule", "del", *rule])
    note = "Tailscale SSH on the same host, where the server's route has `quickack 1`"
    return [
        ratio("quickack_login_vs_tailscale_ssh", times[OURS], times[TAILSCALE_SSH], note),
        middle("quickack_login_ms", times[OURS], "a login, ours, with that route"),
    ]


def _logins(real: Real, suite: Suite, prefix: str, *, quick: bool) -> list[Figure]:
    times = _times(real, real.servers[suite], list(PORTS), quick=quick)
    where = f"{OPENSSH[suite]}, {len(times[OURS])} interleaved"
    ratios = [
        ratio(f"{prefix}login_vs_{way}", times[OURS], times[way], f"{what}; {where}") for way, what in _MATCHED.items()
    ]
    absolute = [middle(f"{prefix}login_{way}_ms", times[way], f"a login, {_MATCHED.get(way, 'ours')}") for way in PORTS]
    return [*ratios, *absolute]


def _times(real: Real, server: Server, ways: Sequence[str], *, quick: bool) -> dict[str, list[float]]:
    commands = server.commands()
    return interleaved(real.device.box, {way: commands[way] for way in ways}, QUICK_RUNS if quick else RUNS)


def interleaved(device: Sandbox, ways: Mapping[str, Sequence[str]], runs: int) -> dict[str, list[float]]:
    """Milliseconds of logins from a device, by way: each of `runs` rounds logs in once in every way."""
    wanted = {"runs": runs, "ways": ways}
    done = device.run(["/usr/bin/python3", project("bench/ssh_times.py")], input=json.dumps(wanted), timeout=300)
    times: dict[str, list[float]] = json.loads(done.stdout)
    return times


def ratio(name: str, ours: Sequence[float], others: Sequence[float], note: str) -> Figure:
    """The ratio of the medians; its spread is that of the ratio in each round."""
    rounds = [one / other for one, other in zip(ours, others, strict=True)]
    return Figure(name, statistics.median(ours) / statistics.median(others), spread(rounds), f"login / {note}")


def policy_effect(real: Real, *, quick: bool) -> list[Figure]:
    """From a policy given to headscale to the first decision by it."""
    server = real.servers["bookworm"]
    # Not a policy without rules: of that headscale says nothing to the nodes, which go on with the one before.
    closed = make_policy(accept(["autogroup:member"], ["autogroup:tagged"], "bob"))
    request = _request(real, server)
    effects, ours = [], []
    with _Bus(server) as heard:
        for number in range(QUICK_CHANGES if quick else CHANGES):
            allowed = number % 2 == 1
            began = time.monotonic()
            real.tailnet.set_policy(OPEN if allowed else closed)
            returned = time.monotonic()
            effect = _when(server, request, allowed=allowed)
            effects.append(effect - returned)
            ours.append(effect - heard.first_after(began))
            _let_it_settle(server, request, allowed=allowed)
    wait_until(
        lambda: real.device.box.run(server.commands()[OURS], check=False).returncode == 0, 10, "logins work again"
    )
    return [
        middle(
            "policy_effect_s", effects, f"end of `headscale policy set` to a decision by it, {len(effects)} changes"
        ),
        middle("policy_ours_s", ours, "of it since tailscaled's bus said that something changed"),
    ]


def _request(real: Real, server: Server) -> dict[str, str]:
    return {
        wire.KEY_REQUEST: wire.REQUEST_DECIDE,
        wire.KEY_USER: USER,
        wire.KEY_CLIENT: real.device.ipv4,
        wire.KEY_CLIENT_PORT: "50000",
        wire.KEY_SERVER: server.node.ipv4,
        wire.KEY_SERVER_PORT: "22",
        wire.KEY_METHOD: Method.UNKNOWN.value,
        wire.KEY_PHASE: Phase.ACCOUNT.value,
        wire.KEY_MODE: Mode.ENFORCE.value,
    }


def _allowed(server: Server, request: Mapping[str, str]) -> bool:
    try:
        answer = client.ask(server.host.box.path(AGENT_SOCKET), request)
    except PamTailscaleError as err:
        raise AssertionError(str(err)) from err
    return answer[wire.KEY_VERDICT] == wire.VERDICT_ALLOW


def _when(server: Server, request: Mapping[str, str], *, allowed: bool) -> float:
    """The moment of the first decision that comes out like this."""
    what = f"decisions say {'allow' if allowed else 'deny'}"
    wait_until(lambda: _allowed(server, request) is allowed, 20, what, pause_seconds=0.005)
    return time.monotonic()


def _let_it_settle(server: Server, request: Mapping[str, str], *, allowed: bool) -> None:
    """Waits until the decision has been the same for a while: one change must not be measured as the next one's."""
    same_since = time.monotonic()

    def settled() -> bool:
        nonlocal same_since
        if _allowed(server, request) is not allowed:
            same_since = time.monotonic()
        return time.monotonic() - same_since > 1

    wait_until(settled, 20, "the new policy stays")


class _Bus:
    """Hears tailscaled's bus beside the agent, to tell what of a delay is not the agent's."""

    def __init__(self, server: Server) -> None:
        self._path = server.host.box.path(TAILSCALED_SOCKET)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._hear)
        self._moments: list[float] = []

    def _hear(self) -> None:
        for event in bus.watch(self._path, self._stop):
            if isinstance(event, BusEvent) and event.self_change:
                self._moments.append(time.monotonic())

    def first_after(self, moment: float) -> float:
        """When the first change was announced after a moment."""
        return wait_until(lambda: next((at for at in self._moments if at > moment), 0.0), 5, "the bus says something")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def idle(real: Real, *, quick: bool) -> list[Figure]:
    """CPU time of the agent and of what it starts while nobody logs in and the bus is heard."""
    host = real.servers["bookworm"].host
    if host.agent is None or host.reader is None:
        raise RuntimeError("agent or reader do not run")
    pids = [host.agent.pid, host.reader.pid]
    seconds = (QUICK_IDLE_SECONDS if quick else IDLE_SECONDS) / IDLE_WINDOWS
    percents = []
    for _ in range(IDLE_WINDOWS):
        before, began = sum(map(processes.cpu_seconds, pids)), time.monotonic()
        time.sleep(seconds)
        used = sum(map(processes.cpu_seconds, pids)) - before
        percents.append(used / (time.monotonic() - began) * 100)
    note = f"of one core: agent and readers, {seconds * IDLE_WINDOWS:.0f} s beside a real tailscaled"
    return [Figure("idle_cpu_percent", statistics.fmean(percents), spread(percents), note)]
