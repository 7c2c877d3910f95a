"""What is asked of systemd, by a systemctl that writes down how it was called."""

from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import units

SYSTEMCTL = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
    {case}) echo "{complaint}" >&2; exit 3 ;;
    *MainPID*) echo 4711 ;;
esac
"""


class Systemd:
    """A systemd that does what it is told, but for what matches `fails`."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        (directory / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{directory}/bin", prepend=":")
        monkeypatch.setattr(units, "_BOOTED", directory)
        self.fails("nothing")

    def fails(self, case: str, complaint: str = "no") -> None:
        script = self._directory / "bin/systemctl"
        script.write_text(SYSTEMCTL.format(log=self._directory / "log", case=case, complaint=complaint))
        script.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        log = self._directory / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """A systemd that runs."""
    return Systemd(tmp_path, monkeypatch)


def test_what_each_asks(systemd: Systemd) -> None:
    """The commands that the documentation names."""
    units.start_agent()
    assert units.reload_agent()
    units.watch()
    units.unwatch()
    units.reload("ssh.service")
    units.restart("ssh.service")
    assert units.is_active("ssh.socket")
    assert units.main_pid("ssh.service") == 4711
    assert systemd.asked == [
        "start pam-tailscale-agent.service",
        "reload-or-restart pam-tailscale-agent.service",
        "enable --quiet --now pam-tailscale-halves.path",
        "cat pam-tailscale-halves.path",
        "disable --quiet --now pam-tailscale-halves.path",
        "reload ssh.service",
        "reset-failed ssh.service",
        "restart ssh.service",
        "is-active --quiet ssh.socket",
        "show --property=MainPID --value ssh.service",
    ]


def test_without_systemd_nothing_is_asked(systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chroot, or another init."""
    monkeypatch.setattr(units, "_BOOTED", tmp_path / "none")
    units.start_agent()
    units.watch()
    units.unwatch()
    assert not units.reload_agent()
    assert not units.watches()
    assert not units.is_active("ssh.socket")
    assert units.main_pid("ssh.service") == 0
    assert systemd.asked == []


@pytest.mark.parametrize("state", ["activating", "reloading", "deactivating", "active", "inactive", "failed"])
def test_a_unit_that_is_changing(systemd: Systemd, tmp_path: Path, state: str) -> None:
    """Between two states nothing is known of what it has read."""
    (tmp_path / "bin/systemctl").write_text(f"#!/bin/sh\necho {state}\n")
    assert units.is_changing("ssh.service") is state.endswith("ing")
    assert systemd.asked == []


def test_watching_is_both_now_and_after_a_boot(systemd: Systemd) -> None:
    """Either alone would leave a moment unwatched."""
    assert units.watches()
    for case in ("is-active*", "is-enabled*"):
        systemd.fails(case)
        assert not units.watches()


def test_what_fails_is_named_with_systemds_own_words(systemd: Systemd) -> None:
    """The last line is the one that says why."""
    systemd.fails("enable*", "Unit file is masked.")
    with pytest.raises(HostError, match=r"'systemctl enable .*halves\.path' failed: Unit file is masked\."):
        units.watch()


def test_a_unit_that_is_not_there_need_not_be_ended(systemd: Systemd) -> None:
    """The package may be half gone."""
    systemd.fails("cat*")
    units.unwatch()
    assert systemd.asked == ["cat pam-tailscale-halves.path"]


def test_a_systemctl_that_does_not_run_is_an_error(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no traceback."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostError, match="systemctl does not run or end"):
        units.reload("ssh.service")
    assert systemd.asked == []
