"""Tests against real programs in chroots and namespaces: sshd, PAM, tailscaled, headscale."""
