"""`pam-tailscale explain`: what a login would come to, and why."""

import datetime
import sys
from pathlib import Path
from typing import Any

import click

from pam_tailscale import wire
from pam_tailscale.cli.options import agent_options, read_address
from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_pairs, print_table
from pam_tailscale.cli.rules import rule_rows
from pam_tailscale.client import ask_explanation
from pam_tailscale.model import IPAddress

_STYLES = {wire.VERDICT_ALLOW: "bold green", wire.VERDICT_CHECK: "bold yellow"}


def _read_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    """An ISO 8601 time; without a zone it is local time. Empty where none is given."""
    if value is None:
        return ""
    try:
        return datetime.datetime.fromisoformat(value).astimezone().isoformat()
    except (ValueError, OverflowError) as err:
        raise click.BadParameter(f"{value!r} is no ISO 8601 time, as 2026-05-01T12:00:00Z", ctx, param) from err


@click.command()
@click.argument("account")
@click.option(
    "--from",
    "client",
    metavar="ADDR[:PORT]",
    callback=read_address,
    required=True,
    help="Where the login comes from.",
)
@click.option("--as-of", metavar="ISO8601", callback=_read_moment, help="Decide for this time instead of now.")
@agent_options
def explain(*, account: str, client: tuple[IPAddress, int], as_of: str, as_json: bool, socket: Path) -> None:
    """Decide a login as ACCOUNT and say why: the rule that made the decision, and for every other rule why it did not.

    Nothing is logged in and nothing is remembered. Expiry of rules and keys is judged at --as-of; who is at the address
    and what the policy says is as of now. Exits 0 where it would be allowed, 1 denied, 3 cannot tell, 4 a check is
    needed.
    """
    document = ask_explanation(socket, account, *client, as_of=as_of)
    if as_json:
        print_json(document)
    else:
        _print(document)
    sys.exit(exit_code(document))


def exit_code(document: dict[str, Any]) -> ExitCode:
    """What the command exits with for this explanation."""
    if document["decision"] == wire.VERDICT_ALLOW:
        return ExitCode.ALLOW
    if document["decision"] == wire.VERDICT_CHECK:
        return ExitCode.CHECK_NEEDED
    if not document["can_tell"]:
        return ExitCode.CANNOT_TELL
    return ExitCode.DENY


def _print(document: dict[str, Any]) -> None:
    style = _STYLES.get(document["decision"], "bold red")
    by_rule = f", by rule {document['rule']} of {document['source']}" if document["rule"] is not None else ""
    print_line(f"{document['decision']}: {document['reason']}{by_rule}", style)
    print_pairs(
        [
            ("account", document["user"]),
            ("from", f"{document['from']} {document['node']}".strip()),
            ("identity", document["identity"]),
            ("as of", document["as_of"]),
            ("because", document["detail"]),
            ("person reads", document["person_reads"]),
            *_check(document["check"]),
        ]
    )
    if document["rules"]:
        print_line("")
        print_table(["rule", "action", "accounts", ""], rule_rows(document["rules"]))


def _check(check: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What is known of the person's checks, where the rule asks for one."""
    if check is None:
        return []
    last = f"{check['last']} by {check['last_by']}" if check["last"] else "none known here"
    return [
        ("check by", check["by"]),
        ("period", check["period"]),
        ("last passed", last),
        ("valid until", check["until"] or "not now"),
    ]
