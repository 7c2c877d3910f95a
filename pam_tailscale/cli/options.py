"""Options and arguments that several commands share."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pam_tailscale import paths
from pam_tailscale.model import IPAddress, parse_address

PORT_MAX = 65535

Function = TypeVar("Function", bound=Callable[..., Any])


def agent_options(function: Function) -> Function:
    """`--json` and `--socket`."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    path = click.option(
        "--socket",
        type=click.Path(path_type=Path),
        default=paths.AGENT_SOCKET,
        show_default=True,
        help="The agent's socket.",
    )
    return path(as_json(function))


_ADDRESS_PORT = re.compile(
    r"\[(?P<six>[^\]]+)\](:(?P<port6>\d{1,5}))?|(?P<four>[^:]+):(?P<port4>\d{1,5})|(?P<bare>.+)", re.ASCII
)


def read_address(ctx: click.Context, param: click.Parameter, value: str) -> tuple[IPAddress, int]:
    """`ADDR` or `ADDR:PORT`, an IPv6 address with a port in brackets; port 0 where none is given.

    Raises click.BadParameter.
    """
    match = _ADDRESS_PORT.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no address", ctx, param)
    try:
        address = parse_address(match["six"] or match["four"] or match["bare"])
    except ValueError as err:
        raise click.BadParameter(str(err), ctx, param) from err
    port = int(match["port6"] or match["port4"] or 0)
    if port > PORT_MAX:
        raise click.BadParameter(f"{port} is no port", ctx, param)
    return address, port
