"""Switching on: look, ask, show, prove, write, have sshd read it, ask the running listener. Or all of it taken back.

The order of a run stands here, and nothing else: what is wrong is decided in preconditions.py, what is written in
arrangement.py, how it is written and taken back in switch.py, what is proved in proof.py.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pam_tailscale import paths
from pam_tailscale import pin as pins
from pam_tailscale.errors import HostError, PamTailscaleError
from pam_tailscale.host import changes, dropin, lock, marker, preconditions, signals, units
from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.arrangement import PATHS, File, Part, Wanted, arrange, removed, without
from pam_tailscale.host.effective import connection_spec, differing
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.files import Files
from pam_tailscale.host.journal import Change, Goal
from pam_tailscale.host.preconditions import Action, Finding
from pam_tailscale.host.proving.trial import Outcome, Plan
from pam_tailscale.host.report import Person, Report
from pam_tailscale.host.sshd import Sshd
from pam_tailscale.host.switch import Switch

_PIN = str(paths.PIN)
_MARKER = str(paths.ENABLED)
_AGENT_SECONDS = 5.0
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class Looking:
    """How a run finds out what it does not know. The functions raise nothing that is expected."""

    facts: Callable[[], Facts]
    """The host as it is now, by the pin that is in force."""
    agent_ready: Callable[[], bool]
    """Whether the agent answers and has heard from tailscaled."""
    plan: Callable[[Facts, Wanted, Mapping[str, bytes | None], Mapping[str, bytes | None]], Plan]
    """The proof's plan, from the files before and after."""
    prove: Callable[[Plan], Sequence[Outcome]]


@dataclass(frozen=True, slots=True)
class Enabler:
    """Switches this host on."""

    files: Files
    sshd: Sshd
    switch: Switch
    looking: Looking
    person: Person

    def run(self, given: Answers, *, dry_run: bool = False, refresh: bool = False) -> Report:
        """Switch on, once; a host that is on as it should be is left as it is.

        `refresh`: only where it is on already, for a new sshd or a new version of ours. An earlier run that was
        interrupted is finished or taken back first. Raises HostError and ConfigError: everything is then what it was
        before, or the text says what is not.
        """
        with lock.locked(self.person.say), signals.raising():
            recovered = not dry_run and self.switch.recover()
            content = self.files.read(_MARKER)
            if refresh and content is None:
                return Report(on=False, changed=recovered)
            answers = marker.merged(given, marker.decode(content)) if content is not None else given
            if not dry_run:
                self._start_agent()
            facts, answers, findings = self._judged(answers, refresh=refresh)
            if _stops(findings):
                return Report(content is not None, recovered, findings=findings, problem=_NOT_YET)
            files = self._files(facts, answers)
            present = self.files.present([*PATHS, _PIN, _MARKER])
            todo = _todo(present, files)
            diff = changes.diff(present, tuple(file for file in todo if file.part is not Part.REFERENCE))
            if not todo and (units.watches() or not units.booted()):
                return Report(on=True, changed=recovered, findings=findings)
            report = Report(content is not None, recovered, diff, findings)
            if dry_run:
                return report
            if not self.person.agrees(diff):
                return replace(report, problem="not agreed to: nothing was changed")
            return self._change(replace(report, on=True, changed=True), facts, answers, files, refresh=refresh)

    def _start_agent(self) -> None:
        units.start_agent()
        deadline = time.monotonic() + _AGENT_SECONDS
        while not self.looking.agent_ready() and time.monotonic() < deadline:
            time.sleep(_PAUSE)

    def _judged(self, answers: Answers, *, refresh: bool) -> tuple[Facts, Answers, tuple[Finding, ...]]:
        """What stands in the way, once the person has answered what can be answered with yes.

        Whoever refreshes a host does not cut anybody off: it is on already.
        """
        facts = self.looking.facts()
        findings = preconditions.judge(facts, answers)
        if not any(finding.action is Action.REFUSE for finding in findings):
            for finding in findings:
                if finding.action is Action.ASK and (choice := self.person.answers(finding)):
                    answers = replace(answers, **_answer(finding, choice))
            findings = preconditions.judge(facts, answers)
        if refresh:
            findings = tuple(finding for finding in findings if finding.flag not in _ABOUT_SWITCHING_ON)
        return facts, answers, findings

    def _files(self, facts: Facts, answers: Answers) -> tuple[File, ...]:
        """Everything as it shall be, the pin and the marker included."""
        if facts.tailscaled.now is None:
            raise HostError("tailscaled does not say which node this is: see 'tailscale status'")
        pin = File(_PIN, pins.encode(facts.tailscaled.now), Part.REFERENCE)
        mark = File(_MARKER, marker.encode(answers), Part.REFERENCE)
        base = without(self.files.present(PATHS))
        return (pin, mark, *arrange(preconditions.wanted(facts, answers), base))

    def _change(
        self, report: Report, facts: Facts, answers: Answers, files: tuple[File, ...], *, refresh: bool
    ) -> Report:
        """All of it or nothing."""
        touched = dict.fromkeys([*PATHS, *(file.path for file in files)])
        before = {path: self.files.read(path) for path in touched}
        change = Change(Goal.ON, before, {file.path: file.content for file in files})
        self.switch.journal.store(change)
        try:
            outcomes = self._prepare_and_prove(answers, files, refresh=refresh)
            self._put(facts, answers, files)
            units.watch()
            self.switch.journal.remove()
        except BaseException as err:
            self._take_back(change, err)
            raise
        return replace(report, outcomes=outcomes)

    def _put(self, facts: Facts, answers: Answers, files: tuple[File, ...]) -> None:
        """Switch on, or over from another arrangement; where ours is in force already, sshd is left alone."""
        present = self.files.present(PATHS)
        if any(file.path in PATHS for file in _todo(present, files)):
            if removed(present):
                self.switch.off()
            settings = dropin.settings(preconditions.wanted(facts, answers))
            self.switch.on(files, lambda: self._must_be_effective(facts, settings))
        for file in files:
            self.files.put(file)

    def _prepare_and_prove(self, answers: Answers, files: tuple[File, ...], *, refresh: bool) -> tuple[Outcome, ...]:
        """Write what the agent goes by, which lets nobody in by itself, and prove the rest with it."""
        for file in files:
            if file.path == _PIN:
                self.files.put(file)
            if file.part is Part.AGENT and self.files.put(file) and not units.reload_agent():
                self.person.say("the agent has new settings: have it read them (SIGHUP)")
        facts, _, findings = self._judged(answers, refresh=refresh)
        if _stops(findings):
            raise HostError("; ".join(f"{one.what}: {one.means}. {one.mend}" for one in _stops(findings)))
        present = self.files.present(PATHS)
        base = without(present)
        plan = self.looking.plan(
            facts,
            preconditions.wanted(facts, answers),
            {path: base.get(path) for path in PATHS},
            {path: base.get(path) for path in PATHS} | {file.path: file.content for file in files},
        )
        self.person.say("proving it, in namespaces of their own")
        outcomes = tuple(self.looking.prove(plan))
        failed = [outcome for outcome in outcomes if not outcome.ok]
        if failed:
            raise HostError("the proof failed: " + "; ".join(map(_failure, failed)))
        return outcomes

    def _must_be_effective(self, facts: Facts, settings: Mapping[str, str]) -> None:
        """Whether sshd, reading its files as they are now, would go by ours on a tailnet connection."""
        for account in ("root", "nobody"):
            for address in facts.tailscaled.addresses:
                for port in facts.sshd.ports:
                    found = self.sshd.effective(facts.sshd.options, connection_spec(account, address, address, port))
                    wrong = [f"{keyword} is {found.one(keyword)!r}" for keyword in differing(found, settings)]
                    if wrong:
                        raise HostError(f"sshd would not go by the drop-in for {account}: {', '.join(wrong)}")

    def _take_back(self, change: Change, err: BaseException) -> None:
        with signals.held():
            self.person.say("taking everything back")
            try:
                self.switch.roll_back(change)
                if str(paths.CONFIG) in change.after:
                    units.reload_agent()
            except PamTailscaleError as second:
                raise HostError(
                    f"{err}. And it could not be taken back: {second}. Run 'pam-tailscale disable' once that is mended"
                ) from err


def _todo(present: Mapping[str, bytes], files: Sequence[File]) -> tuple[File, ...]:
    """What is not yet as it shall be, and what is left of another arrangement."""
    wanted = {file.path for file in files}
    left = (file for file in removed(present) if file.path not in wanted)
    return (*(file for file in files if present.get(file.path) != file.content), *left)


_ABOUT_SWITCHING_ON = frozenset({"--no-other-way", "--cut-me-off"})
_NOT_YET = "not switched on: see what stands in the way"


def _stops(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.action is not Action.HANDLE)


def _answer(finding: Finding, choice: str) -> dict[str, Any]:
    name = finding.flag.lstrip("-").replace("-", "_")
    return {name: Methods(choice) if name == "methods" else True}


def _failure(outcome: Outcome) -> str:
    return f"{outcome.name}: expected {outcome.expected}, found {outcome.found}" + (
        f" ({outcome.detail})" if outcome.detail else ""
    )
