"""The nodes that a selector names."""

import pytest

from pam_tailscale.policy.named import nodes_of
from pam_tailscale.policy.selectors import parse
from tests.support.tailnets import ALICE, BOB, compiled

HOSTS = {"srv": "100.64.0.5", "srv6": "fd7a:115c:a1e0::5", "net": "100.64.0.0/24", "gone": "100.64.9.9"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tag:web", ["web", "both"]),
        ("tag:none", []),
        ("autogroup:tagged", ["web", "db", "both"]),
        ("autogroup:member", ["laptop", "phone", "desktop", "tablet"]),
        ("autogroup:admin", ["laptop", "phone"]),
        ("autogroup:self", []),
        ("autogroup:internet", []),
        (BOB, ["desktop"]),
        ("group:ops", ["desktop", "laptop", "phone"]),
        ("group:none", []),
        ("user:*@example.org", ["tablet"]),
        ("srv", ["web"]),
        ("srv6", ["web"]),
        ("100.64.0.5", ["web"]),
        ("100.64.0.5/32", ["web"]),
        ("net", []),
        ("gone", []),
        ("nowhere", []),
        ("*", []),
    ],
)
def test_nodes(text: str, names: list[str]) -> None:
    """Each once; of a range none, since a test is about somebody."""
    compiler = compiled(hosts=HOSTS, groups={"group:ops": [BOB, ALICE, BOB]})
    assert [node.name for node in nodes_of(compiler, parse(text))] == names
