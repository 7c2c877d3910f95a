"""What the commands about a policy file read: the file, and who and what is in the tailnet."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pam_tailscale import paths
from pam_tailscale.errors import ConfigError, TailscaledError
from pam_tailscale.policy import document, roster
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.validate import validate
from pam_tailscale.tailnet import parse
from pam_tailscale.tailnet import roster as status_roster
from pam_tailscale.tailnet.localapi import LocalAPI

STANDARD_INPUT = "-"

Function = TypeVar("Function", bound=Callable[..., Any])

file_argument = click.argument("file", type=click.Path(path_type=Path))


def tailnet_options(function: Function) -> Function:
    """`--tailnet` and `--domain`."""
    tailnet = click.option(
        "--tailnet",
        "status",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Who is in the tailnet: what `tailscale status --json` prints. Without it tailscaled here is asked.",
    )
    domain = click.option(
        "--domain",
        "domains",
        metavar="DOMAIN",
        multiple=True,
        help="A domain of the tailnet's, of which user:*@DOMAIN and localpart:*@DOMAIN may speak. "
        "Without it the one that the tailnet's name says.",
    )
    return tailnet(domain(function))


def policy_file(path: Path) -> document.PolicyFile:
    """Read a policy file. Raises PolicyFileError, and ConfigError where it cannot be read at all."""
    if str(path) == STANDARD_INPUT:
        return document.read(sys.stdin.buffer.read(), "standard input")
    try:
        return document.read(path.read_bytes(), str(path))
    except OSError as err:
        raise ConfigError(f"{path} cannot be read: {err.strerror}") from err


def tailnet(status: Path | None, domains: tuple[str, ...]) -> roster.Tailnet:
    """Who and what is in the tailnet. Raises TailscaledError."""
    found = status_roster.roster(_status(status))
    if not domains:
        return found
    return roster.Tailnet(found.people, found.nodes, frozenset(domains))


def compiler(path: Path, status: Path | None, domains: tuple[str, ...]) -> Compiler:
    """A policy file, valid, and the tailnet it is for. Raises PolicyFileError and TailscaledError."""
    policy = policy_file(path)
    return compiled_for(policy, tailnet(status, domains))


def compiled_for(policy: document.PolicyFile, found: roster.Tailnet) -> Compiler:
    """The same of what has been read. Raises PolicyFileError."""
    validate(policy, found.domains)
    return Compiler(policy, found)


def _status(path: Path | None) -> parse.Object:
    if path is None:
        try:
            return LocalAPI(paths.TAILSCALED_SOCKET).status_document()
        except TailscaledError as err:
            raise TailscaledError(
                f"{err}. Elsewhere than on a node give --tailnet FILE, what `tailscale status --json` prints on one"
            ) from err
    try:
        text = sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else path.read_bytes()
        value = json.loads(text)
    except OSError as err:
        raise TailscaledError(f"{path} cannot be read: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise TailscaledError(f"{path} is not what `tailscale status --json` prints: {err}") from err
    if not isinstance(value, dict):
        raise TailscaledError(f"{path} is not what `tailscale status --json` prints: it is no JSON object")
    return value
