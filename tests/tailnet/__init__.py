"""Tests on a whole tailnet: a real control plane, several nodes, and sshd between them."""
