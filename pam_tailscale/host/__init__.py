"""What changes the host: switching on and off, proving it, and looking for what is wrong.

Pure here is everything that decides, as tests/test_repo.py lists it; the rest reads and writes. Only the command line
imports this folder; the agent never does.
"""
