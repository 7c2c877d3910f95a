"""Where things are on an installed host. Every path is written once, here; the configuration can set others."""

from pathlib import Path

CONFIG = Path("/etc/pam-tailscale/agent.toml")
PIN = Path("/var/lib/pam-tailscale/pin.json")
STATE_DIR = Path("/var/lib/pam-tailscale/agent")
"""The agent's own: nobody else reads it."""
CHECKS = STATE_DIR / "checks.db"
RUN_DIR = Path("/run/pam-tailscale")
AGENT_SOCKET = RUN_DIR / "agent.sock"
READER_SOCKET = RUN_DIR / "reader.sock"
TAILSCALED_SOCKET = Path("/run/tailscale/tailscaled.sock")
LOGIN_DEFS = Path("/etc/login.defs")
JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
