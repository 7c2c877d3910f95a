"""Tests of what looks for everything that could be wrong."""
