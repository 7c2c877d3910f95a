"""Policies, and what the real control plane made of them: ours is the same reading."""
