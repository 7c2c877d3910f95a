"""`pam-tailscale whois`: who is at an address of the tailnet."""

import sys
from pathlib import Path
from typing import Any

import click

from pam_tailscale import wire
from pam_tailscale.cli.options import agent_options, read_address
from pam_tailscale.cli.output import ExitCode, complain, print_json, print_line, print_pairs
from pam_tailscale.client import ask_document
from pam_tailscale.model import IPAddress


@click.command()
@click.argument("address", metavar="ADDR[:PORT]", callback=read_address)
@agent_options
def whois(*, address: tuple[IPAddress, int], as_json: bool, socket: Path) -> None:
    """Show who is at an address of the tailnet, as the agent sees it.

    Exits 0 where somebody is, 1 where nobody is, 3 where it cannot be found out.
    """
    request = {
        wire.KEY_REQUEST: wire.REQUEST_WHOIS,
        wire.KEY_CLIENT: str(address[0]),
        wire.KEY_CLIENT_PORT: str(address[1]),
    }
    document = ask_document(socket, request)
    if as_json:
        print_json(document)
    else:
        _print(document)
    if "problem" in document:
        sys.exit(ExitCode.CANNOT_TELL)
    sys.exit(ExitCode.ALLOW if document["known"] else ExitCode.DENY)


def _print(document: dict[str, Any]) -> None:
    if "problem" in document:
        complain(document["problem"])
    elif not document["known"]:
        print_line(f"tailscaled knows nobody at {document['address']}")
    else:
        print_pairs(
            [
                ("node", f"{document['node']} ({document['stable_id']})"),
                ("login", document["login"]),
                ("tags", ", ".join(document["tags"])),
                ("addresses", ", ".join(document["addresses"])),
                ("key", "expired" if document["expired"] else "valid"),
                ("note", "this host itself" if document["self"] else ""),
            ]
        )
