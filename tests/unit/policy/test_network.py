"""Who reaches whom at port 22, by acls and grants."""

from typing import Any

import pytest

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.network import Network, has_port, read
from tests.support.tailnets import ALICE, BOB, BOTH, DB, DESKTOP, LAPTOP, PHONE, WEB, compiled


def acl(*destinations: str, source: str = ALICE, **more: Any) -> dict[str, Any]:
    """An entry of acls."""
    return {"action": "accept", "src": [source], "dst": list(destinations), **more}


def grant(*ip: str, source: str = ALICE, destination: str = "tag:web") -> dict[str, Any]:
    """An entry of grants."""
    return {"src": [source], "dst": [destination], "ip": list(ip)}


def test_without_both_sections_everything_is_reached() -> None:
    """That is Tailscale's default; an empty one lets nobody through."""
    assert Network(compiled()).decides(DESKTOP, DB) == (True, "no acls and no grants")
    assert Network(compiled(acls=[])).decides(DESKTOP, DB) == (False, "")


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
    network = Network(compiled(acls=[entry], hosts={"web": "100.64.0.5"}))
    found = {node for node in (WEB, DB, BOTH, DESKTOP, PHONE) if network.decides(LAPTOP, node)[0]}
    assert found == reached


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
    network = Network(compiled(grants=[grant(source=BOB), grant(*ip)]))
    assert network.decides(LAPTOP, WEB) == (reached, "grants 2" if reached else "")


@pytest.mark.parametrize(
    "sections", [{"acls": [acl("tag:web")]}, {"acls": [acl("tag:web:ssh")]}, {"grants": [grant("ssh")]}]
)
def test_what_is_no_port(sections: dict[str, Any]) -> None:
    """Has its place."""
    with pytest.raises(PolicyFileError, match="policy:1:"):
        read(compiled(**sections).policy.document)


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
