"""Tests of the table of preconditions."""
