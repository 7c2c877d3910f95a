"""Pins for tests, as `enable` leaves them."""

from pathlib import Path

from pam_tailscale import pin as pins
from pam_tailscale.model import Pin


def write_pin(pin: Pin, path: Path) -> None:
    """A pin's file, root's and 0644."""
    path.write_bytes(pins.encode(pin))
    path.chmod(0o644)
