"""Where things are on an installed host. Every path is written once, here; the configuration can set others."""

from pathlib import Path

CONFIG = Path("/etc/pam-tailscale/agent.toml")
POLICY_FILE = Path("/etc/pam-tailscale/tailnet-policy.hujson")
"""The policy of the source `file`."""
NARROW = Path("/etc/pam-tailscale/narrow.hujson")
"""What root of this host takes away from the tailnet's policy."""
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

# What switches the host on and off; root's alone.
DROP_IN = Path("/etc/ssh/sshd_config.d/10-pam-tailscale.conf")
DROP_IN_DISABLED = Path("/etc/ssh/sshd_config.d/10-pam-tailscale.conf.disabled")
"""Where check-halves leaves a drop-in that it took out of force; sshd reads only names that end with .conf."""
PAM_SSHD = Path("/etc/pam.d/sshd")
PAM_SERVICE = Path("/etc/pam.d/sshd-tailscale")
NOT_TAILNET = Path("/etc/security/not-tailnet.access")
HALVES_DIR = Path("/var/lib/pam-tailscale/halves")
"""What `enable` has written, byte for byte, for check-halves and `disable`: the references."""
ENABLED = Path("/var/lib/pam-tailscale/enabled.json")
"""The marker: this host is switched on, and what the administrator has answered."""
CHANGE = Path("/var/lib/pam-tailscale/change.json")
"""The journal of a change that is under way."""
LOCK = Path("/run/pam-tailscale.lock")
"""Held while the host is changed. Not in /run/lock, where anybody could make it first and hold it."""
KEY_HELPER = Path("/usr/libexec/pam-tailscale/authorized-keys")
