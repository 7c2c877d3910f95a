"""The node's machine key as the agent gets it: from the root reader, which gives nothing else of tailscaled's state."""

from collections.abc import Iterator
from pathlib import Path

from pam_tailscale.secret import Secret
from pam_tailscale.tailnet.netmap import ask_reader, odd, read_header
from pam_tailscale.tailnet.state import MACHINE_KEY


def fetch_machine_key(socket: Path, timeout: float) -> Secret:
    """Ask the root reader at its socket; `timeout` in seconds is for the whole. `privkey:` and 64 hexadecimal digits.

    Raises TailscaledError, also where tailscaled's state is not there or encrypted, and TailscaledNotRootError.
    """
    return ask_reader(socket, timeout, b"machine-key\n", _parse)


def _parse(lines: Iterator[bytes]) -> Secret:
    text = read_header(lines).get("machine_key")
    if not isinstance(text, str) or not MACHINE_KEY.fullmatch(text):
        raise odd("no machine key")
    return Secret(text)
