"""The LocalAPI client against an embedded tailscaled, healthy and ill."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from contrib.demo import faults
from contrib.demo.localapi import Answer, Fault
from contrib.demo.localapi import LocalAPI as Server
from contrib.demo.tailnet import large_tailnet
from pam_tailscale.errors import TailscaledError, TailscaledNotRootError
from pam_tailscale.tailnet import localapi
from pam_tailscale.tailnet.localapi import BODY_MAX, LocalAPI
from tests.support.impostor import impostor
from tests.support.localapi import ALICE_V4, ALICE_V6, serving

ALICE = ip_address(ALICE_V4)

ENDPOINTS: dict[str, Callable[[LocalAPI], object]] = {
    "status": LocalAPI.status,
    "prefs": LocalAPI.prefs,
    "whois": lambda api: api.whois(ALICE, 22),
}


def wrong_type(answer: Answer) -> Answer:
    """Everything that says something says a number."""
    text = answer.body.replace(b'"Version": "', b'"Version": 5, "V": "').replace(
        b'"ControlURL": "', b'"ControlURL": 5, "C": "'
    )
    return Answer(200, text.replace(b'"LoginName": "', b'"LoginName": 5, "L": "'))


BAD: dict[str, Fault] = {
    "400": faults.status(400),
    "403": faults.status(403, "invalid localapi request"),
    "500": faults.status(500),
    "503": faults.status(503, "no backend"),
    "302": faults.status(302),
    "half": faults.half,
    "cut": faults.cut,
    "closed": faults.closed,
    "empty": faults.body(b""),
    "missing fields": faults.body(b"{}"),
    "list": faults.body(b"[]"),
    "null": faults.body(b"null"),
    "text": faults.body(b"<html>not found</html>"),
    "wrong type": wrong_type,
    "huge": faults.huge(BODY_MAX),
    "deep": faults.body(b'{"a":' * 50_000),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("fault", BAD)
def test_a_bad_answer_is_an_error_that_says_what_to_do(
    server: Server, api: LocalAPI, endpoint: str, fault: str
) -> None:
    """No bad answer is taken for a good one or for "nobody", and the next good one is understood again."""
    server.faults[endpoint] = BAD[fault]
    with pytest.raises(TailscaledError) as raised:
        ENDPOINTS[endpoint](api)
    assert any(
        advice in str(raised.value)
        for advice in ("systemctl", "journalctl", "upgrade", "check", "restart", "see `", "?")
    )
    del server.faults[endpoint]
    assert ENDPOINTS[endpoint](api) is not None


def test_an_answer_beyond_the_cap_is_not_read(server: Server, api: LocalAPI) -> None:
    """Also where it would be a good one but for its size."""
    server.faults["prefs"] = faults.body(server.tailnet.encoded("prefs") + b" " * BODY_MAX)
    with pytest.raises(TailscaledError, match="longer than"):
        api.prefs()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_tailscaled_that_hangs_is_given_up(server: Server, endpoint: str) -> None:
    """The time limit holds, and the late answer is not taken for that of the next question."""
    release = threading.Event()
    server.faults[endpoint] = faults.hang(release)
    api = LocalAPI(server.path, timeout=0.2)
    with pytest.raises(TailscaledError, match="timed out"):
        ENDPOINTS[endpoint](api)
    release.set()
    server.faults.clear()
    assert ENDPOINTS[endpoint](api) is not None
    api.close()


def test_an_answer_in_small_pieces_does_not_outlast_the_limit(socket_path: Path) -> None:
    """The limit is for the whole answer, not for each piece of it."""
    with serving(socket_path) as server:
        server.faults["prefs"] = faults.body(b'{"x":"' + b"x" * 500_000 + b'"}')
        server.pause = 0.05  # between chunks
        api = LocalAPI(socket_path, timeout=0.1)
        with pytest.raises(TailscaledError, match="no whole answer"):
            api.prefs()


def test_peers_may_be_many(server: Server, api: LocalAPI) -> None:
    """Only this answer may be long, and it is understood whole."""
    server.tailnet.peers = large_tailnet(3000, 0).peers
    server.tailnet.changed()
    assert len(server.tailnet.encoded("peers")) > BODY_MAX
    assert len(api.peers()) == 3000
    assert api.status().backend_state == "Running"


def test_an_answer_about_peers_has_a_limit_too(server: Server, api: LocalAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every answer has."""
    monkeypatch.setattr(localapi, "STATUS_MAX", 500)
    assert len(server.tailnet.encoded("peers")) > 500
    with pytest.raises(TailscaledError, match="longer than 500"):
        api.peers()


@pytest.mark.parametrize("fault", ["403", "half", "cut", "closed", "list"])
def test_half_the_peers_are_not_taken_for_all(server: Server, api: LocalAPI, fault: str) -> None:
    """A bad answer is an error."""
    server.faults["status"] = BAD[fault]
    with pytest.raises(TailscaledError):
        api.peers()


def test_the_status_document(server: Server, api: LocalAPI) -> None:
    """Whole, however large, and with what no record has."""
    peer = {"ID": "n2", "DNSName": "laptop.tailnet.example.", "UserID": 1, "Filler": "x" * (2 << 20)}
    document = {"Version": "1.104.5", "Peer": {"key": peer}, "User": {"1": {"LoginName": "alice@example.com"}}}
    server.faults["status"] = lambda answer: replace(answer, body=json.dumps(document).encode())
    assert api.status_document() == document
    assert server.last is not None
    assert server.last.query == ""


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (faults.status(503), "answered status with 503"),
        (faults.half, "not complete JSON"),
        (faults.body(b"[]"), "object"),
    ],
    ids=["error", "half", "no object"],
)
def test_a_status_document_that_is_none(server: Server, api: LocalAPI, fault: Fault, text: str) -> None:
    """Is an error of tailscaled's."""
    server.faults["status"] = fault
    with pytest.raises(TailscaledError, match=text):
        api.status_document()


def test_the_status_document_of_nobody(socket_path: Path) -> None:
    """It is not reached."""
    with pytest.raises(TailscaledError, match="cannot reach tailscaled"):
        LocalAPI(socket_path).status_document()


def test_whois_names_the_peer_of_either_address(api: LocalAPI) -> None:
    """IPv4 and IPv6 lead to the same node."""
    by_v4, by_v6 = api.whois(ALICE, 50000), api.whois(ip_address(ALICE_V6), 50000)
    assert by_v4 == by_v6
    assert by_v4 is not None
    assert by_v4.peer.identity == "alice@example.com"


def test_an_unknown_address_is_nobody(api: LocalAPI) -> None:
    """404 is the one answer that means: no such peer."""
    assert api.whois(ip_address("100.64.9.9"), 22) is None
    assert api.whois(ip_address("fd7a:115c:a1e0::99"), 22) is None


def test_a_change_is_seen_at_once(server: Server, api: LocalAPI) -> None:
    """Nothing is remembered between questions."""
    assert api.whois(ALICE, 22) is not None
    del server.tailnet.peers[0]
    server.tailnet.changed()
    assert api.whois(ALICE, 22) is None


def test_one_connection_serves_many_questions(server: Server, api: LocalAPI) -> None:
    """A connection is kept: opening one would cost each login as much as the question."""
    for _ in range(3):
        api.whois(ALICE, 22)
        api.status()
        api.prefs()
    assert server.accepted == 1


def test_a_kept_connection_that_was_closed_is_opened_again(server: Server, api: LocalAPI) -> None:
    """What is idle tailscaled may close; the question is asked again, once."""
    api.status()
    server.drop()
    assert api.status().backend_state == "Running"
    assert server.accepted == 2


def test_a_fresh_connection_that_is_closed_is_an_error(server: Server, api: LocalAPI) -> None:
    """A tailscaled that closes on every question is not asked for ever."""
    server.faults["status"] = faults.closed
    with pytest.raises(TailscaledError, match="systemctl status tailscaled"):
        api.status()
    assert server.asked["status"] == 1


def test_after_a_restart_the_new_tailscaled_is_asked(socket_path: Path) -> None:
    """A kept connection to a tailscaled that was replaced, and still lives, is given up."""
    with serving(socket_path) as old:
        api = LocalAPI(socket_path)
        api.status()
        socket_path.rename(socket_path.with_name("old.sock"))
        with serving(socket_path) as new:
            new.tailnet.version = "1.200.0"
            new.tailnet.changed()
            assert api.status().version == "1.200.0"
        assert old.asked["status"] == 1
        with pytest.raises(TailscaledError):
            api.status()
        api.close()


def test_no_tailscaled(socket_path: Path) -> None:
    """A host where tailscaled does not run."""
    with pytest.raises(TailscaledError, match="systemctl status tailscaled"):
        LocalAPI(socket_path).status()


def test_only_root_is_believed(socket_path: Path) -> None:
    """Another user's program at the path of the socket says nothing that counts."""
    with impostor(socket_path, uid=65534), pytest.raises(TailscaledNotRootError, match="uid 65534"):
        LocalAPI(socket_path).whois(ALICE, 22)


def test_the_request_is_one_tailscaled_takes(server: Server, api: LocalAPI) -> None:
    """Host is right, and protocol and port are asked for, by which tailscaled finds proxied connections."""
    api.whois(ip_address(ALICE_V6), 22)
    assert server.last is not None
    assert server.last.headers["host"] == "local-tailscaled.sock"
    assert server.last.query == "addr=%5Bfd7a:115c:a1e0::2%5D:22&proto=tcp"
