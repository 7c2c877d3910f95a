"""The sources of policy as one login meets them: the netmap's rules, what the peer is granted, the file on this host.

They are put one after the other in the configured order. One that is configured and cannot be had is a no for everybody
whom it could be about, never passed over. The netmap is read whatever the sources are: it alone tells whether
tailscaled works from its disk.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_tailscale import paths
from pam_tailscale.agent.hostfile import HostFile
from pam_tailscale.agent.memory import spared_by_the_collector
from pam_tailscale.config import Config, Source
from pam_tailscale.errors import PolicyShapeError
from pam_tailscale.model import Reason
from pam_tailscale.policy import document
from pam_tailscale.policy.facts import Knowledge, Problem
from pam_tailscale.policy.grants import compile_grants
from pam_tailscale.policy.onepeer import PeerCompiler, by_role, node_of, unfit_member
from pam_tailscale.policy.rules import Policy
from pam_tailscale.policy.validate import unenforceable, validate
from pam_tailscale.tailnet.records import Whois

ENTRIES_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class SourceState:
    """What status says of a source."""

    name: str
    rules: int | None
    """Rules, or entries of a file; None where each peer has its own."""
    age: float | None
    """Seconds since they were read; None where they are read at each login."""
    place: str = ""
    """The capability, or the file."""
    problem: str = ""
    """Why nobody is let in."""
    warnings: tuple[str, ...] = ()


class Sources:
    """The configured sources.

    Args:
        settings: the configuration as it is now.
        path: the policy file's.
    """

    def __init__(self, settings: Callable[[], Config], path: Path = paths.POLICY_FILE) -> None:
        self._settings = settings
        self._file = HostFile(path, read_policy)
        self._ask: dict[Source, Callable[[Knowledge, Whois], Policy | Problem]] = {
            Source.NETMAP: _of_netmap,
            Source.GRANTS: self._of_grants,
            Source.FILE: self._of_file,
        }

    def reread(self) -> None:
        """Read the policy file now, as at a reload, where it is a source."""
        if Source.FILE in self._settings().sources:
            self._file.reread()

    def apply(self, known: Knowledge, whois: Whois) -> Knowledge:
        """The knowledge with the rules that can be about this peer, of all sources in their order."""
        order = self._settings().sources
        if order == (Source.NETMAP,) or known.policy_problem is not None:
            return known
        policies = []
        for source in order:
            found = self._ask[source](known, whois)
            if isinstance(found, Problem):
                return dataclasses.replace(known, policies=(), policy_problem=found)
            policies.append(found)
        return dataclasses.replace(known, policies=tuple(policies))

    def states(self, known: Knowledge, policy_age: float) -> list[SourceState]:
        """How each source stands, in their order."""
        settings, states = self._settings(), []
        for source in settings.sources:
            if source is Source.NETMAP:
                states += [SourceState(one.source, len(one.rules), policy_age) for one in known.policies]
            elif source is Source.GRANTS:
                states.append(SourceState(source.value, None, None, settings.capability))
            else:
                states.append(self._file_state())
        return states

    def _of_grants(self, known: Knowledge, whois: Whois) -> Policy | Problem:
        del known
        capability = self._settings().capability
        peer = node_of(whois.peer, shared=whois.shared)
        try:
            return compile_grants(capability, whois.capabilities.get(capability), peer)
        except PolicyShapeError as err:
            return Problem(Reason.POLICY_SHAPE, str(err))

    def _of_file(self, known: Knowledge, whois: Whois) -> Policy | Problem:
        compiler = self._file.look()
        if compiler is None:
            return Problem(Reason.POLICY_UNAVAILABLE, self._unusable())
        if known.own is None:
            return Problem(Reason.POLICY_UNAVAILABLE, "tailscaled has not said which node this host is: wait a moment")
        return compiler.rules_for(known.own, node_of(whois.peer, shared=whois.shared))

    def _unusable(self) -> str:
        missing = f'{self._file.path} does not exist: put the policy there, or take "file" out of sources in agent.toml'
        return self._file.problem or missing

    def _file_state(self) -> SourceState:
        compiler, path = self._file.look(), str(self._file.path)
        if compiler is None:
            return SourceState(Source.FILE.value, 0, None, path, self._unusable())
        warnings = []
        if self._file.problem:
            warnings.append(f"the policy file was not taken, the one before is in force: {self._file.problem}")
        if numbers := by_role(compiler.policy):
            shown = ", ".join(map(str, numbers[:ENTRIES_SHOWN])) + ("…" if len(numbers) > ENTRIES_SHOWN else "")
            warnings.append(
                f"{path}: no host knows the roles of people, so that entries of ssh whose src names one let in nobody "
                f"by it, and where they ask for a check refuse (entries {shown}): name people or groups"
            )
        age = time.time() - self._file.read_at
        return SourceState(Source.FILE.value, len(compiler.policy.ssh), age, path, warnings=tuple(warnings))


def read_policy(content: bytes, name: str) -> PeerCompiler:
    """A policy file's content, valid. Raises PolicyFileError.

    Which domains are the tailnet's is not known: its name tells one, and it may have more.
    """
    with spared_by_the_collector():
        policy = document.read(content, name)
        validate(policy, None)
        if demanded := unenforceable(policy):
            raise demanded
        for entry in policy.ssh:
            for position, source in enumerate(entry.sources):
                if problem := unfit_member(policy, source):
                    raise policy.document.error((*entry.path, "src", position), problem)
        return PeerCompiler(policy)


def _of_netmap(known: Knowledge, whois: Whois) -> Policy | Problem:
    del whois
    # A netmap that was read is one policy, without rules where nobody is let in (refresh.with_policy).
    return known.policies[0] if known.policies else Problem(Reason.POLICY_UNAVAILABLE, "the netmap has no policy")
