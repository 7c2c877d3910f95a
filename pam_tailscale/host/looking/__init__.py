"""Finds out about the host everything that preconditions look at. Begins in gather.py; judges nothing."""
