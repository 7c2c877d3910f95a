"""tailscaled's status as a tailnet of people and nodes."""

from ipaddress import ip_address
from typing import Any

import pytest

from pam_tailscale.errors import TailscaledError
from pam_tailscale.policy.roster import Node, Person
from pam_tailscale.tailnet.roster import domains_of, roster

SELF: dict[str, Any] = {"ID": "n1", "DNSName": "laptop.tailnet.example.", "TailscaleIPs": ["100.64.0.1"], "UserID": 1}
WEB: dict[str, Any] = {
    "ID": "n2",
    "DNSName": "web.tailnet.example.",
    "TailscaleIPs": ["100.64.0.2", "fd7a::2"],
    "UserID": 5,
    "Tags": ["tag:web"],
}
STATUS: dict[str, Any] = {
    "Version": "1.104.5",
    "BackendState": "Running",
    "TUN": True,
    "Self": SELF,
    "Peer": {"nodekey:2": WEB},
    "User": {
        "3": {"ID": 3, "LoginName": "carol@example.com"},
        "1": {"ID": 1, "LoginName": "alice@example.com"},
        "5": {"ID": 5, "LoginName": "tagged-devices"},
    },
    "CurrentTailnet": {"Name": "example.com"},
}


def test_people_and_nodes() -> None:
    """A tagged node has no person, whoever's user id stands at it; who has no node here could come to have one."""
    found = roster(STATUS)
    assert found.people == (Person("alice@example.com"), Person("carol@example.com"))
    assert found.nodes == (
        Node("laptop.tailnet.example", (ip_address("100.64.0.1"),), (), "alice@example.com", "n1"),
        Node("web.tailnet.example", (ip_address("100.64.0.2"), ip_address("fd7a::2")), ("tag:web",), "", "n2"),
    )
    assert found.domains == frozenset({"example.com"})


def test_nodes_of_other_tailnets_are_left_out() -> None:
    """They are shared with this one, and its policy does not name them."""
    shared = WEB | {"ShareeNode": True}
    assert [node.stable_id for node in roster(STATUS | {"Peer": {"k": shared}}).nodes] == ["n1"]


@pytest.mark.parametrize("mark", [{"ShareeNode": True}, {"AltSharerUserID": 9}])
def test_people_of_other_tailnets_are_left_out(mark: dict[str, Any]) -> None:
    """The status names those whose nodes are shared; whoever has a node here is of both."""
    guest = STATUS["User"] | {"7": {"ID": 7, "LoginName": "erin@example.net"}}
    shared = {"ID": "n7", "DNSName": "guest.", "TailscaleIPs": ["100.64.0.7"], "UserID": 7, "Tags": []} | mark
    own = shared | {"ID": "n8", "ShareeNode": False, "AltSharerUserID": 0}
    logins = [
        [person.login for person in roster(STATUS | {"User": guest, "Peer": peers}).people]
        for peers in ({"k": shared}, {"k": shared, "o": own})
    ]
    assert [("erin@example.net" in found) for found in logins] == [False, True]


def test_people_are_in_the_order_of_their_ids() -> None:
    """Which stays, while a status names them in any order."""
    bob = SELF | {"ID": "n3", "UserID": 3}
    found = roster(STATUS | {"Peer": {"k": bob}})
    assert [person.login for person in found.people] == ["alice@example.com", "carol@example.com"]


@pytest.mark.parametrize(
    ("name", "domains"),
    [
        ("example.com", {"example.com"}),
        ("Example.COM", {"example.com"}),
        ("alice@example.com", {"example.com"}),
        ("", None),
    ],
)
def test_domains(name: str, domains: set[str] | None) -> None:
    """Of a company's tailnet and of one person's."""
    assert domains_of(name) == domains


@pytest.mark.parametrize("broken", [{"Peer": []}, {"Peer": {"k": {}}}, {"User": {"1": {}}}, {"Version": 1}])
def test_what_is_no_status(broken: dict[str, Any]) -> None:
    """Is refused with words of ours."""
    with pytest.raises(TailscaledError):
        roster(STATUS | broken)
