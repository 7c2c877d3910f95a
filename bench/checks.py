"""What checks cost: a login whose check is passed already, and how long after the approval the shell is there."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from bench.checked import AWAY_MS, Checked
from bench.figures import Figure, middle
from bench.logins import OPENSSH, interleaved, ratio
from bench.real import OURS, PORTS, USER, Real, Server
from tests.support.fake_oidc import TOKEN, Handler, send
from tests.support.host import Host
from tests.support.members import OPEN, check, make_policy
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin, plain_ssh

RUNS, QUICK_RUNS = 101, 9
"""Many: what is looked for is small beside what a login takes."""
APPROVALS, QUICK_APPROVALS = 9, 2
OIDC_APPROVALS, QUICK_OIDC_APPROVALS = 5, 1
"""Fewer: each of them waits for a poll of the provider."""
MOMENT = "date +%s.%N"
"""A remote command that says when it ran: all hosts here have the same clock."""
_LOGIN = "user1@headscale.net"
_PASSED = "check_passed"


def oidc_logins(checked: Checked, *, quick: bool) -> list[Figure]:
    """Logins with evidence of the identity provider, beside those under a rule that accepts."""
    checked.use_oidc()
    checked.pass_a_check(checked.approve_at_provider)
    asked = checked.provider.asked.total()
    figures = _logins(checked, "checked", "a rule that checks, with valid evidence", quick=quick)
    if checked.provider.asked.total() != asked:
        raise RuntimeError("the identity provider was asked, for a login with evidence")
    return figures


def control_logins(checked: Checked, *, quick: bool) -> list[Figure]:
    """Logins that the control plane remembers, beside those under a rule that accepts."""
    checked.use_control()
    checked.pass_a_check(checked.control.approve)
    what = f"a rule that checks, remembered by a control plane that answers after {AWAY_MS} ms more; connection warm"
    return _logins(checked, "control", what, quick=quick)


def _logins(checked: Checked, way: str, what: str, *, quick: bool) -> list[Figure]:
    """The ratio, and how long the agent took for each in the first phase, by its own journal."""
    host = checked.host
    before = len(host.journal())
    times = interleaved(checked.scene.client.box, checked.commands(way), QUICK_RUNS if quick else RUNS)
    mine, others = _agent_ms(host, before, _PASSED), _agent_ms(host, before, "accepted")
    runs = len(times[way])
    if min(len(mine), len(others)) < runs:
        raise RuntimeError(f"{runs} logins, but {len(mine)} passed a check and {len(others)} were accepted")
    prefix = "" if checked.suite == "bookworm" else "debian13_"
    where = f"under a rule that accepts; {OPENSSH[checked.suite]}, {runs} interleaved"
    return [
        ratio(f"{prefix}{way}_login_vs_accept", times[way], times["accept"], f"{where}; {what}"),
        middle(f"{prefix}{way}_login_ms", times[way], f"a login under {what}"),
        middle(f"{prefix}{way}_login_accept_ms", times["accept"], "a login under a rule that accepts, in the same run"),
        middle(f"{prefix}{way}_decision_ms", mine, "of it the agent's decision about the method none"),
        middle(f"{prefix}{way}_decision_accept_ms", others, "the same under a rule that accepts"),
    ]


def _agent_ms(host: Host, begin: int, reason: str) -> list[float]:
    """How long the agent took to decide about `none`, from that entry of its journal on."""
    wanted = {"TAILSCALE_REASON": reason, "TAILSCALE_PHASE": "auth", "TAILSCALE_METHOD": "none"}
    return [
        float(entry["TAILSCALE_MS"])
        for entry in host.journal()[begin:]
        if all(entry.get(name) == value for name, value in wanted.items())
    ]


def oidc_approval(checked: Checked, *, quick: bool) -> list[Figure]:
    """From an approval at the identity provider to the remote command: the longest, as it comes just after a poll."""
    checked.use_oidc()
    took = []
    for _ in range(QUICK_OIDC_APPROVALS if quick else OIDC_APPROVALS):
        checked.forget()
        with _Poll(checked) as poll, checked.waiting(MOMENT) as login:
            login.page()
            poll.wait()
            approved = time.time()
            checked.approve_at_provider()
            took.append(_ran(login) - approved)
    note = f"the same at an identity provider whose interval is 5 s, approved just after a poll; {len(took)} approvals"
    return [middle("oidc_approval_to_shell_s", took, note)]


class _Poll:
    """The next poll at the identity provider, whose answer is that nobody has approved."""

    def __init__(self, checked: Checked) -> None:
        self._faults = checked.provider.faults
        self._answered = threading.Event()

    def _answer(self, handler: Handler) -> None:
        send(handler, 400, b'{"error": "authorization_pending"}')
        self._answered.set()

    def wait(self) -> None:
        """Wait until it has been answered."""
        if not self._answered.wait(30):
            raise RuntimeError("the agent does not poll")
        del self._faults[TOKEN]

    def __enter__(self) -> Self:
        self._faults[TOKEN] = self._answer
        return self

    def __exit__(self, *_: object) -> None:
        self._faults.pop(TOKEN, None)


def approval(real: Real, *, quick: bool) -> list[Figure]:
    """From the end of `headscale auth approve` to the remote command of an ssh that waits for it, after Enter."""
    server = real.servers["bookworm"]
    took, since_begun = [], []
    with _check_rules(real, server) as renew:
        for _ in itertools.repeat(None, QUICK_APPROVALS if quick else APPROVALS):
            next(renew)
            with _waiting(real, server) as login:
                auth_id = login.page().rstrip("/").rpartition("/")[2]
                began = time.time()
                real.tailnet.box.run(["/usr/bin/headscale", "auth", "approve", "--auth-id", auth_id])
                returned = time.time()
                ran = _ran(login)
            took.append(ran - returned)
            since_begun.append(ran - began)
    note = f"end of `headscale auth approve` to the remote command having run, {len(took)} approvals"
    return [
        middle("approval_to_shell_s", took, note),
        middle("approval_command_to_shell_s", since_begun, "the same from when that command was started"),
    ]


def _ran(login: WaitingLogin) -> float:
    """When the remote command ran."""
    if login.finish() != 0:
        raise RuntimeError(f"a login that was approved failed: {login.stderr}")
    return float(login.stdout)


def _waiting(real: Real, server: Server) -> WaitingLogin:
    ssh, *rest = plain_ssh(USER, server.node.ipv4, remote=MOMENT)
    return WaitingLogin(real.device.box, [ssh, "-p", str(PORTS[OURS]), *rest])


@contextmanager
def _check_rules(real: Real, server: Server) -> Iterator[Iterator[None]]:
    """Puts rules into force that check; each next() lets the control plane and the host forget who has passed."""

    def renew() -> Iterator[None]:
        for hours in itertools.cycle((12, 11)):  # another policy: that makes headscale forget
            rule = check(["user1@"], ["tag:server"], USER, period=f"{hours}h")
            real.tailnet.set_policy(make_policy(rule))
            wait_until(lambda: _reason(real, server.host) == "check_needed", 20, "the rule is in force")
            server.host.cli("check", "--forget", _LOGIN, check=False)
            yield

    try:
        yield renew()
    finally:
        real.tailnet.set_policy(OPEN)
        wait_until(lambda: _reason(real, server.host) == "accepted", 20, "the rules are as before")


def _reason(real: Real, host: Host) -> str:
    told = host.cli("explain", USER, "--from", real.device.ipv4, "--json", check=False).stdout
    return str(json.loads(told)["reason"])
