"""`pam-tailscale check`: who has passed a check, until when, what is pending; and forgetting it."""

import sys
from pathlib import Path
from typing import Any

import click

from pam_tailscale import wire
from pam_tailscale.cli.options import agent_options
from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_pairs, print_table
from pam_tailscale.client import ask_document


@click.command()
@click.option("--forget", "person", metavar="WHO", help="Void every check of this login name, here and on other hosts.")
@agent_options
def check(*, person: str | None, as_json: bool, socket: Path) -> None:
    """Show whose checks are valid and until when, by which provider, and what is pending; or forget a person's.

    Whoever was forgotten has to authenticate at the next login under a check rule. What cannot be reached is said:
    hosts without a shared store, and what the control plane remembers. Sessions that are open go on.

    Exits 0; with --forget 1 where something was not reached.
    """
    if person is not None:
        sys.exit(_forget(person, as_json=as_json, socket=socket))
    document = ask_document(socket, {wire.KEY_REQUEST: wire.REQUEST_CHECKS})
    if as_json:
        print_json(document)
    else:
        _print(document)


def _forget(person: str, *, as_json: bool, socket: Path) -> ExitCode:
    document = ask_document(socket, {wire.KEY_REQUEST: wire.REQUEST_FORGET, wire.KEY_PERSON: person})
    missed = document["not_reached"]
    if as_json:
        print_json(document)
    else:
        print_line(f"forgotten on this host: every check of {document['person']}", "green")
        for one in missed:
            print_line(f"not reached: {one}", "yellow")
    return ExitCode.DENY if missed else ExitCode.ALLOW


def _print(document: dict[str, Any]) -> None:
    print_pairs([("asked", document["by"]), ("period", document["period"]), ("problem", document["problem"])])
    if document["valid"]:
        print_line("")
        columns = ("person", "node", "by", "at", "until")
        print_table(["person", "node", "by", "authenticated", "valid until"], _rows(document["valid"], columns))
    else:
        print_line("nobody has passed a check that counts")
    if document["pending"]:
        print_line("")
        rows = _rows(document["pending"], ("person", "node", "since", "waiting"))
        print_table(["pending", "node", "since", "connections waiting"], rows)


def _rows(documents: list[dict[str, Any]], columns: tuple[str, ...]) -> list[list[str]]:
    return [[str(one[column]) for column in columns] for one in documents]
