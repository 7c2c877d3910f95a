"""Any bytes as a policy file: `targets` says what must hold, `python -m tests.fuzz` looks for what breaks it."""
