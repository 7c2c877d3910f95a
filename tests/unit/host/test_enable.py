"""The order of a run of `enable`: what it asks, what it does when, and what is left when any of it fails."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale import pin as pins
from pam_tailscale.errors import HostError
from pam_tailscale.host import dropin, effective, lock, marker, switch, units
from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.arrangement import Wanted
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.enable import Enabler, Looking
from pam_tailscale.host.facts import Answer, Facts
from pam_tailscale.host.preconditions import Finding
from pam_tailscale.host.proving.trial import Outcome, Plan
from pam_tailscale.host.report import Report
from pam_tailscale.host.version import OpenSSH
from tests.support.host_facts import (
    BOOKWORM,
    OTHER_PIN,
    PIN,
    STOCK,
    TRIXIE,
    healthy,
    with_config,
    with_host,
    with_session,
    with_sshd,
)
from tests.unit.host.rig import DROP_IN, MARK, SSHD_PAM, Rig

GOOD = Outcome("somebody", "let in", "let in", "")
BAD = Outcome("the decoy", "refused", "let in by none", "as sshd says")
DENIED = Answer("deny", "user_not_in_rule", "no rule", can_tell=True)
Overrides = Mapping[str, str]


class Somebody:
    """Agrees to everything, answers what a test has them answer, and notes what they are told."""

    def __init__(self) -> None:
        self.choices: dict[str, str] = {}
        self.agree = True
        self.said: list[str] = []
        self.shown: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def answers(self, finding: Finding) -> str:
        return self.choices.get(finding.flag, "")

    def agrees(self, diff: str) -> bool:
        self.shown.append(diff)
        return self.agree


class Stage(Rig):
    """A host on which `enable` can be run, with facts and a proof that a test can change."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        (root / "var/lib/pam-tailscale/pin.json").unlink()
        self.facts = healthy(TRIXIE)
        self.later: Facts | None = None
        self.outcomes: tuple[Outcome, ...] = (GOOD,)
        self.person = Somebody()
        self.plans: list[Plan] = []
        self.overridden: Overrides = {}
        self.events: list[str] = []
        self.watched = False
        self.methods: Methods | None = None
        monkeypatch.setattr(self.sshd, "effective", self.effective)
        for name in ("start_agent", "watch", "unwatch"):
            monkeypatch.setattr(units, name, self.noting(name))
        monkeypatch.setattr(units, "reload_agent", self.reload_agent)
        monkeypatch.setattr(units, "booted", lambda: True)
        monkeypatch.setattr(units, "watches", lambda: self.watched)
        monkeypatch.setattr(switch, "end_waiting", lambda: 0)
        original = lock.locked
        monkeypatch.setattr(lock, "locked", lambda say: original(say, root.parent / "lock"))

    def reload_agent(self) -> bool:
        self.events.append("reload_agent")
        return True

    def noting(self, name: str) -> Callable[[], None]:
        def note() -> None:
            self.events.append(name)
            self.watched = {"watch": True, "unwatch": False}.get(name, self.watched)

        return note

    def once(self, event: str) -> bool:
        """Whether the proof is done and this has not happened yet."""
        return "proved" in self.events and event not in self.events

    def effective(self, options: Sequence[str], spec: str) -> Effective:
        assert options == self.facts.sshd.options
        self.events.append(f"effective {spec.split(',', maxsplit=1)[0]}")
        settings = {**dropin.settings(Wanted(TRIXIE, 998, 997, methods=self.methods)), **self.overridden}
        return effective.parse("".join(f"{name} {value}\n" for name, value in settings.items()))

    def look(self) -> Facts:
        if self.later is not None and "looked" in self.events:
            return self.later
        self.events.append("looked")
        return self.facts

    def plan(self, facts: Facts, wanted: Wanted, before: object, after: object) -> Plan:
        plan = Plan(before, after, "tailscale0", 7, (), None, None, (22,), wanted.methods is Methods.WITH_KEY)  # type: ignore[arg-type]
        assert facts.pin is not None
        self.plans.append(plan)
        return plan

    def prove(self, _: Plan) -> tuple[Outcome, ...]:
        assert DROP_IN not in self.snapshot() or self.sshd.drop_in is not None
        self.events.append("proved")
        return self.outcomes

    @property
    def enabler(self) -> Enabler:
        looking = Looking(self.look, lambda: True, self.plan, self.prove)
        return Enabler(self.files, self.sshd, self.switch, looking, self.person)

    def run(self, answers: Answers = Answers(), **options: bool) -> Report:  # noqa: B008 (frozen)
        self.events.clear()
        return self.enabler.run(answers, **options)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A host that was never switched on."""
    return Stage(tmp_path / "root", monkeypatch)


def test_the_order(stage: Stage) -> None:
    """Proved before anything is written that sshd reads; looked at once more before sshd reads it."""
    before = stage.snapshot()
    report = stage.run()
    assert (report.on, report.changed, report.problem, report.outcomes) == (True, True, "", (GOOD,))
    assert stage.events == [
        "start_agent",
        "looked",
        "looked",
        "proved",
        "effective user=root",
        "effective user=root",
        "effective user=nobody",
        "effective user=nobody",
        "watch",
    ]
    after = stage.snapshot()
    assert {path: after[path] for path in before} == before
    assert pins.load(stage.root / "var/lib/pam-tailscale/pin.json") == PIN
    assert marker.decode(after[MARK]) == Answers()
    assert stage.sshd.drop_in == after[DROP_IN]
    assert str(paths.CHANGE) not in after


def test_the_proof_is_of_the_files_without_us_and_with_us(stage: Stage) -> None:
    """Also where another arrangement of ours is in force."""
    stage.turn_on(BOOKWORM)
    stage.run()
    (plan,) = stage.plans
    assert plan.before[DROP_IN] is None
    assert plan.before[str(paths.PAM_SSHD)] == SSHD_PAM
    assert plan.after[str(paths.PAM_SSHD)] == SSHD_PAM
    assert plan.after[DROP_IN] == stage.snapshot()[DROP_IN]
    assert stage.sshd.log == [
        "reload with the drop-in",
        "asked",
        "reload without",
        "asked",
        "reload with the drop-in",
        "asked",
    ]
    assert stage.snapshot()[str(paths.PAM_SSHD)] == SSHD_PAM


def test_a_second_run_changes_nothing(stage: Stage) -> None:
    """Nor does it ask or prove anything. Without its watch there is something to do."""
    stage.run()
    stage.facts = dataclasses.replace(stage.facts, pin=PIN)
    before = stage.snapshot()
    report = stage.run()
    assert (report.on, report.changed, stage.events) == (True, False, ["start_agent", "looked"])
    assert stage.snapshot() == before
    stage.watched = False
    assert stage.run().changed
    assert stage.watched


@pytest.mark.parametrize("refresh", [False, True])
def test_refreshing_is_for_hosts_that_are_on(stage: Stage, *, refresh: bool) -> None:
    """A package's trigger must not switch a host on."""
    before = stage.snapshot()
    report = stage.run(refresh=refresh)
    assert report.on is not refresh
    assert (stage.snapshot() == before) is refresh


def test_what_was_answered_about_the_host_is_not_asked_again(stage: Stage) -> None:
    """A refresh has nobody to ask."""
    stage.facts = with_config(healthy(TRIXIE), f"{STOCK}AuthenticationMethods publickey,password\n")
    assert stage.run().problem
    stage.methods = Methods.WITH_KEY
    assert stage.run(Answers(methods=Methods.WITH_KEY)).on
    assert stage.run(refresh=True).problem == ""
    assert stage.plans[-1].key_in_addition


def test_a_question_is_asked_and_its_answer_counts(stage: Stage) -> None:
    """One that is not answered stops it, with nothing changed."""
    before = stage.snapshot()
    stage.facts = healthy(TRIXIE, pin=OTHER_PIN)
    report = stage.run()
    assert (report.on, report.changed) == (False, False)
    assert [finding.flag for finding in report.findings] == ["--repin"]
    assert "not switched on" in report.problem
    assert stage.snapshot() == before
    stage.person.choices["--repin"] = "yes"
    assert stage.run().on


def test_a_refusal_asks_nothing(stage: Stage) -> None:
    """What cannot be answered away comes first."""
    stage.facts = with_sshd(healthy(TRIXIE, pin=OTHER_PIN), complaint="line 1: bad")
    stage.person.choices["--repin"] = "yes"
    report = stage.run()
    assert report.problem
    assert "line 1: bad" in str(report.findings)


def test_a_dry_run_shows_and_changes_nothing(stage: Stage) -> None:
    """Not even the agent is started."""
    before = stage.snapshot()
    report = stage.run(dry_run=True)
    assert (report.on, report.changed, report.problem) == (False, False, "")
    assert f"+++ {DROP_IN}" in report.diff
    assert "halves" not in report.diff
    assert "pin.json" not in report.diff
    assert stage.snapshot() == before
    assert stage.events == ["looked"]


def test_who_does_not_agree_has_nothing_changed(stage: Stage) -> None:
    """They have seen what it would be."""
    before = stage.snapshot()
    stage.person.agree = False
    report = stage.run()
    assert "not agreed to" in report.problem
    assert f"+++ {DROP_IN}" in stage.person.shown[0]
    assert stage.snapshot() == before


@pytest.mark.parametrize("start", [None, BOOKWORM, TRIXIE], ids=str)
@pytest.mark.parametrize("fails", ["proof", "effective", "sshd", "open door", "watch"])
def test_whatever_fails_all_is_what_it_was_to_the_byte(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, fails: str, start: OpenSSH | None
) -> None:
    """And sshd goes by what it went by. Design section 10, point 9."""
    if start is not None:
        stage.turn_on(start)
    before = stage.snapshot()
    expected = _make_fail(stage, monkeypatch, fails)
    with pytest.raises(HostError, match=expected):
        stage.run()
    monkeypatch.undo()
    assert stage.snapshot() == before
    assert stage.sshd.drop_in == before.get(DROP_IN)


def _make_fail(stage: Stage, monkeypatch: pytest.MonkeyPatch, fails: str) -> str:
    if fails == "proof":
        stage.outcomes = (GOOD, BAD)
        return r"the proof failed: the decoy: expected refused, found let in by none \(as sshd says\)"
    if fails == "effective":
        stage.overridden = {"permitemptypasswords": "no"}
        return "sshd would not go by the drop-in for root: permitemptypasswords is 'no'"
    if fails == "sshd":
        test = stage.sshd.test

        def refuses() -> None:
            test()
            if stage.once("refused") and stage.files.read(DROP_IN) is not None:
                stage.events.append("refused")
                raise HostError("line 7: bad")

        monkeypatch.setattr(stage.sshd, "test", refuses)
        return "line 7: bad"
    if fails == "open door":
        ask = stage.sshd.ask

        def asks() -> list[str]:
            silent = ask()
            if stage.once("let in") and stage.sshd.drop_in is not None:
                stage.events.append("let in")
                raise HostError("sshd lets root in")
            return silent

        monkeypatch.setattr(stage.sshd, "ask", asks)
        return "lets root in"

    def no_watch() -> None:
        raise HostError("Unit file is masked")

    monkeypatch.setattr(units, "watch", no_watch)
    return "Unit file is masked"


def test_the_connection_it_is_run_from_is_judged_with_the_pin(stage: Stage) -> None:
    """Before that the agent says no to everybody, which would say nothing."""
    before = stage.snapshot()
    stage.later = with_session(healthy(TRIXIE), answer=DENIED)
    with pytest.raises(HostError, match="alice"):
        stage.run()
    assert stage.snapshot() == before
    stage.person.choices["--cut-me-off"] = "yes"
    assert stage.run().on


def test_a_refresh_asks_nothing_about_switching_on(stage: Stage) -> None:
    """It has nobody to ask, and cuts nobody off who was not: the host is on already."""
    stage.run()
    stage.facts = with_host(healthy(TRIXIE), ways_in=())
    assert stage.run().problem
    assert stage.run(refresh=True).problem == ""


def test_a_setting_of_the_agents_is_read_before_the_proof(stage: Stage) -> None:
    """It would let root in where sshd does not."""
    stage.facts = with_config(healthy(TRIXIE), f"{STOCK}PermitRootLogin no\n")
    stage.run()
    assert b"allow_root = false" in stage.snapshot()[str(paths.CONFIG)]
    assert stage.events.index("reload_agent") < stage.events.index("proved")


def test_what_an_earlier_run_left_comes_first(stage: Stage) -> None:
    """A dry run leaves also that."""
    stage.write({str(paths.CHANGE): b'{"format":1,"goal":"off","before":{},"after":{}}'})
    stage.turn_on(TRIXIE)
    stage.run(dry_run=True)
    assert DROP_IN in stage.snapshot()
    stage.run()
    assert any("interrupted while switching off" in text for text in stage.said)
    assert stage.sshd.log.count("reload without") >= 1


def test_without_tailscaled_nothing_is_pinned(stage: Stage) -> None:
    """There is nothing to pin to."""
    stage.facts = healthy(TRIXIE, tailscaled=dataclasses.replace(stage.facts.tailscaled, now=None, state="Stopped"))
    before = stage.snapshot()
    assert stage.run().problem
    assert stage.snapshot() == before


@pytest.mark.parametrize(("gone", "is_fine"), [("gssapiauthentication", True), ("permitrootlogin", False)])
def test_a_setting_that_sshd_does_not_know(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, gone: str, *, is_fine: bool
) -> None:
    """One that was built without GSSAPI cannot let anybody in by it."""
    known = {name: found for name, found in stage.effective((), "user=root").values.items() if name != gone}
    monkeypatch.setattr(stage.sshd, "effective", lambda *_: Effective(known))
    if is_fine:
        assert stage.run().on
    else:
        with pytest.raises(HostError, match="permitrootlogin is ''"):
            stage.run()


def test_a_new_pin_alone_leaves_sshd_alone(stage: Stage) -> None:
    """It is proved all the same: the agent decides by it."""
    stage.run()
    stage.facts = healthy(TRIXIE, pin=OTHER_PIN)
    stage.write({str(paths.PIN): pins.encode(OTHER_PIN)})
    log = list(stage.sshd.log)
    report = stage.run(Answers(repin=True))
    assert (report.changed, stage.sshd.log) == (True, log)
    assert "proved" in stage.events
    assert pins.load(stage.root / "var/lib/pam-tailscale/pin.json") == PIN
