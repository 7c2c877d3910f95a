"""A small tailnet and an embedded tailscaled that serves it, for tests of whoever asks tailscaled."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contrib.demo.localapi import LocalAPI as Server
from contrib.demo.tailnet import Node, Tailnet, nodes_rule

SERVER_V4, SERVER_V6 = "100.64.0.1", "fd7a:115c:a1e0::1"
ALICE_V4, ALICE_V6 = "100.64.0.2", "fd7a:115c:a1e0::2"


def small_tailnet() -> Tailnet:
    """A tagged server, a laptop of alice, whom one rule accepts as herself, and a phone of bob."""
    own = Node("server", (SERVER_V4, SERVER_V6), tags=("tag:server",))
    alice = Node("laptop", (ALICE_V4, ALICE_V6), login="alice@example.com")
    bob = Node("phone", ("100.64.0.3", "fd7a:115c:a1e0::3"), login="bob@example.com")
    return Tailnet(own, [alice, bob], [nodes_rule([alice], {"alice": "="})])


@contextmanager
def serving(path: Path, tailnet: Tailnet | None = None) -> Iterator[Server]:
    """An embedded tailscaled at `path`, of a small tailnet if none is given. It must run as root to be believed."""
    with Server(path, tailnet or small_tailnet()) as server:
        yield server
