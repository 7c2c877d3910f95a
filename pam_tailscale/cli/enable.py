"""`pam-tailscale enable`: let the tailnet's policy decide who logs in over the tailnet, or change nothing."""

import os

import click

from pam_tailscale.cli.outcome import conclude, print_diff
from pam_tailscale.cli.output import print_line
from pam_tailscale.cli.person import Person
from pam_tailscale.errors import HostError
from pam_tailscale.host import wiring
from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.preconditions import Action, Finding
from pam_tailscale.host.report import Report

_STYLES = {Action.REFUSE: "bold red", Action.ASK: "bold yellow", Action.HANDLE: ""}


@click.command()
@click.option("--dry-run", is_flag=True, help="Look and show what would be changed; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and ask nothing.")
@click.option("--yes", is_flag=True, help="Change the files without asking. Answers none of the questions below.")
@click.option("--refresh", is_flag=True, help="Only where it is on: fit it to a new sshd or a new version.")
@click.option("--repin", is_flag=True, help="This host has moved to another control plane, tailnet or node.")
@click.option("--allow-root", is_flag=True, help="The policy may let root in though sshd has 'PermitRootLogin no'.")
@click.option(
    "--methods",
    type=click.Choice([method.value for method in Methods]),
    help="Over the tailnet: the policy in place of the AuthenticationMethods that sshd has, or a key as well.",
)
@click.option("--no-other-way", is_flag=True, help="Nobody can log in but over the tailnet, and that is meant.")
@click.option("--cut-me-off", is_flag=True, help="The policy refuses the connection this runs from, and that is meant.")
@click.option("--confined-sshd", is_flag=True, help="SELinux or AppArmor confines sshd: try it all the same.")
@click.option("--replace-edits", is_flag=True, help="Files of ours have been altered: write them anew.")
def enable(*, dry_run: bool, as_json: bool, yes: bool, refresh: bool, methods: str | None, **given: bool) -> None:
    """Let the tailnet's SSH policy decide who logs in over the tailnet.

    Looks for what stands in the way, shows what it would change, proves it on private copies, changes it, and asks the
    running sshd. If any of that fails everything is taken back. Logins from elsewhere stay as they are. Running it
    again is fine.

    Exits 0 where it is on, 1 where something stands in the way or failed, and nothing is changed then.
    """
    if os.geteuid() != 0:
        raise HostError("only root may switch it on: run 'sudo pam-tailscale enable'")
    person = Person(yes=yes, quiet=as_json)
    answers = Answers(methods=Methods(methods) if methods else None, **given)
    conclude(
        lambda: wiring.enabler(person).run(answers, dry_run=dry_run, refresh=refresh),
        lambda report: _print(report, dry_run=dry_run),
        as_json=as_json,
    )


def _print(report: Report, *, dry_run: bool) -> None:
    for finding in report.findings:
        _print_finding(finding)
    if dry_run and report.diff:
        print_line("It would make these differences:")
    print_diff(report, dry_run=dry_run)
    for outcome in report.outcomes:
        print_line(f"  {'ok ' if outcome.ok else 'NOT'} {outcome.name}: {outcome.found}")
    if report.problem or dry_run:
        return
    if not report.on:
        print_line("It is not switched on here: nothing to refresh.")
    else:
        print_line("On: over the tailnet its policy decides." if report.changed else "Already on: nothing to change.")


def _print_finding(finding: Finding) -> None:
    print_line(f"{finding.row}: {finding.what}", _STYLES[finding.action])
    for text in (finding.means, finding.mend):
        if text:
            print_line(f"    {text}")
    if finding.action is Action.ASK:
        print_line(f"    If you mean it: {finding.flag}")
