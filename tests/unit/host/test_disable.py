"""The order of a run of `disable`, and when it changes nothing."""

from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.errors import HostError
from pam_tailscale.host import lock, switch, units
from pam_tailscale.host.disable import Disabler
from tests.unit.host.rig import DROP_IN, NEW, OLD, Rig
from tests.unit.host.test_enable import Somebody

BOTH = pytest.mark.parametrize("openssh", [OLD, NEW], ids=str)


class Stage(Rig):
    """A host on which `disable` can be run."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root)
        self.person = Somebody()
        self.watched = True
        self.events: list[str] = []
        original = lock.locked
        monkeypatch.setattr(lock, "locked", lambda say: original(say, root.parent / "lock"))
        monkeypatch.setattr(switch, "end_waiting", lambda: 2)
        monkeypatch.setattr(units, "watches", lambda: self.watched)
        monkeypatch.setattr(units, "unwatch", self.unwatch)
        monkeypatch.setattr(units, "reload_agent", self.reload_agent)

    def reload_agent(self) -> bool:
        self.events.append("reload_agent")
        return True

    def unwatch(self) -> None:
        self.watched = False

    @property
    def disabler(self) -> Disabler:
        return Disabler(self.files, self.switch, self.person)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A host that is off."""
    return Stage(tmp_path / "root", monkeypatch)


def test_off(stage: Stage) -> None:
    """To the byte; the agent reads what it says about root once more."""
    before = stage.snapshot()
    stage.turn_on(NEW)
    report = stage.disabler.run(dry_run=False)
    assert (report.on, report.changed, report.problem) == (False, True, "")
    assert f"--- {DROP_IN}" in report.diff
    assert stage.snapshot() == before
    assert not stage.watched
    assert stage.events == ["reload_agent"]
    assert "ended 2 connections that had not logged in yet" in stage.said


def test_again_is_nothing(stage: Stage) -> None:
    """Without asking anybody."""
    stage.watched = False
    report = stage.disabler.run(dry_run=False)
    assert (report.on, report.changed) == (False, False)
    assert stage.person.shown == []
    assert stage.sshd.log == []


def test_a_watch_that_is_left_is_something(stage: Stage) -> None:
    """Nor is a marker alone off."""
    assert stage.disabler.run(dry_run=False).changed
    stage.write({str(paths.ENABLED): b"damaged"})
    assert stage.disabler.run(dry_run=False).changed
    assert stage.files.read(str(paths.ENABLED)) is None


@pytest.mark.parametrize("dry_run", [True, False])
def test_who_only_looks_or_does_not_agree_has_nothing_changed(stage: Stage, *, dry_run: bool) -> None:
    """They have seen what it would be."""
    stage.turn_on(NEW)
    before = stage.snapshot()
    stage.person.agree = False
    report = stage.disabler.run(dry_run=dry_run)
    assert (report.on, report.changed, bool(report.problem)) == (True, False, not dry_run)
    assert f"--- {DROP_IN}" in report.diff
    assert stage.snapshot() == before


def test_what_cannot_be_done_is_not_begun(stage: Stage) -> None:
    """Not even a journal is left."""
    stage.turn_on(NEW)
    before = stage.snapshot()
    stage.sshd.complaint = "line 1: bad"
    with pytest.raises(HostError, match=r"line 1: bad.*Nothing was changed"):
        stage.disabler.run(dry_run=False)
    assert stage.snapshot() == before


@BOTH
def test_what_was_begun_is_finished_by_the_next_run(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, openssh: object
) -> None:
    """The PAM half stays until sshd has forgotten the drop-in."""
    before = stage.snapshot()
    stage.turn_on(NEW if openssh == NEW else OLD)

    def fails() -> bool:
        raise HostError("it did not")

    with monkeypatch.context() as patch:
        patch.setattr(stage.sshd, "reload", fails)
        with pytest.raises(HostError, match="it did not"):
            stage.disabler.run(dry_run=False)
    assert stage.files.read(DROP_IN) is None
    half = stage.files.read(str(paths.PAM_SERVICE if openssh == NEW else paths.PAM_SSHD))
    assert half is not None
    assert b"pam_tailscale.so" in half
    assert stage.disabler.run(dry_run=False).changed
    assert stage.snapshot() == before
