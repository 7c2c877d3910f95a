"""The embedded tailscaled answers as the real one does; else what is tested with it would prove little."""

import http.client
import json
import socket as sockets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.demo import faults
from contrib.demo.localapi import Fault
from contrib.demo.localapi import LocalAPI as Server
from contrib.demo.tailnet import large_tailnet
from tests.support.localapi import ALICE_V4, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A small tailnet."""
    with serving(tmp_path / "tailscaled.sock") as server:
        yield server


def ask(
    server: Server, target: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, body and headers of one answer."""
    connection = http.client.HTTPConnection("local-tailscaled.sock", timeout=5)
    with sockets.socket(sockets.AF_UNIX) as connection.sock:
        connection.sock.connect(str(server.path))
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response.headers


def api(name: str) -> str:
    """A path of the LocalAPI."""
    return f"/localapi/v0/{name}"


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost"}, {"Host": "foo"}, {"Origin": "https://x.example"}, {"Referer": "https://x.example"}],
)
def test_browsers_and_strangers_are_refused(server: Server, headers: dict[str, str]) -> None:
    """As localapi.go does: only the right Host, and nothing that a web page could send."""
    assert ask(server, api("status"), headers=headers)[:2] == (403, b"invalid localapi request\n")


@pytest.mark.parametrize("target", ["/", "/status", "/localapi/v1/status", "/localapi/v0/nothing"])
def test_other_paths_are_not_found(server: Server, target: str) -> None:
    """There is nothing but the endpoints."""
    assert ask(server, target)[0] == 404


@pytest.mark.parametrize(("target", "peers"), [("status", 2), ("status?peers=true", 2), ("status?peers=false", 0)])
def test_status_has_peers_unless_they_are_not_wanted(server: Server, target: str, peers: int) -> None:
    """As localapi.go, serveStatus, does."""
    assert len(json.loads(ask(server, api(target))[1])["Peer"] or ()) == peers


def test_answers_say_the_version(server: Server) -> None:
    """Version and capability version stand in every answer's head."""
    headers = ask(server, api("status"))[2]
    assert headers["Tailscale-Version"] == "1.104.5"
    assert headers["Tailscale-Cap"] == "148"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"addr={ALICE_V4}:22&proto=tcp", 200),
        (f"addr={ALICE_V4}", 200),
        ("addr=%5Bfd7a:115c:a1e0::2%5D:22", 200),
        ("addr=fd7a:115c:a1e0::2", 200),
        ("addr=100.64.9.9:22", 404),
        ("addr=", 400),
        ("", 400),
    ],
)
def test_whois(server: Server, query: str, status: int) -> None:
    """By either address, with and without a port."""
    assert ask(server, api(f"whois?{query}"))[0] == status


def test_whois_knows_the_node_itself(server: Server) -> None:
    """As the real one: it is what makes the host's own address dangerous."""
    status, body, _ = ask(server, api("whois?addr=100.64.0.1:22"))
    assert status == 200
    assert json.loads(body)["UserProfile"]["LoginName"] == "tagged-devices"


class TestNetmap:
    TARGET = api("debug?action=current-netmap")

    def test_root_gets_it(self, server: Server) -> None:
        """Whole, with peers."""
        status, body, _ = ask(server, self.TARGET, "POST")
        assert status == 200
        netmap = json.loads(body)
        assert len(netmap["Peers"]) == 2
        assert netmap["SSHPolicy"] == {"rules": server.tailnet.rules}

    def test_nobody_else_gets_it(self) -> None:
        """Any other user is refused, but for the operator."""
        program = (
            "import os, socket, sys; os.setuid(int(sys.argv[2])); s = socket.socket(socket.AF_UNIX);"
            "s.connect(sys.argv[1]); s.sendall(sys.argv[3].encode()); print(s.recv(100))"
        )
        request = f"POST {self.TARGET} HTTP/1.0\r\n\r\n"
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o711)  # pytest's own are for its user alone
            with serving(Path(folder) / "tailscaled.sock") as server:

                def status(uid: int) -> str:
                    command = [sys.executable, "-I", "-S", "-c", program, str(server.path), str(uid), request]
                    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

                assert "403 Forbidden" in status(65534)
                server.tailnet.operator_uid = 65534
                assert "200 OK" in status(65534)

    @pytest.mark.parametrize(
        ("method", "action", "status"), [("GET", "current-netmap", 405), ("POST", "rebind", 400), ("POST", "", 400)]
    )
    def test_other_requests_are_refused(self, server: Server, method: str, action: str, status: int) -> None:
        """Only POST, and only the one action that is played."""
        assert ask(server, api(f"debug?action={action}"), method)[0] == status

    def test_it_can_be_built_out(self, server: Server) -> None:
        """As in small builds."""
        server.tailnet.debug = False
        assert ask(server, self.TARGET, "POST")[0] == 501

    def test_a_node_that_is_logged_out_has_none(self, server: Server) -> None:
        """As the real one says it."""
        server.tailnet.state = "NeedsLogin"
        server.tailnet.changed()
        assert ask(server, self.TARGET, "POST")[:2] == (400, b"no netmap\n")


class TestBus:
    def lines(self, server: Server, mask: int, count: int) -> list[dict[str, object]]:
        """The first lines of a watch; the tailnet changes after the first."""
        with sockets.socket(sockets.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(server.path))
            connection.sendall(f"GET {api('watch-ipn-bus')}?mask={mask} HTTP/1.0\r\n\r\n".encode())
            stream = connection.makefile("rb")
            while stream.readline() != b"\r\n":
                pass
            lines = [json.loads(stream.readline())]
            while len(lines) < count:
                server.tailnet.changed()
                lines.append(json.loads(stream.readline()))
            return lines

    def test_the_netmap_is_no_longer_on_it(self, server: Server) -> None:
        """From 1.103 who asks for it is refused."""
        status, body, _ = ask(server, api("watch-ipn-bus?mask=24"))
        assert status == 400
        assert b"no longer supported" in body

    def test_up_to_1_102_it_was(self, server: Server) -> None:
        """In the first message, for who asks."""
        server.tailnet.version = "1.102.5"
        assert self.lines(server, 22, 1)[0]["NetMap"] is None
        assert isinstance(self.lines(server, 24, 1)[0]["NetMap"], dict)

    def test_the_first_message_has_what_was_asked_for(self, server: Server) -> None:
        """State and prefs by their bits."""
        (with_both,), (without,) = self.lines(server, 22, 1), self.lines(server, 0, 1)
        assert (with_both["State"], without["State"]) == (6, None)
        assert (with_both["Prefs"], without["Prefs"]) == (server.tailnet.prefs, None)
        assert "SelfChange" not in with_both

    def test_each_change_is_a_message(self, server: Server) -> None:
        """With the node itself, whatever changed."""
        changes = self.lines(server, 0, 4)[1:]
        assert len(changes) == 3
        assert all(isinstance(change["SelfChange"], dict) for change in changes)


def test_the_socket_is_open_to_all(server: Server) -> None:
    """As tailscaled's: who may do what is decided by the uid at the other end."""
    assert server.path.stat().st_mode & 0o777 == 0o666


def test_stopping_ends_everything(tmp_path: Path) -> None:
    """No thread and no socket stays, also while a watch is open."""
    before = threading.active_count()
    with serving(tmp_path / "a.sock") as server, sockets.socket(sockets.AF_UNIX) as connection:
        connection.connect(str(server.path))
        connection.sendall(f"GET {api('watch-ipn-bus')} HTTP/1.0\r\n\r\n".encode())
        connection.recv(100)
    assert not server.path.exists()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("fault", "status", "body"),
    [
        (faults.status(500, "no"), 500, b"no\n"),
        (faults.body(b"x"), 200, b"x"),
        (faults.huge(10), 200, b'{"Version":"xxxxxxxxxx"}'),
    ],
)
def test_faults_replace_the_answer(server: Server, fault: Fault, status: int, body: bytes) -> None:
    """For the endpoint they are set for, and no other."""
    server.faults["prefs"] = fault
    assert ask(server, api("prefs"))[:2] == (status, body)
    assert ask(server, api("status"))[0] == 200


def test_half_an_answer(server: Server) -> None:
    """Half of it as if it were whole, and half of it with the connection cut."""
    server.faults["prefs"] = faults.half
    whole = server.tailnet.encoded("prefs")
    assert ask(server, api("prefs"))[1] == whole[: len(whole) // 2]
    server.faults["prefs"] = faults.cut
    with pytest.raises(http.client.IncompleteRead):
        ask(server, api("prefs"))


def test_a_large_tailnet_is_what_it_says() -> None:
    """One peer has one rule, the last; ids are beyond what a double holds."""
    tailnet = large_tailnet(2_000, 100, 20)
    assert tailnet.rules is not None
    assert (len(tailnet.peers), len(tailnet.rules)) == (2_000, 100)
    address = tailnet.peers[0].addresses[0]
    matching = [number for number, rule in enumerate(tailnet.rules) if {"nodeIP": address} in rule["principals"]]
    assert (address, matching) == ("100.64.1.0", [99])
    assert tailnet.own.node_id > 2**53
    assert len({node.node_id for node in tailnet.peers}) == 2_000
