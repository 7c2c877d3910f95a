"""The documents the command line shows: status, whois, explain. Pure: records in, JSON-ready values out.

Their keys are an interface (`--json`): add, do not rename.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pam_tailscale.agent.hostfile import HostFile
from pam_tailscale.agent.sources import SourceState
from pam_tailscale.agent.store import Snapshot
from pam_tailscale.model import Decision, IPAddress, Mode, Peer, Pin, Reason, Request, join_port
from pam_tailscale.policy import trace
from pam_tailscale.policy.decision import RUNNING, operator_problem
from pam_tailscale.policy.evaluate import Outcome
from pam_tailscale.policy.facts import Knowledge, Problem
from pam_tailscale.policy.narrow import Narrowing
from pam_tailscale.policy.words import person_text

CANNOT_TELL = frozenset(
    {
        Reason.AGENT_STARTING,
        Reason.TAILSCALED_UNREACHABLE,
        Reason.KNOWLEDGE_STALE,
        Reason.STATE_CHANGED,
        Reason.POLICY_UNAVAILABLE,
        Reason.NARROW_DAMAGED,
        Reason.INTERNAL_ERROR,
    }
)
"""Denials that are no statement about the policy: what decides was not to be had."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """What the agent says of itself."""

    version: str
    mode: Mode
    uptime: float
    """Seconds."""
    config_error: str
    """Why the configuration file was not taken at the last reload; the one before is in force."""
    trust_operator: bool = False
    """As the configuration has it."""


@dataclass(frozen=True, slots=True)
class NarrowState:
    """What status says of the narrowing policy."""

    path: str
    in_force: bool
    """It takes something away, or could."""
    problem: str = ""
    """What is wrong with the file as it is now."""


def narrow_state(file: HostFile[Narrowing]) -> NarrowState:
    """The same of its file."""
    return NarrowState(str(file.path), file.value is not None, file.problem)


def status(
    agent: AgentState,
    snapshot: Snapshot,
    pin: Pin | Problem,
    sources: Sequence[SourceState],
    narrow: NarrowState,
    checks: str = "",
) -> dict[str, Any]:
    """How things stand, what is wrong, and what to do about it.

    `checks`: why checks cannot be passed at the moment; empty where nothing is known to be wrong.
    """
    known = snapshot.knowledge
    problems = [*_problems(agent, snapshot, pin), *_of_policies(sources, narrow)]
    return {
        "agent": {"version": agent.version, "mode": agent.mode.value, "uptime_s": round(agent.uptime)},
        "tailscaled": {
            "version": known.version,
            "state": known.backend_state,
            "control_url": known.control_url,
            "node_id": known.node_id,
            "tailnet_id": known.tailnet_id,
            "addresses": sorted(str(address) for address in known.self_addresses),
            "bus": "live" if snapshot.bus_live else "down",
            "age_s": round(snapshot.age, 1),
        },
        "sources": [_source(source) for source in sources],
        "narrow": {"path": narrow.path, "in_force": narrow.in_force, "problem": narrow.problem},
        "pin": _pin(pin),
        "problems": problems,
        "warnings": [*_warnings(agent, known, checks), *_policy_warnings(sources, narrow)],
        "ready": not problems,
    }


def _warnings(agent: AgentState, known: Knowledge, checks: str) -> list[str]:
    """What is not in order although logins are decided."""
    refused = f"not every check can be passed at the moment: {checks}"
    damaged = f"the configuration was not taken, the one before is in force: {agent.config_error}"
    return [*([damaged] if agent.config_error else []), *([refused] if checks else []), *known.warnings]


def _source(state: SourceState) -> dict[str, Any]:
    age = None if state.age is None else round(state.age, 1)
    return {"name": state.name, "rules": state.rules, "age_s": age, "place": state.place}


def _of_policies(sources: Iterable[SourceState], narrow: NarrowState) -> Iterator[str]:
    """What is wrong with them so that nobody is let in."""
    yield from (f"the source {state.name} has no policy: {state.problem}" for state in sources if state.problem)
    if narrow.problem and not narrow.in_force:
        yield f"what root of this host takes away cannot be told: {narrow.problem}"


def _policy_warnings(sources: Iterable[SourceState], narrow: NarrowState) -> Iterator[str]:
    for state in sources:
        yield from state.warnings
    if narrow.problem and narrow.in_force:
        yield f"the narrowing policy was not taken, the one before is in force: {narrow.problem}"


def _pin(pin: Pin | Problem) -> dict[str, str] | None:
    if isinstance(pin, Problem):
        return None
    return {"control_url": pin.control_url, "node_id": pin.node_id, "tailnet_id": pin.tailnet_id}


def _problems(agent: AgentState, snapshot: Snapshot, pin: Pin | Problem) -> list[str]:
    known = snapshot.knowledge
    found = []
    if known.problem is not None:
        found.append(known.problem.detail)
    elif known.backend_state != RUNNING:
        found.append(f"tailscaled is in state {known.backend_state!r}: see 'tailscale status', run 'tailscale up'")
    if isinstance(pin, Problem):
        found.append(pin.detail)
    elif known.problem is None and known.node_id and not _pinned(pin, known):
        found.append(
            "tailscaled is logged in elsewhere than root pinned this host to; "
            "if root means this change, run 'pam-tailscale enable --repin'"
        )
    if known.operator and not agent.trust_operator:
        found.append(operator_problem(known.operator).detail)
    if known.problem is None and known.backend_state == RUNNING and known.policy_problem is not None:
        found.append(known.policy_problem.detail)
    if known.cached:
        found.append("tailscaled works from a netmap of its disk, the control plane has not answered yet: wait")
    return found


def _pinned(pin: Pin, known: Knowledge) -> bool:
    return pin == Pin(known.control_url, known.node_id, known.tailnet_id)


def whois(address: IPAddress, peer: Peer | Problem | None, known: Knowledge) -> dict[str, Any]:
    """Who is at an address."""
    document: dict[str, Any] = {"address": str(address), "known": isinstance(peer, Peer)}
    if isinstance(peer, Problem):
        return document | {"problem": peer.detail}
    if peer is None:
        return document
    return document | {
        "node": peer.name,
        "stable_id": peer.stable_id,
        "addresses": [str(one) for one in peer.addresses],
        "identity": peer.identity,
        "login": "" if peer.tags else peer.login,
        "tags": list(peer.tags),
        "expired": peer.expired,
        "self": peer.stable_id == known.node_id,
    }


def explanation(
    request: Request, decision: Decision, outcome: Outcome | None, now: float, check: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A decision, the rule that made it, and for every other rule why it did not.

    `check`: what is known of the person's checks, where the rule asks for one.
    """
    peer = decision.peer
    return {
        "user": request.user,
        "from": join_port(request.connection.client, request.connection.client_port),
        "to": str(request.connection.server),
        "as_of": trace.moment_text(now),
        "decision": decision.verdict.value,
        "reason": decision.reason.value,
        "can_tell": decision.reason not in CANNOT_TELL,
        "detail": decision.detail,
        "person_reads": person_text(decision, request.user),
        "node": peer.name if peer else "",
        "identity": peer.identity if peer else "",
        "rule": decision.rule,
        "source": decision.source,
        "check": check,
        "rules": [trace.document(*each) for each in outcome.trace] if outcome else [],
    }
