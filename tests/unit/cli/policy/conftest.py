"""A policy file and a tailnet, as the commands read them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

USERS = {1: "alice@example.com", 2: "bob@example.com"}
NODES: tuple[dict[str, Any], ...] = (
    {"ID": "n1", "DNSName": "laptop.tailnet.example.", "TailscaleIPs": ["100.64.0.1", "fd7a::1"], "UserID": 1},
    {"ID": "n2", "DNSName": "phone.tailnet.example.", "TailscaleIPs": ["100.64.0.2"], "UserID": 2},
    {"ID": "n3", "DNSName": "web.tailnet.example.", "TailscaleIPs": ["100.64.0.3"], "UserID": 9, "Tags": ["tag:web"]},
    {"ID": "n4", "DNSName": "web.other.example.", "TailscaleIPs": ["100.64.0.4"], "UserID": 9, "Tags": ["tag:db"]},
)
POLICY = """{
  // who may log in
  "tagOwners": {"tag:web": ["alice@example.com"]},
  "ssh": [
    {"action": "check", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["root"]},
    {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["autogroup:nonroot"]},
  ],
  "sshTests": [{"src": "alice@example.com", "dst": ["tag:web"], "accept": ["deploy"], "check": ["root"]}],
}
"""

Write = Callable[[str], str]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """The path of a policy file."""
    path = tmp_path / "policy.hujson"
    path.write_text(POLICY)
    return str(path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text to a file of its own and answers its path."""

    def written(text: str) -> str:
        path = tmp_path / "other.hujson"
        path.write_text(text)
        return str(path)

    return written


@pytest.fixture
def tailnet(tmp_path: Path) -> str:
    """The path of what `tailscale status --json` prints."""
    path = tmp_path / "status.json"
    users = {str(number): {"ID": number, "LoginName": login} for number, login in USERS.items()}
    this, *peers = NODES
    document = {
        "Version": "1.104.5",
        "BackendState": "Running",
        "TUN": True,
        "Self": this,
        "Peer": {f"nodekey:{peer['ID']}": peer for peer in peers},
        "User": users,
        "CurrentTailnet": {"Name": "example.com"},
    }
    path.write_text(json.dumps(document))
    return str(path)
