"""Tests of pam_tailscale/check."""
