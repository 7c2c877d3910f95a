"""The command line, one file per command. It talks to the agent through pam_tailscale.client and never imports it."""
