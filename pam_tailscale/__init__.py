"""Log in to a Debian host over its tailnet with stock OpenSSH: who the peer is and what the tailnet's SSH policy says.

Only the version lives here; importing the package imports nothing else.
"""

__version__ = "0.1.0"
