"""`pam-tailscale disable`: everything becomes what it was before `enable`."""

import os

import click

from pam_tailscale.cli.outcome import conclude, print_diff
from pam_tailscale.cli.output import print_line
from pam_tailscale.cli.person import Person
from pam_tailscale.errors import HostError
from pam_tailscale.host import wiring
from pam_tailscale.host.report import Report


@click.command()
@click.option("--dry-run", is_flag=True, help="Show what would be changed; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, and ask nothing.")
@click.option("--yes", is_flag=True, help="Change the files without asking.")
def disable(*, dry_run: bool, as_json: bool, yes: bool) -> None:
    """Make sshd and PAM what they were before 'enable', to the byte.

    Sessions go on; connections over the tailnet that have not logged in yet are ended. The pin and what is remembered
    of checks stay, for the next 'enable'. Running it again is fine, and finishes a run that was interrupted.

    Exits 0 where it is off, 1 where it could not be switched off.
    """
    if os.geteuid() != 0:
        raise HostError("only root may switch it off: run 'sudo pam-tailscale disable'")
    person = Person(yes=yes, quiet=as_json)
    conclude(
        lambda: wiring.disabler(person).run(dry_run=dry_run),
        lambda report: _print(report, dry_run=dry_run),
        as_json=as_json,
    )


def _print(report: Report, *, dry_run: bool) -> None:
    print_diff(report, dry_run=dry_run)
    if dry_run or report.problem:
        return
    print_line("Off: sshd and PAM are what they were." if report.changed else "Already off: nothing to change.")
