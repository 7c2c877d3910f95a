"""The URL that the control plane is asked by, and what its answer says: every field of it."""

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.check.delegate import TARGET_MAX, TEXT_MAX, Next, expand, judge
from pam_tailscale.check.flow import Passed, Refused
from pam_tailscale.errors import CheckError, PolicyShapeError
from pam_tailscale.model import Connection, Demand, Peer, Reason

PEER = Peer(
    node_id=2,
    stable_id="nALICE",
    name="laptop.tailnet.example",
    addresses=(ip_address("100.64.0.2"),),
    tags=(),
    user_id=7,
    login="alice@example.com",
    expired=False,
    key_expiry=None,
)
V4 = Connection(ip_address("100.64.0.2"), 40000, ip_address("100.64.0.1"), 22)
V6 = Connection(ip_address("fd7a:115c:a1e0::2"), 40000, ip_address("fd7a:115c:a1e0::1"), 22)
DEMAND = Demand(PEER, "alice", V4, "", None)
PERMITTED = {"allowAgentForwarding": True, "allowLocalPortForwarding": True, "allowRemotePortForwarding": True}
ALL = "https://unused/$SRC_NODE_IP/$SRC_NODE_ID/$DST_NODE_IP/$DST_NODE_ID/$SSH_USER/$LOCAL_USER"


@pytest.mark.parametrize(
    ("delegate", "target"),
    [
        ("https://unused/", "/"),
        ("http://unused/", "/"),
        ("https:///a", "/a"),
        (
            "https://unused/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER",
            "/machine/ssh/action/2/to/1?local_user=alice",
        ),
        (ALL, "/100.64.0.2/2/100.64.0.1/1/alice/alice"),
        ("https://unused/a?x=$SSH_USER&y=$SSH_USER$SSH_USER", "/a?x=alice&y=alicealice"),
        ("https://unused/a?local_user=%24LOCAL_USER", "/a?local_user=%24LOCAL_USER"),
        ("https://unused/$SRC_NODE/$src_node_id/$OTHER/$$SSH_USER", "/$SRC_NODE/$src_node_id/$OTHER/$alice"),
        ("https://alice:secret@unused:99/a", "/a"),
        ("https://unused//other.example/a", "//other.example/a"),
        ("https://unused/a?url=https://other.example/b", "/a?url=https://other.example/b"),
    ],
)
def test_a_delegate_is_filled_in(delegate: str, target: str) -> None:
    """All variables, wherever they are; path and query, whatever the host."""
    assert expand(delegate, DEMAND, 1) == target


def test_an_ipv6_address_is_escaped() -> None:
    """As url.QueryEscape does it for Tailscale's own server."""
    assert expand(ALL, replace(DEMAND, connection=V6), 1).startswith(
        "/fd7a%3A115c%3Aa1e0%3A%3A2/2/fd7a%3A115c%3Aa1e0%3A%3A1/1/"
    )


@pytest.mark.parametrize(
    ("user", "escaped"),
    [
        ("", ""),
        ("AZaz09-_.~", "AZaz09-_.~"),
        ("a b+c", "a+b%2Bc"),
        ("../../1/to/9?x#y&z=%2F", "..%2F..%2F1%2Fto%2F9%3Fx%23y%26z%3D%252F"),
        ("$DST_NODE_ID", "%24DST_NODE_ID"),
        ("\r\nHost: x", "%0D%0AHost%3A+x"),
        ("\x00\x7f", "%00%7F"),
        ("müller", "m%C3%BCller"),
        ("\udcff\udc80", "%FF%80"),
        ("!*'();@,", "%21%2A%27%28%29%3B%40%2C"),
    ],
)
def test_a_name_never_becomes_a_part_of_the_url(user: str, escaped: str) -> None:
    """Every byte is possible in it, and it is a stranger who chooses them."""
    target = expand("https://unused/a?local_user=$LOCAL_USER&b=1", replace(DEMAND, user=user), 1)
    assert target == f"/a?local_user={escaped}&b=1"


@given(st.text(st.characters(codec=None), max_size=50))
def test_no_name_adds_to_the_url(user: str) -> None:
    """Whatever it is made of, but for halves of characters that no bytes decode to."""
    if any("\ud800" <= letter <= "\udfff" and not "\udc80" <= letter <= "\udcff" for letter in user):
        return
    target = expand("https://unused/a/$SSH_USER/b", replace(DEMAND, user=user), 1)
    assert target.startswith("/a/")
    assert target.count("/") == 3
    assert not set(target) & set("?#& \r\n\x00")
    assert target.isascii()


@pytest.mark.parametrize(
    "delegate",
    [
        "/machine/ssh/action",
        "unused",
        "https://unused",
        "https://unused?x=/a",
        "https://unused#/a",
        "https:/unused/a",
        "//unused/a",
        "ftp://unused/a",
        "file:///etc/passwd",
        "HTTPS ://unused/a",
        "javascript:https://unused/a",
        "https://unused/a#b",
        "https://unused/a b",
        "https://unused/a\tb",
        "https://unused/a\r\nx: y",
        "https://unused/a\x00",
        "https://unused/ä",
        " https://unused/a",
        "https://unused/a\n",
        "https://unused/" + "a" * TARGET_MAX,
    ],
)
def test_what_is_no_url_with_a_path_is_refused(delegate: str) -> None:
    """It is the control plane's to be right, and not ours to guess what it means."""
    with pytest.raises(PolicyShapeError, match="no URL with a path"):
        expand(delegate, DEMAND, 1)


def judged(**fields: object) -> Passed | Refused | Next:
    """What is made of an action with these fields."""
    return judge(json.dumps(fields).encode())


def test_an_accept_passes() -> None:
    """With its message, for the person."""
    assert judged(accept=True, **PERMITTED) == Passed("")
    assert judged(accept=True, message="welcome", **PERMITTED) == Passed("welcome")


@pytest.mark.parametrize(
    ("fields", "reason", "text"),
    [
        ({}, Reason.RULE_MALFORMED, "neither yes nor no"),
        ({"accept": False}, Reason.RULE_MALFORMED, "neither yes nor no"),
        ({"accept": None}, Reason.RULE_MALFORMED, "neither yes nor no"),
        ({"message": "hm"}, Reason.RULE_MALFORMED, "neither yes nor no"),
        ({"reject": True}, Reason.CHECK_REJECTED, "rejects"),
        ({"reject": True, "accept": True} | PERMITTED, Reason.CHECK_REJECTED, "rejects"),
        ({"reject": True, "holdAndDelegate": "https://unused/a"}, Reason.CHECK_REJECTED, "rejects"),
        ({"reject": True, "other": 1}, Reason.CHECK_REJECTED, "rejects"),
        ({"accept": True}, Reason.ATTRIBUTE_NOT_ENFORCED, "allowAgentForwarding withheld"),
        ({"accept": True} | PERMITTED | {"allowAgentForwarding": False}, Reason.ATTRIBUTE_NOT_ENFORCED, "Agent"),
        ({"accept": True} | PERMITTED | {"allowLocalPortForwarding": False}, Reason.ATTRIBUTE_NOT_ENFORCED, "Local"),
        ({"accept": True} | PERMITTED | {"allowRemotePortForwarding": False}, Reason.ATTRIBUTE_NOT_ENFORCED, "Remote"),
        ({"accept": True, "sessionDuration": 1} | PERMITTED, Reason.ATTRIBUTE_NOT_ENFORCED, "sessionDuration"),
        ({"accept": True, "recorders": ["100.64.0.9:80"]} | PERMITTED, Reason.ATTRIBUTE_NOT_ENFORCED, "recorders"),
        ({"accept": True, "onRecordingFailure": {"x": "y"}} | PERMITTED, Reason.ATTRIBUTE_NOT_ENFORCED, "recorders"),
        ({"accept": True, "other": 1} | PERMITTED, Reason.POLICY_SHAPE, "other"),
        ({"accept": "yes"} | PERMITTED, Reason.POLICY_SHAPE, "accept"),
        ({"accept": 1} | PERMITTED, Reason.POLICY_SHAPE, "accept"),
        ({"accept": True, "message": ["x"]} | PERMITTED, Reason.POLICY_SHAPE, "message"),
        ({"accept": True, "reject": "yes"} | PERMITTED, Reason.POLICY_SHAPE, "reject"),
        ({"Accept": True} | PERMITTED, Reason.POLICY_SHAPE, "Accept"),
        ({"holdAndDelegate": "https://unused/a", "other": 1}, Reason.POLICY_SHAPE, "other"),
        ({"holdAndDelegate": 5}, Reason.POLICY_SHAPE, "holdAndDelegate"),
    ],
)
def test_what_does_not_pass(fields: dict[str, object], reason: Reason, text: str) -> None:
    """A reject wins; what is not known or cannot be enforced is no yes."""
    outcome = judged(**fields)
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason
    assert text in outcome.detail


def test_a_rejection_tells_the_person_why() -> None:
    """If the control plane does."""
    outcome = judged(reject=True, message="ask alice")
    assert isinstance(outcome, Refused)
    assert outcome.message == "ask alice"


@pytest.mark.parametrize("beside", [{}, {"accept": True}, PERMITTED, {"sessionDuration": 5}])
def test_a_hold_is_a_hold(beside: dict[str, object]) -> None:
    """Also beside an accept, as in a rule; what the session may do comes with the answer that accepts."""
    fields = {"holdAndDelegate": "https://unused/$SSH_USER", "message": "go to https://control.example/auth/1 now"}
    outcome = judged(**fields | beside)
    assert outcome == Next("https://unused/$SSH_USER", "go to https://control.example/auth/1 now")


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"5", b'"accept"', b"true"],
)
def test_what_is_no_object_never_passes(content: bytes) -> None:
    """Nor is it held."""
    try:
        outcome = judge(content)
    except CheckError:
        return
    assert isinstance(outcome, Refused)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"accept":true', b"[" * 50_000, b"<html>"])
def test_what_is_not_json_is_an_error(content: bytes) -> None:
    """As from a proxy in between; it can be asked again."""
    with pytest.raises(CheckError, match="not JSON"):
        judge(content)


def test_texts_are_bounded() -> None:
    """Nobody reads more, and the wire to the shims takes no more."""
    outcome = judged(accept=True, message="x" * 60_000, **PERMITTED)
    assert outcome == Passed("x" * TEXT_MAX)


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("", ""),
        ("approve it", ""),
        (
            "# To authenticate, visit: https://control.example/auth/hskey-authreq-a_b-C\n# x",
            "https://control.example/auth/hskey-authreq-a_b-C",
        ),
        ("see http://192.0.2.1:8080/a?b=c&d=%20.", "http://192.0.2.1:8080/a?b=c&d=%20"),
        ("(https://control.example/a), or https://control.example/b", "https://control.example/a"),
        ('"https://control.example/a"', "https://control.example/a"),
        ("<https://control.example/a>", "https://control.example/a"),
        ("https://control.example/a\x1b[2J", "https://control.example/a"),
        ("https://control.example/ä", "https://control.example/"),
        ("javascript://x ftp://y httpss://z https://", ""),
    ],
)
def test_the_page_is_found_in_the_text(text: str, page: str) -> None:
    """The first address that a browser opens."""
    assert Next("https://unused/a", text).page == page
