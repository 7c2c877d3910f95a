"""`pam-tailscale policy matrix`: who can log in where, as whom."""

from pathlib import Path

import click

from pam_tailscale.cli.output import print_csv, print_json, print_line, print_table, print_text
from pam_tailscale.cli.policy.names import accounts_text, action_text, where_text, who_text
from pam_tailscale.cli.policy.source import compiler, file_argument, tailnet_options
from pam_tailscale.policy import matrix as rows_of
from pam_tailscale.policypage.page import page
from pam_tailscale.policypage.template import parts


@click.command()
@file_argument
@tailnet_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a line for every person, node and account.")
@click.option("--html", "as_html", is_flag=True, help="Print one HTML page with search and filters.")
def matrix(
    *, file: Path, status: Path | None, domains: tuple[str, ...], as_json: bool, as_csv: bool, as_html: bool
) -> None:
    """Show who can log in where under FILE, as whom, with or without a check, and by which ssh rule.

    What a host itself refuses (system accounts that no rule names, its own narrowing) is not known here.
    """
    if as_json + as_csv + as_html > 1:
        raise click.UsageError("--json, --csv and --html are answers to one question: give one of them")
    compiled = compiler(file, status, domains)
    rows = rows_of.matrix(compiled)
    if as_json:
        print_json(rows_of.document(compiled, rows))
    elif as_csv:
        print_csv(rows_of.CSV_HEADINGS, rows_of.csv_rows(compiled, rows))
    elif as_html:
        print_text(page(parts(), compiled, rows))
    elif not rows:
        print_line("nobody can log in anywhere")
    else:
        print_table(
            ["who", "where", "as", "action", "rule"],
            (
                [
                    who_text(row.who),
                    where_text(row.where),
                    accounts_text(row.accounts),
                    action_text(row.entry),
                    f"ssh {row.entry.number}",
                ]
                for row in rows
            ),
        )
