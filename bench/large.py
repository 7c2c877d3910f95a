"""A host with the agent in a tailnet of 10,000 nodes, and what is measured on it: decisions, memory, the reader.

tailscaled is embedded, a process of its own (large_localapi.py); what it costs by itself is measured beside.
"""

import re
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from bench import large_localapi, processes, programs
from bench.figures import Figure, middle, percentile, spread
from pam_tailscale import client, wire
from pam_tailscale.errors import PamTailscaleError
from tests.support.host import Host
from tests.support.roots import Suite, debian_root
from tests.support.sandbox import Sandbox
from tests.support.shims import build_shims
from tests.support.waiting import wait_until

SUITE: Suite = "bookworm"
USER = "alice"
AGENT_SOCKET = "/run/pam-tailscale/agent.sock"
TAILSCALED_SOCKET = "/run/tailscale/tailscaled.sock"
AT_ONCE = 8
CHANGES = 10
ENDLESS = 1_000_000
_WHOIS = (
    f"GET /localapi/v0/whois?addr={large_localapi.CLIENT}:50000&proto=tcp HTTP/1.1\r\n"
    "Host: local-tailscaled.sock\r\n\r\n"
)
_READER = (
    "import sys; sys.path.insert(0, '/opt/pam-tailscale'); "
    "from pam_tailscale.tailnet.reader import main; sys.exit(main())"
)


class Large:
    """The host and its tailscaled, running. A context manager."""

    rules = large_localapi.RULES
    """Of its tailnet's policy."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.netmap_bytes = 0
        self._rules = self.rules

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            root = debian_root(SUITE)
            self.box = stack.enter_context(Sandbox(root, "server"))
            self._logs = Path(stack.enter_context(TemporaryDirectory()))
            self.box.host_tool(["ip", "link", "add", "tailscale0", "type", "veth", "peer", "name", "nowhere"])
            self.box.host_tool(["ip", "link", "set", "nowhere", "up"])
            self.box.address("tailscale0", f"{large_localapi.SERVER}/10")
            self.host = stack.enter_context(Host(self.box, build_shims(SUITE)))
            programs.build_decide(self.box)
            self._start_tailscaled()
            self.host.start_reader()
            self.host.pin()
            self.host.start_agent()
            self._wait_for_rules()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start_tailscaled(self) -> None:
        self.box.run(["mkdir", "-p", str(Path(TAILSCALED_SOCKET).parent)])
        argv = [self.host.python, "-m", "bench.large_localapi", TAILSCALED_SOCKET, *self._localapi_options()]
        log = self._logs / "localapi"
        env = {"PYTHONPATH": "/opt/pam-tailscale", "PYTHONDONTWRITEBYTECODE": "1"}
        self.localapi = self.box.popen(argv, log, env=env)
        text = wait_until(lambda: log.read_text().partition("ready ")[2], 60, "the embedded tailscaled is ready")
        self.netmap_bytes = int(text)

    def _localapi_options(self) -> list[str]:
        """For a tailnet that is not the usual one."""
        return []

    def restart_agent(self) -> None:
        """Another agent, which remembers nothing, and knows the tailnet as it is now."""
        self.host.stop_agent()
        self.host.start_agent()
        self._wait_for_rules()

    def status(self) -> dict[str, Any]:
        """The agent's status document."""
        try:
            return client.ask_document(self.box.path(AGENT_SOCKET), {wire.KEY_REQUEST: wire.REQUEST_STATUS})
        except PamTailscaleError as err:
            raise AssertionError(str(err)) from err

    def _wait_for_rules(self) -> None:
        def ready() -> bool:
            status = self.status()
            return bool(status["ready"]) and status["sources"][0]["rules"] == self._rules

        wait_until(ready, 60, "the agent has the policy as it is now")

    def change(self) -> float:
        """Changes the netmap; answers after how many seconds it was in force."""
        self._rules = 2 * self.rules + 1 - self._rules
        began = time.monotonic()
        self.localapi.send_signal(signal.SIGUSR1)
        self._wait_for_rules()
        return time.monotonic() - began

    def decide_command(self, at_once: int, each: int) -> list[str]:
        """The command that asks the agent so often."""
        uid = str(self.box.account("pam-tailscale").uid)
        ends = [large_localapi.CLIENT, large_localapi.SERVER]
        return [programs.DECIDE, AGENT_SOCKET, uid, USER, *ends, str(at_once), str(each)]

    def decide(self, at_once: int, each: int) -> programs.Asked:
        """Asks the agent, and waits until all is answered."""
        return programs.parse_asked(self.box.run(self.decide_command(at_once, each), timeout=300).stdout)

    @contextmanager
    def deciding(self) -> Iterator[list[programs.Asked]]:
        """Asks the agent one at a time, as long as the context is open; its list has the result afterwards."""
        log = self._logs / f"decide-{time.monotonic_ns()}"
        asking = self.box.popen(self.decide_command(1, ENDLESS), log)
        result: list[programs.Asked] = []
        yield result
        asking.send_signal(signal.SIGTERM)
        if asking.wait(60) != 0:
            raise RuntimeError(f"an answer was wrong: {log.read_text()}")
        result.append(programs.parse_asked(log.read_text()))

    def connect(self) -> socket.socket:
        """A connection to tailscaled."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.box.path(TAILSCALED_SOCKET)))
        return connection


def one_at_a_time(large: Large, *, quick: bool) -> list[Figure]:
    """The time of a decision when nothing else happens, and what of it is the embedded tailscaled's."""
    large.decide(1, 300)
    batches = [large.decide(1, 999).milliseconds for _ in range(2 if quick else 6)]
    every = [value for batch in batches for value in batch]
    how = f"{len(every)} decisions, one at a time, from C"
    whois = whois_milliseconds(large, 1000)
    return [
        middle("decision_p50_ms", every, f"median of {how}"),
        Figure("decision_p99_ms", percentile(every, 99), spread([percentile(one, 99) for one in batches]), how),
        middle("localapi_whois_ms", whois, "of each decision: the embedded tailscaled's whois, asked from Python"),
    ]


def whois_milliseconds(large: Large, count: int) -> list[float]:
    """How long the embedded tailscaled itself takes."""
    with large.connect() as connection:
        return [_whois(connection) for _ in range(count)]


def _whois(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(_WHOIS.encode())
    answer = b""
    while not _complete(answer):
        answer += connection.recv(1 << 16)
    return (time.perf_counter() - began) * 1000


def _complete(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return bool(end) and (len(body) == int(length[1]) if length else body.endswith(b"\r\n0\r\n\r\n"))


def many_at_once(large: Large, *, quick: bool) -> list[Figure]:
    """How many decisions a second when eight ask at the same time."""
    each = 750
    large.decide(AT_ONCE, 60)
    rates = []
    for _ in range(2 if quick else 5):
        asked = large.decide(AT_ONCE, each)
        rates.append(len(asked.samples) / asked.seconds)
    return [middle("decisions_per_s", rates, f"{AT_ONCE} at once; median of {len(rates)} times {AT_ONCE * each}")]


def while_it_changes(large: Large, *, quick: bool) -> list[Figure]:
    """The slowest decision while the netmap changes, and the agent's memory afterwards."""
    moments, effects, resident = [], [], []
    agent = large.host.agent
    if agent is None:
        raise RuntimeError("the agent does not run")
    with _Beside(large) as beside, large.deciding() as result:
        for _ in range(3 if quick else CHANGES):
            moments.append(time.monotonic())
            effects.append(large.change())
            resident.append(processes.memory_mib(agent.pid, "VmRSS"))
    slowest = _slowest(result[0].samples, moments)
    size = f"{large.netmap_bytes / 2**20:.0f} MiB, {large_localapi.NODES} nodes, {large_localapi.RULES} rules"
    note = (
        f"slowest of {len(result[0].samples)} in {len(moments)} changes of a netmap of {size}; spread: of each change"
    )
    own = "slowest whois of the embedded tailscaled itself meanwhile, asked from Python"
    return [
        Figure("decision_stall_ms", max(slowest), spread(slowest), note),
        Figure("localapi_stall_ms", max(beside.times), spread(_slowest(beside.samples, moments)), own),
        Figure("agent_rss_mib", resident[-1], spread(resident), f"resident after {len(moments)} netmap changes"),
        middle("large_policy_effect_s", effects, "from a change of that netmap to a decision by it"),
    ]


def _slowest(samples: tuple[tuple[float, float], ...], moments: list[float]) -> list[float]:
    """The slowest sample of each stretch that begins at one of the moments."""
    ends = [*moments[1:], float("inf")]
    return [max(took for at, took in samples if begin <= at < end) for begin, end in zip(moments, ends, strict=True)]


class _Beside:
    """Asks tailscaled itself now and then, to tell its own delays from the agent's."""

    def __init__(self, large: Large) -> None:
        self._connection = large.connect()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._samples: list[tuple[float, float]] = []

    def _ask(self) -> None:
        while not self._stop.wait(0.005):
            self._samples.append((time.monotonic(), _whois(self._connection)))

    @property
    def samples(self) -> tuple[tuple[float, float], ...]:
        return tuple(self._samples)

    @property
    def times(self) -> list[float]:
        return [took for _, took in self._samples]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._connection.close()


def reader(large: Large, *, quick: bool) -> list[Figure]:
    """The most memory that the root reader takes, and its CPU time."""
    runs = [_run_reader(large) for _ in range(1 if quick else 3)]
    note = f"the root reader with a netmap of {large.netmap_bytes / 2**20:.0f} MiB"
    return [
        middle("reader_peak_mib", [peak for peak, _ in runs], f"most memory of {note}"),
        middle("reader_cpu_s", [cpu for _, cpu in runs], f"CPU time of {note}"),
    ]


def _run_reader(large: Large) -> tuple[float, float]:
    ours, theirs = socket.socketpair()
    argv = [large.host.python, "-I", "-S", "-c", _READER]
    with ours, theirs:
        descriptor = theirs.fileno()
        child = large.box.inside(lambda: subprocess.Popen(argv, stdin=descriptor, env={}, cwd="/"))
        theirs.close()
        ours.sendall(b"netmap\n")
        received = len(ours.recv(1))
        # All that it will say is in its memory now, more than the socket takes: it waits for us.
        peak, cpu = processes.memory_mib(child.pid, "VmHWM"), processes.cpu_seconds(child.pid)
        while part := ours.recv(1 << 16):
            received += len(part)
        if child.wait(30) != 0 or received < large_localapi.RULES:
            raise RuntimeError(f"the reader ended with {child.returncode} after {received} bytes")
    return peak, cpu


def agent_cpu(large: Large, *, quick: bool) -> list[Figure]:
    """The agent's own CPU time of one decision."""
    agent = large.host.agent
    if agent is None:
        raise RuntimeError("the agent does not run")
    costs = []
    for _ in range(1 if quick else 3):
        before = processes.cpu_seconds(agent.pid)
        count = len(large.decide(1, 600).samples)
        costs.append((processes.cpu_seconds(agent.pid) - before) / count * 1000)
    return [
        Figure("decision_cpu_ms", statistics.median(costs), spread(costs), "CPU time of the agent for one decision")
    ]
