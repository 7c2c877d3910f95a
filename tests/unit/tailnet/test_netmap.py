"""The netmap as the agent gets it, through the root reader's socket and from a child of its own."""

import itertools
import json
import os
import socket as sockets
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest

from contrib.demo import faults
from contrib.demo.localapi import LocalAPI as Server
from contrib.demo.tailnet import large_tailnet
from pam_tailscale.errors import PolicyShapeError, TailscaledError, TailscaledNotRootError
from pam_tailscale.tailnet import netmap
from pam_tailscale.tailnet.netmap import Way, choose, fetch_as_self, fetch_from_reader
from tests.support.impostor import impostor
from tests.support.localapi import serving
from tests.support.waiting import wait_until

HEADER = {"format": 1, "cached": False, "self": {"stable_id": "n1", "addresses": ["100.64.0.1/32"]}, "bytes": 5}
RULE = {"principals": [{"any": True}], "sshUsers": {"*": "="}, "action": {"accept": True}}
END = {"end": True}


@pytest.fixture
def listener(server: Server, tmp_path: Path) -> Iterator[Path]:
    """The socket of a listener that runs the real reader for each connection."""
    path = tmp_path / "reader.sock"
    command = [sys.executable, "-m", "contrib.demo.reader_listener", "--uid", str(os.getuid())]
    with subprocess.Popen([*command, "--socket", str(path), "--tailscaled", str(server.path)]) as process:
        wait_until(path.exists, 10, "the listener listens")
        yield path
        process.terminate()
    assert not path.exists()


@contextmanager
def scripted(path: Path, answer: bytes, *, hang: bool = False) -> Iterator[None]:
    """A reader that answers one connection with these bytes, and then closes it, or hangs."""
    done = threading.Event()

    def serve() -> None:
        connection, _ = waiting.accept()
        with connection, suppress(OSError):  # the other side may have had enough
            connection.recv(100)
            connection.sendall(answer)
            if hang:
                done.wait(30)

    with sockets.socket(sockets.AF_UNIX) as waiting:
        waiting.bind(str(path))
        waiting.listen(1)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(10)


def lines(*documents: object) -> bytes:
    """Documents as lines of JSON."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


@pytest.mark.parametrize(
    ("version", "way"),
    [
        ((1, 96, 0), Way.AS_SELF),
        ((1, 102, 99), Way.AS_SELF),
        ((1, 103, 0), Way.ROOT_READER),
        ((1, 104, 5), Way.ROOT_READER),
        ((2, 0, 0), Way.ROOT_READER),
    ],
)
def test_the_version_decides_the_way(version: tuple[int, int, int], way: Way) -> None:
    """From 1.103 only root may read the netmap."""
    assert choose(version) is way


def test_the_reader_gives_the_policy(server: Server, listener: Path) -> None:
    """The node, and rules that are numbered from 1."""
    result = fetch_from_reader(listener, 10)
    assert result.self_stable_id == server.tailnet.own.stable_id
    assert result.self_addresses == (ip_address("100.64.0.1"), ip_address("fd7a:115c:a1e0::1"))
    assert result.cached is False
    assert result.bytes_read == len(server.tailnet.encoded("netmap"))
    assert result.policy is not None
    assert [(rule.number, dict(rule.users)) for rule in result.policy.rules] == [(1, {"alice": "="})]


def test_the_reader_serves_again_after_a_failure(server: Server, listener: Path) -> None:
    """Each connection has its own process."""
    server.faults["debug"] = faults.half
    with pytest.raises(TailscaledError, match="not complete JSON"):
        fetch_from_reader(listener, 10)
    server.faults.clear()
    assert fetch_from_reader(listener, 10).policy is not None


def test_without_policy_there_is_none(server: Server, listener: Path) -> None:
    """None is not the same as a policy without rules."""
    server.tailnet.rules = None
    server.tailnet.changed()
    assert fetch_from_reader(listener, 10).policy is None
    server.tailnet.rules = []
    server.tailnet.changed()
    policy = fetch_from_reader(listener, 10).policy
    assert policy is not None
    assert policy.rules == ()


def test_an_unknown_policy_is_told_apart(server: Server, listener: Path) -> None:
    """The reader's finding arrives as the error it is."""
    server.tailnet.policy = ["rules"]
    server.tailnet.changed()
    with pytest.raises(PolicyShapeError, match="upgrade pam-tailscale"):
        fetch_from_reader(listener, 10)


def test_an_older_tailscaled_is_read_as_self(socket_path: Path) -> None:
    """Without the root reader, over the bus, with the same result; a cached netmap says so."""
    with serving(socket_path) as server:
        server.tailnet.version, server.tailnet.cached = "1.102.5", True
        server.tailnet.changed()
        result = fetch_as_self(socket_path, 10)
    assert result.self_stable_id == server.tailnet.own.stable_id
    assert result.policy is not None
    assert len(result.policy.rules) == 1
    assert result.cached is True


def test_a_large_policy_is_read_with_pauses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions get the interpreter after each rule that took as long as a slice, not after all 1,000."""
    tailnet = large_tailnet(2_000)
    assert tailnet.rules is not None
    answer = lines(HEADER | {"rules": len(tailnet.rules)}, *tailnet.rules, END)
    clock, pauses = itertools.count(), list[float]()
    slow = SimpleNamespace(monotonic=lambda: next(clock) * netmap._SLICE, sleep=pauses.append)
    monkeypatch.setattr(netmap, "time", slow)
    with scripted(tmp_path / "reader.sock", answer):
        result = fetch_from_reader(tmp_path / "reader.sock", 30)
    assert result.policy is not None
    assert len(result.policy.rules) == 1_000
    assert len(pauses) > 300
    assert all(pause > 0 for pause in pauses)


def test_a_rule_beyond_the_cap_is_not_read(tmp_path: Path) -> None:
    """A line without end does not fill the memory."""
    answer = lines(HEADER | {"rules": 1}) + b"x" * (netmap.LINE_MAX + 100_000)
    with scripted(tmp_path / "reader.sock", answer, hang=True), pytest.raises(TailscaledError, match="too large"):
        fetch_from_reader(tmp_path / "reader.sock", 10)


def test_a_policy_beyond_the_cap_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do many lines."""
    monkeypatch.setattr(netmap, "TOTAL_MAX", 10_000)
    answer = lines(HEADER | {"rules": 1_000}, *[RULE] * 1_000, END)
    with scripted(tmp_path / "reader.sock", answer), pytest.raises(TailscaledError, match="too large"):
        fetch_from_reader(tmp_path / "reader.sock", 10)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"\n",
        b"null\n",
        b"[]\n",
        b"\xff\n",
        lines({}),
        lines({"end": True}),
        lines(HEADER),
        lines(HEADER | {"rules": 1}, END),
        lines(HEADER | {"rules": 2}, RULE),
        lines(HEADER | {"rules": 2}, RULE, END),
        lines(HEADER | {"rules": 1}, RULE),
        lines(HEADER | {"rules": 1}, RULE, RULE),
        lines(HEADER | {"rules": 1}, RULE, {"end": False}),
        lines(HEADER | {"rules": 1}, RULE, END)[:-1],
        lines(HEADER | {"rules": 1}) + b'{"action":\n' + lines(END),
        lines(HEADER | {"rules": -1}, END),
        lines(HEADER | {"rules": True}, RULE, END),
        lines(HEADER | {"rules": "1"}, RULE, END),
        lines(HEADER | {"rules": 10**9}, RULE, END),
        lines(HEADER | {"rules": 0, "format": 2}, END),
        lines(HEADER | {"rules": 0, "cached": None}, END),
        lines(HEADER | {"rules": 0, "bytes": "5"}, END),
        lines(HEADER | {"rules": 0, "self": None}, END),
        lines(HEADER | {"rules": 0, "self": {"stable_id": 1, "addresses": []}}, END),
        lines(HEADER | {"rules": 0, "self": {"stable_id": "n1", "addresses": ["x/32"]}}, END),
        lines({"error": "this and that"}),
    ],
)
def test_a_bad_answer_of_the_reader_is_refused(tmp_path: Path, answer: bytes) -> None:
    """Whatever is short, long or odd: no policy comes of it."""
    with scripted(tmp_path / "reader.sock", answer), pytest.raises(TailscaledError):
        fetch_from_reader(tmp_path / "reader.sock", 5)


def test_a_reader_that_hangs_is_given_up(tmp_path: Path) -> None:
    """The limit is for the whole read."""
    answer = lines(HEADER | {"rules": 2}, RULE)
    with (
        scripted(tmp_path / "reader.sock", answer, hang=True),
        pytest.raises(TailscaledError, match="could not be read to its end"),
    ):
        fetch_from_reader(tmp_path / "reader.sock", 0.3)


def _children() -> set[str]:
    """Processes of this one that have not been waited for; other tests may have some in the same process."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


def test_a_child_that_hangs_is_ended(socket_path: Path) -> None:
    """A tailscaled that says nothing leaves no process behind."""
    release, before = threading.Event(), _children()
    with serving(socket_path) as server:
        server.faults["watch-ipn-bus"] = faults.hang(release)
        with pytest.raises(TailscaledError, match="could not be read to its end"):
            fetch_as_self(socket_path, 1)
        release.set()
    assert _children() <= before


def test_no_reader(tmp_path: Path) -> None:
    """The message names the unit to look at."""
    with pytest.raises(TailscaledError, match=r"pam-tailscale-reader\.socket"):
        fetch_from_reader(tmp_path / "reader.sock", 1)


def test_only_roots_reader_is_believed(tmp_path: Path) -> None:
    """A policy from another user's program would be that user's policy."""
    path = tmp_path / "reader.sock"
    with impostor(path, uid=65534), pytest.raises(TailscaledNotRootError, match="uid 65534"):
        fetch_from_reader(path, 1)


def test_the_readers_socket_is_for_one_user(listener: Path) -> None:
    """Only the agent may connect."""
    assert listener.stat().st_mode & 0o777 == 0o600
