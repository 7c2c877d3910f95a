"""`pam-tailscale pin`: root binds this host to the control plane, tailnet and node that tailscaled is at now."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from pam_tailscale import paths
from pam_tailscale import pin as pins
from pam_tailscale.cli.output import ExitCode, complain, print_json, print_line, print_pairs
from pam_tailscale.errors import ConfigError
from pam_tailscale.host.pinning import current
from pam_tailscale.model import Pin
from pam_tailscale.tailnet.localapi import LocalAPI


@click.command()
@click.option("--repin", is_flag=True, help="Replace a pin that differs, or is damaged.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--path", type=click.Path(path_type=Path), default=paths.PIN, show_default=True, help="The pin's file.")
@click.option(
    "--tailscaled",
    type=click.Path(path_type=Path),
    default=paths.TAILSCALED_SOCKET,
    show_default=True,
    help="tailscaled's socket.",
)
def pin(*, repin: bool, as_json: bool, path: Path, tailscaled: Path) -> None:
    """Pin this host to the tailnet it is in now. Run as root, once, after 'tailscale up'.

    From then on the agent refuses every login while tailscaled is logged in anywhere else: whoever may operate
    tailscale without being root cannot replace the policy. Exits 0 where the pin is written or was the same already, 1
    where another pin exists and --repin was not given.
    """
    if os.geteuid() != 0:
        raise ConfigError("only root may pin a host: run 'sudo pam-tailscale pin'")
    with contextlib.closing(LocalAPI(tailscaled)) as api:
        found = current(api)
    before = _load(path, ignore_damage=repin)
    if before is not None and before != found and not repin:
        if as_json:
            print_json(_document(found) | {"changed": False, "pinned": _document(before)})
        else:
            print_pairs([("pinned", _line(before)), ("tailscaled", _line(found))])
        complain("this host is pinned to something else: if you mean the change, run 'pam-tailscale pin --repin'")
        sys.exit(ExitCode.DENY)
    if before != found:
        pins.store(found, path)
    if as_json:
        print_json(_document(found) | {"changed": before != found})
    else:
        print_line(f"{'pinned' if before != found else 'already pinned'}: {_line(found)}")


def _load(path: Path, *, ignore_damage: bool) -> Pin | None:
    try:
        return pins.load(path)
    except ConfigError:
        if not ignore_damage:
            raise
        return None


def _document(pin: Pin) -> dict[str, Any]:
    return {"control_url": pin.control_url, "node_id": pin.node_id, "tailnet_id": pin.tailnet_id}


def _line(pin: Pin) -> str:
    return f"node {pin.node_id} of {pin.control_url}" + (f", tailnet {pin.tailnet_id}" if pin.tailnet_id else "")
