"""Addresses with and without a port."""

import click
import pytest

from pam_tailscale.cli.options import read_address
from pam_tailscale.model import parse_address

PARAM = click.Argument(["address"])


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("100.64.0.7", "100.64.0.7", 0),
        ("100.64.0.7:22", "100.64.0.7", 22),
        ("100.64.0.7:65535", "100.64.0.7", 65535),
        ("fd7a:115c:a1e0::7", "fd7a:115c:a1e0::7", 0),
        ("[fd7a:115c:a1e0::7]", "fd7a:115c:a1e0::7", 0),
        ("[fd7a:115c:a1e0::7]:22", "fd7a:115c:a1e0::7", 22),
        ("::ffff:100.64.0.7", "100.64.0.7", 0),
        ("[::ffff:100.64.0.7]:22", "100.64.0.7", 22),
    ],
)
def test_addresses(text: str, address: str, port: int) -> None:
    """As ssh and URLs write them."""
    ctx = click.Context(click.Command("x"))
    assert read_address(ctx, PARAM, text) == (parse_address(address), port)
