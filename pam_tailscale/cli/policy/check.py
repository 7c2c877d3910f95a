"""`pam-tailscale policy check`: would the control plane take this file?"""

import sys
from pathlib import Path

import click

from pam_tailscale.cli.output import ExitCode, complain, print_json, print_line
from pam_tailscale.cli.policy.source import domains_given, error_document, file_argument, policy_file
from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.validate import validate


@click.command()
@file_argument
@click.option(
    "--domain",
    "domains",
    metavar="DOMAIN",
    multiple=True,
    callback=domains_given,
    help="A domain of the tailnet's. With it, user:*@DOMAIN and localpart:*@DOMAIN of any other are refused.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def check(*, file: Path, domains: tuple[str, ...], as_json: bool) -> None:
    """Say whether the control plane would take FILE, or what it would refuse: line, column and why.

    The sections that say who may log in are read (ssh, groups, tagOwners, hosts, sshTests); others are passed over.
    Exits 0 where it would be taken, 1 where not.
    """
    try:
        policy = policy_file(file)
        validate(policy, frozenset(domains) or None)
    except PolicyFileError as err:
        if as_json:
            print_json({"valid": False, **error_document(err)})
        else:
            complain(str(err))
        sys.exit(ExitCode.DENY)
    if as_json:
        print_json({"valid": True, "file": policy.document.name, "ssh": len(policy.ssh)})
    else:
        print_line(f"{policy.document.name}: in order, {len(policy.ssh)} ssh rules, {len(policy.ssh_tests)} sshTests")
