"""On and off: in the order that opens no door, to the byte, and whatever interrupts it."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale.errors import HostError
from pam_tailscale.host import switch, units
from pam_tailscale.host.arrangement import PATHS, File, arrange, removed
from pam_tailscale.host.files import Files
from pam_tailscale.host.journal import Change, Goal
from pam_tailscale.host.version import OpenSSH
from tests.unit.host.rig import AGENT_TOML, DROP_IN, MARK, NEW, OLD, SSHD_PAM, Host, Rig, wanted

BOTH = pytest.mark.parametrize("openssh", [OLD, NEW], ids=str)


class KilledError(BaseException):
    """The process is gone: nothing of it runs any more."""


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """A host without systemd that is off."""
    monkeypatch.setattr(units, "_BOOTED", tmp_path / "none")
    monkeypatch.setattr(switch, "end_waiting", lambda: 0)
    return Rig(tmp_path)


def is_safe(rig: Rig) -> bool:
    """Whether the PAM half that belongs to the drop-in by which sshd goes is there."""
    read = rig.sshd.drop_in
    return read is None or pam_half_stands(rig.snapshot(), NEW if b"PAMServiceName" in read else OLD)


def pam_half_stands(host: Host, openssh: OpenSSH) -> bool:
    """Whether the PAM half is what it must be while sshd goes by the drop-in."""
    ours = arrange(wanted(openssh), {str(paths.PAM_SSHD): SSHD_PAM})
    half = {file.path: file.content for file in ours if file.part.value == "pam"}
    return all(host.get(path) == content for path, content in half.items())


@BOTH
def test_on_and_off_again_is_what_was_before_to_the_byte(rig: Rig, openssh: OpenSSH) -> None:
    """Also without a final newline in a file of the administrator's."""
    before = rig.snapshot()
    rig.turn_on(openssh)
    assert DROP_IN in rig.snapshot()
    rig.switch.finish_off()
    assert rig.snapshot() == before
    assert rig.sshd.log == ["reload with the drop-in", "asked", "reload without", "asked"]


@BOTH
def test_the_drop_in_is_never_there_or_in_force_without_its_pam_half(
    rig: Rig, openssh: OpenSSH, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at after every single write."""
    looked = []
    put = Files.put

    def look(files: Files, file: File) -> bool:
        done = put(files, file)
        host = rig.snapshot()
        if DROP_IN in host or rig.sshd.drop_in is not None:
            looked.append(file.path)
            assert pam_half_stands(host, openssh)
        return done

    monkeypatch.setattr(Files, "put", look)
    rig.turn_on(openssh)
    rig.switch.finish_off()
    assert len(looked) >= 2


@BOTH
def test_where_sshd_does_not_forget_the_drop_in_its_pam_half_stays(rig: Rig, openssh: OpenSSH) -> None:
    """The last thing that keeps the door shut. The next run finishes."""
    before = rig.snapshot()
    rig.turn_on(openssh)
    rig.switch.journal.store(Change(Goal.OFF, {}, {}))
    rig.sshd.complaint = "line 1: bad"
    with pytest.raises(HostError, match="line 1: bad"):
        rig.switch.finish_off()
    assert pam_half_stands(rig.snapshot(), openssh)
    assert rig.switch.journal.load() is not None
    rig.sshd.complaint = ""
    assert rig.switch.recover()
    assert rig.snapshot() == before


def test_sshd_that_cannot_read_its_files_again_is_seen_before_anything_is_changed(rig: Rig) -> None:
    """An error of somebody else's in sshd_config. With sshd down there is nothing to forget."""
    rig.sshd.complaint = "line 1: bad"
    with pytest.raises(HostError, match=r"line 1: bad\. Nothing was changed"):
        rig.switch.must_be_possible(())
    rig.sshd.up = False
    rig.switch.must_be_possible(())


@BOTH
def test_with_sshd_down(rig: Rig, openssh: OpenSSH) -> None:
    """It counts when it starts."""
    before = rig.snapshot()
    rig.sshd.up = False
    rig.turn_on(openssh)
    rig.switch.finish_off()
    assert rig.snapshot() == before
    assert rig.sshd.log == []


@BOTH
def test_a_check_that_fails_stops_before_sshd_reads_anything(rig: Rig, openssh: OpenSSH) -> None:
    """It then never was in force."""

    def fails() -> None:
        raise HostError("overridden")

    with pytest.raises(HostError, match="overridden"):
        rig.switch.on(arrange(wanted(openssh), rig.files.present(PATHS)), fails)
    assert rig.sshd.log == []


def change_of(rig: Rig, files: tuple[File, ...]) -> Change:
    """What enable writes into the journal."""
    touched = dict.fromkeys([*PATHS, MARK, *(file.path for file in files)])
    return Change(
        Goal.ON, {path: rig.files.read(path) for path in touched}, {file.path: file.content for file in files}
    )


def switch_to(rig: Rig, openssh: OpenSSH) -> Callable[[], None]:
    """What enable does with the switch; the journal is written already."""
    files = (*arrange(wanted(openssh), rig.files.present(PATHS)), File(MARK, b"{}\n", switch.part_of(MARK)))
    rig.switch.journal.store(change_of(rig, files))

    def run() -> None:
        if removed(rig.files.present(PATHS)):
            rig.switch.off()
        rig.switch.on(files)
        rig.switch.journal.remove()

    return run


def kill_at(number: int, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is killed before its `number`th step, counted over writes and reloads."""
    steps = itertools.count(1)
    put, reload = Files.put, rig.sshd.reload

    def step() -> None:
        if next(steps) == number:
            raise KilledError

    def killed_put(files: Files, file: File) -> bool:
        step()
        return put(files, file)

    def killed_reload() -> bool:
        step()
        return reload()

    monkeypatch.setattr(Files, "put", killed_put)
    monkeypatch.setattr(rig.sshd, "reload", killed_reload)


@pytest.mark.parametrize("start", [None, OLD, NEW], ids=str)
@BOTH
def test_killed_at_any_step_of_switching_on_the_next_run_takes_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openssh: OpenSSH, start: OpenSSH | None
) -> None:
    """From off, from the same arrangement, and from the other one (an upgrade of Debian)."""
    monkeypatch.setattr(units, "_BOOTED", tmp_path / "none")
    monkeypatch.setattr(switch, "end_waiting", lambda: 0)
    kills = 0
    for number in itertools.count(1):
        rig = Rig(tmp_path / str(number))
        if start is not None:
            rig.turn_on(start)
        before = rig.snapshot()
        run = switch_to(rig, openssh)
        with monkeypatch.context() as patch:
            kill_at(number, rig, patch)
            try:
                run()
            except KilledError:
                kills += 1
            else:
                break
            assert is_safe(rig)
            kill_at(number, rig, patch)
            with suppress(KilledError):
                rig.switch.recover()
        assert is_safe(rig)
        rig.switch.recover()
        assert rig.snapshot() == before, number
        assert rig.sshd.drop_in == before.get(DROP_IN)
        assert not rig.switch.recover()
    assert kills >= 6


@BOTH
def test_killed_at_any_step_of_switching_off_the_next_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openssh: OpenSSH
) -> None:
    """Also where recovering is killed in its turn."""
    monkeypatch.setattr(units, "_BOOTED", tmp_path / "none")
    monkeypatch.setattr(switch, "end_waiting", lambda: 0)
    kills = 0
    for number in itertools.count(1):
        rig = Rig(tmp_path / str(number))
        before = rig.snapshot()
        rig.turn_on(openssh)
        rig.switch.journal.store(Change(Goal.OFF, {}, {}))
        with monkeypatch.context() as patch:
            kill_at(number, rig, patch)
            try:
                rig.switch.finish_off()
            except KilledError:
                kills += 1
            else:
                break
            kill_at(2, rig, patch)
            with pytest.raises(KilledError):
                rig.switch.recover()
        assert is_safe(rig)
        assert rig.switch.recover()
        assert rig.snapshot() == before, number
        assert rig.sshd.drop_in is None
    assert kills >= 6


@BOTH
def test_what_somebody_else_wrote_meanwhile_is_kept_and_the_host_stays_off(rig: Rig, openssh: OpenSSH) -> None:
    """The administrator's word is newer than what was before."""
    rig.turn_on(openssh)
    switch_to(rig, NEW)
    rig.write({str(paths.PAM_SSHD): b"# anew\n"})
    assert rig.switch.recover()
    after = rig.snapshot()
    assert after.pop(str(paths.PAM_SSHD)) == b"# anew\n"
    assert after == {str(paths.CONFIG): AGENT_TOML, str(paths.PIN): b"{}\n"}
    assert any("written by somebody else meanwhile" in text for text in rig.said)


@BOTH
def test_an_edit_beside_ours_is_kept_when_switching_off(rig: Rig, openssh: OpenSSH) -> None:
    """Only our lines go."""
    rig.turn_on(openssh)
    path = str(paths.PAM_SSHD)
    rig.write({path: rig.snapshot()[path] + b"\n# and this\n"})
    rig.switch.finish_off()
    assert rig.snapshot()[path] == SSHD_PAM + b"\n# and this\n"


def test_an_open_door_is_an_error(rig: Rig) -> None:
    """The running listener has the last word."""
    rig.sshd.open_door = True
    with pytest.raises(HostError, match="lets root in"):
        rig.turn_on(NEW)


def test_what_each_file_is_for() -> None:
    """Agrees with what arrange says."""
    for openssh in (OLD, NEW):
        for file in arrange(wanted(openssh), {str(paths.PAM_SSHD): SSHD_PAM}):
            assert switch.part_of(file.path) is file.part, file.path
