"""Nodes that lend their identity to others."""

from typing import Any

import pytest

from pam_tailscale.errors import TailscaledError
from pam_tailscale.host.doctor.check import State
from pam_tailscale.host.doctor.peers import Node, Tailnet, by_identity, judge, not_seen, read

USERS = {"1": {"LoginName": "alice@example.com"}, "2": {"LoginName": "tagged-devices"}}


def peer(name: str, **changes: Any) -> dict[str, Any]:
    """A laptop of alice's (ipnstate.PeerStatus)."""
    own = ["100.64.0.2", "fd7a:115c:a1e0::2"]
    return {
        "ID": f"n{name}",
        "HostName": name,
        "DNSName": f"{name}.tailnet.example.",
        "UserID": 1,
        "TailscaleIPs": own,
        "AllowedIPs": [f"{own[0]}/32", f"{own[1]}/128"],
    } | changes


def tailnet(*peers: dict[str, Any], **own: Any) -> Tailnet:
    """What `status` says of these."""
    return read(
        {
            "Self": own,
            "User": USERS,
            "CurrentTailnet": {"MagicDNSSuffix": "tailnet.example"},
            "Peer": {str(number): one for number, one in enumerate(peers)},
        }
    )


def found(*peers: dict[str, Any], **own: Any) -> dict[str, tuple[str, ...]]:
    """The checks that warn, with whom they name."""
    return {check.name: check.items for check in judge(tailnet(*peers, **own)) if check.state is State.WARNING}


def test_an_ordinary_node() -> None:
    """Has its own addresses and nothing else."""
    assert found(peer("laptop")) == {}
    (node,) = tailnet(peer("laptop")).nodes
    assert (node.name, node.identity, node.routes, node.exit_node) == (
        "laptop.tailnet.example",
        "alice@example.com",
        (),
        False,
    )


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"AllowedIPs": ["100.64.0.2/32", "192.0.2.0/24"]}, "routes 192.0.2.0/24"),
        ({"PrimaryRoutes": ["2001:db8::/32"]}, "routes 2001:db8::/32"),
        ({"ExitNodeOption": True}, "exit node"),
        ({"AllowedIPs": ["0.0.0.0/0", "::/0"]}, "exit node"),
        ({"Tags": ["tag:connector"], "UserID": 2}, "app connector"),
        (
            {"AllowedIPs": [f"192.0.2.{number}/32" for number in range(6)]},
            "routes 192.0.2.0/32, 192.0.2.1/32, 192.0.2.2/32, 192.0.2.3/32 and more",
        ),
    ],
    ids=["subnet", "primary", "offers to be one", "is one", "connector", "many"],
)
def test_nodes_that_route_for_others(changes: dict[str, Any], how: str) -> None:
    """With what they do."""
    capabilities = {"tailscale.com/app-connectors": [{"name": "a", "connectors": ["tag:connector"]}]}
    ((said,),) = found(peer("relay", **changes), CapMap=capabilities).values()
    assert said.startswith("relay.tailnet.example (")
    assert said.endswith(f"): {how}")


def test_connectors_of_any_node() -> None:
    """Only those that have routes are meant by `*`."""
    anybody = {"tailscale.com/app-connectors": [{"connectors": ["*"]}]}
    assert found(peer("laptop"), CapMap=anybody) == {}
    ((said,),) = found(peer("relay", PrimaryRoutes=["192.0.2.1/32"]), CapMap=anybody).values()
    assert said.endswith("routes 192.0.2.1/32, app connector")


@pytest.mark.parametrize(
    "changes",
    [{"ShareeNode": True}, {"AltSharerUserID": 7}, {"DNSName": "laptop.elsewhere.example."}],
    ids=["of somebody it is shared to", "shared in", "another suffix"],
)
def test_nodes_of_another_tailnet(changes: dict[str, Any]) -> None:
    """Who they are another tailnet says."""
    assert set(found(peer("laptop", **changes))) == {"shared-in-nodes"}


def test_exit_nodes_for_sale() -> None:
    """Come from nobody, and are hundreds."""
    for_sale = peer("se-got", Tags=["tag:mullvad-exit-node"], ExitNodeOption=True, DNSName="se-got.mullvad.ts.net.")
    assert tailnet(for_sale).nodes == ()


def test_nobody() -> None:
    """As where a host is the only node."""
    assert read({"Peer": None, "User": None, "Self": None, "CurrentTailnet": None}).nodes == ()


@pytest.mark.parametrize("raw", [{"Peer": {"1": {}}}, {"Peer": [1]}, {"Peer": {"1": peer("x", TailscaleIPs=["x"])}}])
def test_another_shape(raw: dict[str, Any]) -> None:
    """Is an error that names tailscaled, not a crash."""
    with pytest.raises(TailscaledError, match="not understood"):
        read(raw)


def test_identities() -> None:
    """A person with all their nodes, tags together, and nobody whose key has expired."""
    nodes = [
        Node("n1", "a", "alice@example.com", (), tailnet(peer("x")).nodes[0].addresses),
        Node("n2", "b", "alice@example.com", (), tailnet(peer("x")).nodes[0].addresses),
        Node("n3", "c", "tagged-devices", ("tag:a", "tag:b"), tailnet(peer("x")).nodes[0].addresses),
        Node("n4", "d", "bob@example.com", (), tailnet(peer("x")).nodes[0].addresses, expired=True),
        Node("n5", "e", "bob@example.com", (), ()),
    ]
    assert {identity: len(its) for identity, its in by_identity(nodes).items()} == {
        "alice@example.com": 2,
        "tag:a,tag:b": 1,
    }


def test_not_seen() -> None:
    """The same names, so that nothing is missing from the report."""
    assert [check.name for check in not_seen("why")] == [check.name for check in judge(Tailnet(()))]
