"""systemd's units that are spoken of: ours, and sshd's as Debian names them. Names alone."""

from typing import Final

AGENT: Final = "pam-tailscale-agent.service"
AGENT_SOCKET: Final = "pam-tailscale-agent.socket"
READER_SOCKET: Final = "pam-tailscale-reader.socket"
HALVES: Final = "pam-tailscale-halves.path"
SSH: Final = "ssh.service"
SSH_SOCKET: Final = "ssh.socket"
