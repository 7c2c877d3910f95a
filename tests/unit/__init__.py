"""Tests that need no host: each mirrors a module of pam_tailscale."""
