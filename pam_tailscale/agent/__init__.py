"""The agent: the one process of a host that decides. app.py wires it; nothing outside imports it."""
