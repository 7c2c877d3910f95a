"""`pam-tailscale doctor`: looks for everything by which a host could let in whom the policy does not. Changes nothing.

Pure are the modules that judge, and what they judge by. look, ask, walk, walker and connection look, and examine.py
puts both together.
"""
