"""Who reaches whom at port 22, by acls and grants."""

from ipaddress import ip_address
from typing import Any

import pytest

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.network import Network, has_port, read
from pam_tailscale.policy.roster import Node, Tailnet
from tests.support.tailnets import ALICE, BOB, BOTH, DB, DESKTOP, LAPTOP, PHONE, TAILNET, WEB, compiled

OTHERS = (WEB, DB, BOTH, DESKTOP, PHONE)


def decided(source: Node, destination: Node, **sections: Any) -> tuple[str, str]:
    """What these sections say of one connection, and by which entry."""
    network = Network(compiled(**sections))
    return network.decides(network.source(source), network.destination(destination))


def acl(*destinations: str, source: str = ALICE, **more: Any) -> dict[str, Any]:
    """An entry of acls."""
    return {"action": "accept", "src": [source], "dst": list(destinations), **more}


def grant(*ip: str, source: str = ALICE, destination: str = "tag:web") -> dict[str, Any]:
    """An entry of grants."""
    return {"src": [source], "dst": [destination], "ip": list(ip)}


def test_without_both_sections_everything_is_reached() -> None:
    """That is Tailscale's default; an empty one lets nobody through."""
    assert decided(DESKTOP, DB) == ("accept", "no acls and no grants")
    assert decided(DESKTOP, DB, acls=[]) == ("deny", "")


@pytest.mark.parametrize(
    ("entry", "reached"),
    [
        (acl("tag:web:22"), {WEB, BOTH}),
        (acl("tag:web:80,22"), {WEB, BOTH}),
        (acl("tag:web:20-25"), {WEB, BOTH}),
        (acl("*:*"), {WEB, DB, BOTH, DESKTOP, PHONE}),
        (acl("tag:web:23-25", "tag:db:22"), {DB, BOTH}),
        (acl("tag:web:22", proto="udp"), set()),
        (acl("tag:web:22", proto="TCP"), {WEB, BOTH}),
        (acl("web:22"), {WEB}),
        (acl("100.64.0.5:22"), {WEB}),
        (acl("[fd7a:115c:a1e0::5]:22"), {WEB}),
        (acl("100.64.0.4/30:22"), {WEB, DB, BOTH}),
        (acl("autogroup:self:22"), {PHONE}),
        (acl("autogroup:tagged:22"), {WEB, DB, BOTH}),
        (acl("autogroup:member:22"), {DESKTOP, PHONE}),
        (acl("tag:web:22", source=BOB), set()),
        (acl("tag:web:22", source="autogroup:danger-all"), {WEB, BOTH}),
        ({"action": "accept", "users": [ALICE], "ports": ["tag:db:22"]}, {DB, BOTH}),
    ],
)
def test_acls(entry: dict[str, Any], reached: set[Any]) -> None:
    """Whom alice's laptop reaches."""
    found = {node: decided(LAPTOP, node, acls=[entry], hosts={"web": "100.64.0.5"})[0] for node in OTHERS}
    assert found == {node: "accept" if node in reached else "deny" for node in OTHERS}


@pytest.mark.parametrize(
    ("ip", "reached"),
    [
        (("*",), True),
        (("22",), True),
        (("tcp:22",), True),
        (("tcp:*",), True),
        (("6:22",), True),
        (("443", "20-30"), True),
        (("udp:22",), False),
        (("icmp:*",), False),
        (("tcp:443",), False),
        ((), False),
    ],
)
def test_grants(ip: tuple[str, ...], reached: bool) -> None:  # noqa: FBT001 (a parameter of a test)
    """One with `app` alone opens no port."""
    found = decided(LAPTOP, WEB, grants=[grant(source=BOB), grant(*ip)])
    assert found == (("accept", "grants 2") if reached else ("deny", ""))


UNCLEAR: list[tuple[dict[str, Any], str]] = [
    ({"grants": [grant("*", destination="ipset:prod")]}, "ipset:prod"),
    ({"grants": [grant("*", destination="svc:db")]}, "svc:db"),
    ({"grants": [grant("*", source="group:synced")]}, "group:synced"),
    ({"grants": [grant("*", source="group:odd")]}, "group:odd"),
    ({"grants": [grant("*", source="autogroup:auditor")]}, "autogroup:auditor"),
    ({"grants": [grant("*", source="autogroup:new")]}, "autogroup:new"),
    ({"grants": [grant("*", source="autogroup:self")]}, "autogroup:self"),
    ({"grants": [grant("*", source="user:alice@example.com")]}, "user:alice@example.com"),
    ({"grants": [grant("*", destination="10.0.0.1-10.0.0.9")]}, "10.0.0.1-10.0.0.9"),
    ({"grants": [grant("*", destination="odd")]}, "odd"),
    ({"grants": [grant("ssh:22")]}, 'ip "ssh"'),
    ({"grants": [grant("*") | {"srcPosture": ["posture:x"]}]}, "srcPosture"),
    ({"grants": [grant("*")], "defaultSrcPosture": ["posture:x"]}, "defaultSrcPosture"),
    ({"grants": [grant("*") | {"srcPosture": ["posture:x"]}], "defaultSrcPosture": ["posture:y"]}, "srcPosture"),
    ({"grants": [grant("*") | {"via": ["tag:db"]}]}, "via"),
    ({"grants": [grant("*") | {"newField": 1}]}, "newField"),
    ({"acls": [acl("ipset:prod:22")]}, "ipset:prod"),
    ({"acls": [acl("*:22", srcPosture=["posture:x"])]}, "srcPosture"),
    ({"acls": [acl("*:22") | {"action": "drop"}]}, 'action "drop"'),
    ({"acls": [{"src": ["*"], "dst": ["*:*"]}]}, 'action ""'),
    ({"acls": [acl("*:22", proto="new")]}, 'proto "new"'),
]


@pytest.mark.parametrize(("sections", "why"), UNCLEAR, ids=[why for _, why in UNCLEAR])
def test_what_is_not_understood_lets_nobody_through_and_keeps_nobody_out(sections: dict[str, Any], why: str) -> None:
    """But where another entry lets through, it does."""
    more: dict[str, Any] = {"groups": {"group:odd": [ALICE, "tag:db"]}, "hosts": {"odd": "x"}}
    section = next(iter(sections))
    assert decided(LAPTOP, WEB, **sections, **more) == (f"cannot tell: {why}", f"{section} 1")
    if "defaultSrcPosture" not in sections:
        sure = acl("*:*") if section == "acls" else grant("22")
        both = sections | {section: [*sections[section], sure]}
        assert decided(LAPTOP, WEB, **both, **more) == ("accept", f"{section} 2")


def test_what_could_not_apply_keeps_out() -> None:
    """What is not understood at one end of an entry does not matter where the other end is somebody else."""
    assert decided(DESKTOP, WEB, grants=[grant("*", destination="ipset:prod")]) == ("deny", "")
    assert decided(LAPTOP, DB, grants=[grant("*", source="group:synced")]) == ("deny", "")
    assert decided(LAPTOP, WEB, grants=[grant("icmp:*", destination="ipset:prod")]) == ("deny", "")


def test_the_internet_and_nodes_of_others() -> None:
    """No node of the tailnet is either; an address elsewhere may be in the internet."""
    grants = [grant("*", destination="autogroup:internet"), grant("*", source="autogroup:shared")]
    assert decided(LAPTOP, WEB, grants=grants) == ("deny", "")
    elsewhere = Node("server", (ip_address("192.0.2.1"),))
    assert decided(LAPTOP, elsewhere, grants=grants) == ("cannot tell: autogroup:internet", "grants 1")


def test_a_role_that_somebody_has() -> None:
    """Is then known of all."""
    assert decided(LAPTOP, WEB, grants=[grant("22", source="autogroup:admin")]) == ("accept", "grants 1")
    assert decided(DESKTOP, WEB, grants=[grant("22", source="autogroup:admin")]) == ("deny", "")


def test_own_nodes_are_those_of_the_same_person() -> None:
    """Not those of whom nobody knows, and no tagged ones."""
    entry = acl("autogroup:self:22", source="*")
    found = [decided(LAPTOP, node, acls=[entry])[0] for node in (PHONE, DESKTOP, WEB)]
    assert found == ["accept", "deny", "deny"]
    nobodys = Node("one", (ip_address("100.64.9.1"),)), Node("two", (ip_address("100.64.9.2"),))
    assert decided(*nobodys, acls=[entry]) == ("deny", "")


def test_nodes_of_one_name_are_two() -> None:
    """A host's name is what its owner calls it."""
    namesake = Node(WEB.name, (ip_address("100.64.9.1"),), ("tag:db",), stable_id="n99")
    tailnet = Tailnet(TAILNET.people, (*TAILNET.nodes, namesake), TAILNET.domains)
    network = Network(compiled(tailnet, acls=[acl("tag:web:22")]))
    found = [network.decides(network.source(LAPTOP), network.destination(node))[0] for node in (WEB, namesake)]
    assert found == ["accept", "deny"]


@pytest.mark.parametrize(
    "sections",
    [
        {"acls": [acl("tag:web")]},
        {"acls": [acl("x" * 5_000_000)]},
        *(
            {"acls": [acl(f"tag:web:{ports}")]}
            for ports in ("ssh", "22-", "-22", "2_2", "+22", "٢٢", "", "22,", "22,x")
        ),
        *({"acls": [acl(f"tag:web:{ports}")]} for ports in ("25-20", "22-65536", "9" * 5_000_000)),
        *({"grants": [grant(ip)]} for ip in ("ssh", "tcp:22-", "tcp:2_2", "")),
    ],
    ids=lambda sections: str(sections)[:80],
)
def test_what_is_no_port(sections: dict[str, Any]) -> None:
    """Has its place, and what to write instead, in words that fit on a page."""
    with pytest.raises(PolicyFileError, match=r"policy:1:.*: write it as ") as raised:
        read(compiled(**sections).policy.document)
    assert len(str(raised.value)) < 1000


def test_ports() -> None:
    """Lists and ranges."""
    assert [has_port(text) for text in ("22", "*", "1-21", "21-22", "22-22", "80, 22", "2222")] == [
        True,
        True,
        False,
        True,
        True,
        True,
        False,
    ]
