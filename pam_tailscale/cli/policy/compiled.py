"""`pam-tailscale policy compile`: the rules that nodes receive."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import track

from pam_tailscale.cli.output import print_text
from pam_tailscale.cli.policy.nodes import one_node
from pam_tailscale.cli.policy.source import Given, compiler, file_argument, tailnet_options
from pam_tailscale.policy import netmapform


@click.command("compile")
@file_argument
@click.option("--to", "target", metavar="NODE", help="Only for this node: its name or address. Without it, for all.")
@tailnet_options
def compiled(*, file: Path, target: str | None, given: Given) -> None:
    """Print the rules that nodes receive under FILE: for each node a line of JSON, in the form of a netmap."""
    made = compiler(file, given)
    nodes = made.tailnet.nodes if target is None else (one_node(made.tailnet, target, "--to"),)
    to_see = Console(stderr=True)
    for node in track(
        nodes, "compiling", console=to_see, transient=True, disable=sys.stderr is None or not sys.stderr.isatty()
    ):
        rules = [netmapform.document(rule) for rule in made.rules_for(node)]
        print_text(json.dumps({"node": node.name, "sshPolicy": {"rules": rules}}) + "\n")
