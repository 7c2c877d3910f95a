"""Tests of what this host learns from tailscaled and the kernel."""
