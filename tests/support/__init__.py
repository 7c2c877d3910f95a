"""What the tests share: hosts, clients, tailnets, and agents that play scripts."""
