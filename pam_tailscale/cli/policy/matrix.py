"""`pam-tailscale policy matrix`: who can log in where, as whom."""

import time
from pathlib import Path

import click

from pam_tailscale import paths
from pam_tailscale.cli.output import print_csv, print_json, print_line, print_table, print_text
from pam_tailscale.cli.policy.names import accounts_text, action_text, some_text, where_text, who_text
from pam_tailscale.cli.policy.source import Given, compiler, tailnet_options
from pam_tailscale.host.doctor import ask
from pam_tailscale.policy import live as live_rows
from pam_tailscale.policy import matrix as rows_of
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.newcomers import with_newcomers
from pam_tailscale.policy.selectors import NONROOT
from pam_tailscale.policypage.page import page
from pam_tailscale.policypage.template import parts
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.parse import status as read_status
from pam_tailscale.tailnet.roster import roster

_NOBODY = "nobody can log in anywhere"
_FORMATS = ("json", "csv", "html")


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--live", is_flag=True, help="Instead of a file, the rules that this node has received; for root.")
@tailnet_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a line for every person, node and account.")
@click.option("--html", "as_html", is_flag=True, help="Print one HTML page with search and filters.")
def matrix(
    *,
    file: Path | None,
    live: bool,
    given: Given,
    as_json: bool,
    as_csv: bool,
    as_html: bool,
) -> None:
    """Show who can log in where under FILE, as whom, with or without a check, and by which ssh rule.

    Whoever FILE names and nobody knows stands there by that name: people without a node, whoever has a role
    (autogroup:admin), the first node with a tag.

    With --live: who can log in on this node, by the rules that it has received. What a host itself refuses (system
    accounts that no rule names, its own narrowing) is not known here.
    """
    chosen = [name for name, given in zip(_FORMATS, (as_json, as_csv, as_html), strict=True) if given]
    if len(chosen) > 1:
        raise click.UsageError("--json, --csv and --html are answers to one question: give one of them")
    way = chosen[0] if chosen else ""
    if live:
        if file is not None or given != Given() or as_html:
            raise click.UsageError(
                "--live is about this node as it is: no FILE, --tailnet, --domain, --role or --html with it"
            )
        _live(way)
    elif file is None:
        raise click.UsageError("give a FILE, or --live")
    else:
        compiled = compiler(file, given)
        _of_file(Compiler(compiled.policy, with_newcomers(compiled.tailnet, compiled.policy)), way)


def _of_file(compiled: Compiler, way: str) -> None:
    rows = rows_of.matrix(compiled)
    if way == "json":
        print_json(rows_of.document(compiled, rows))
    elif way == "csv":
        print_csv(rows_of.CSV_HEADINGS, rows_of.csv_rows(compiled, rows))
    elif way == "html":
        print_text(page(parts(), compiled, rows))
    elif not rows:
        print_line(_NOBODY)
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


def _live(way: str) -> None:
    raw = LocalAPI(paths.TAILSCALED_SOCKET).status_document()
    this = read_status(raw)
    policy = ask.policy(paths.TAILSCALED_SOCKET, this.version)
    rows = live_rows.live(policy, roster(raw), this.self_name, time.time())
    if way == "json":
        print_json(live_rows.document(rows))
    elif way == "csv":
        print_csv(live_rows.CSV_HEADINGS, live_rows.csv_rows(rows))
    elif not rows:
        print_line(_NOBODY)
    else:
        print_table(["who", "as", "action", "rule"], map(_cells, rows))


def _cells(row: live_rows.Row) -> list[str]:
    identities = row.identities
    accounts = ("any but root" if name == NONROOT else name for name in row.accounts)
    return [some_text(identities, len(identities)), ", ".join(accounts), row.action, f"netmap {row.rule.number}"]
