"""How `enable` and `disable` end: text or a document, and an exit status, whatever they came to."""

import json

import pytest

from pam_tailscale.cli.outcome import conclude, print_diff
from pam_tailscale.errors import ConfigError, HostError
from pam_tailscale.host.report import Report
from tests.unit.cli.conftest import Coming, Run

DONE = Report(on=True, changed=True, diff="+line\n")
FAILED = Report(on=False, changed=False, diff="+line\n", problem="it failed: do this")


@pytest.mark.parametrize("command", ["enable", "disable"])
@pytest.mark.parametrize("error", [HostError("it failed: do this"), ConfigError("it failed: do this")])
def test_an_error_is_status_1_and_text(run: Run, coming_to: Coming, command: str, error: Exception) -> None:
    """With --json a document too, in which it is not known whether it is on."""
    coming_to(error)
    ran = run(command, "--yes")
    assert (ran.status, ran.out, ran.err) == (1, "", "pam-tailscale: it failed: do this\n")
    ran = run(command, "--json")
    assert ran.status == 1
    document = json.loads(ran.out)
    assert (document["on"], document["problem"]) == (None, "it failed: do this")


def test_a_dry_run_shows_the_differences(run: Run, coming_to: Coming) -> None:
    """As they would be made."""
    coming_to(Report(on=False, changed=False, diff="--- /etc/a\n+++ /etc/a\n+line\n"))
    assert run("enable", "--dry-run").out.endswith("--- /etc/a\n+++ /etc/a\n+line\n")
    assert run("disable", "--dry-run").out == "--- /etc/a\n+++ /etc/a\n+line\n"


@pytest.mark.parametrize(
    ("report", "status", "complaint"), [(DONE, 0, ""), (FAILED, 1, "pam-tailscale: it failed: do this\n")]
)
def test_a_report_is_shown_and_its_problem_is_the_exit_status(
    capsys: pytest.CaptureFixture[str], report: Report, status: int, complaint: str
) -> None:
    """For people; or else its document for programs, and nothing beside it."""
    shown: list[Report] = []
    with pytest.raises(SystemExit) as ended:
        conclude(lambda: report, shown.append, as_json=False)
    assert (ended.value.code, shown, capsys.readouterr()) == (status, [report], ("", complaint))
    with pytest.raises(SystemExit) as ended:
        conclude(lambda: report, shown.append, as_json=True)
    captured = capsys.readouterr()
    assert (ended.value.code, shown, captured.err) == (status, [report], complaint)
    assert json.loads(captured.out) == report.document


def test_what_nobody_expects_is_not_hidden() -> None:
    """It is a defect, and no outcome."""

    def broken() -> Report:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        conclude(broken, lambda _: None, as_json=False)


@pytest.mark.parametrize(
    ("report", "dry_run", "out"), [(DONE, False, ""), (DONE, True, "+line\n"), (FAILED, False, "+line\n")]
)
def test_differences_that_were_made_are_not_shown_again(
    capsys: pytest.CaptureFixture[str], report: Report, *, dry_run: bool, out: str
) -> None:
    """Whoever agreed to them has seen them."""
    print_diff(report, dry_run=dry_run)
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("command", ["enable", "disable"])
def test_only_root_may(run: Run, coming_to: Coming, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Whoever else tries is told how."""
    switched = coming_to(DONE)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    ran = run(command)
    assert f"run 'sudo pam-tailscale {command}'" in ran.err
    assert ran.status == 3
    assert switched.ran == []
