"""`pam-tailscale status`: how things stand, what is wrong, what to do."""

import sys
from pathlib import Path
from typing import Any

import click

from pam_tailscale import wire
from pam_tailscale.cli.options import agent_options
from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_pairs
from pam_tailscale.client import ask_document


@click.command()
@agent_options
def status(*, as_json: bool, socket: Path) -> None:
    """Show the agent, tailscaled, the policy and the pin, what is wrong and what to do.

    Exits 0 where logins are decided, 1 where all are refused because something is wrong, 3 where the agent is not
    reached.
    """
    document = ask_document(socket, {wire.KEY_REQUEST: wire.REQUEST_STATUS})
    if as_json:
        print_json(document)
    else:
        _print(document)
    sys.exit(ExitCode.ALLOW if document["ready"] else ExitCode.DENY)


def _print(document: dict[str, Any]) -> None:
    agent, tailscaled, pin = document["agent"], document["tailscaled"], document["pin"]
    narrow = document["narrow"]
    print_pairs(
        [
            ("agent", f"{agent['version']}, mode {agent['mode']}, up {_duration(agent['uptime_s'])}"),
            ("tailscaled", _tailscaled(tailscaled)),
            (
                "this node",
                f"{tailscaled['node_id']} at {', '.join(tailscaled['addresses'])}" if tailscaled["node_id"] else "",
            ),
            ("control plane", tailscaled["control_url"]),
            ("policy", "; ".join(map(_source, document["sources"])) or "none"),
            ("narrowed by", narrow["path"] if narrow["in_force"] else "nothing"),
            ("pin", f"{pin['node_id']} at {pin['control_url']}" if pin else "none"),
        ]
    )
    for problem in document["problems"]:
        print_line(f"problem: {problem}", "bold red")
    for warning in document["warnings"]:
        print_line(f"warning: {warning}", "yellow")
    if document["ready"]:
        print_line("ready: logins over the tailnet are decided by its policy", "green")
    else:
        print_line("not ready: every login over the tailnet is refused; others are as always", "bold red")


def _source(document: dict[str, Any]) -> str:
    """One source: what it is, how much there is of it, and since when."""
    place = f" {document['place']}" if document["place"] else ""
    if document["rules"] is None:
        return f"{document['name']}{place}, read at each login"
    read = f", read {_ago(document['age_s'])}" if document["age_s"] is not None else ""
    return f"{document['name']}{place}, rules: {document['rules']}{read}"


def _tailscaled(document: dict[str, Any]) -> str:
    if not document["version"]:
        return "not heard of yet"
    bus = "live" if document["bus"] == "live" else f"not heard, last known {_ago(document['age_s'])}"
    return f"{document['version']}, {document['state']}, bus {bus}"


def _ago(seconds: float) -> str:
    return f"{_duration(seconds)} ago"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
