"""What this host knows from tailscaled and the kernel about its tailnet: adapters that do I/O and hand out records.

Nothing is decided here, and no raw JSON leaves this package.
"""
