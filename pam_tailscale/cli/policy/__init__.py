"""`pam-tailscale policy`: a tailnet's policy file read, tested and explained, on any machine and without an agent."""
