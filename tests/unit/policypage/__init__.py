"""Tests of the rules of who gets in, which are pure."""
