"""Tests of the C shims, through the doors that sshd uses."""
