"""Tests of what changes the host."""
