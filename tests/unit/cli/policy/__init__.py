"""Tests of the commands about a policy file."""
