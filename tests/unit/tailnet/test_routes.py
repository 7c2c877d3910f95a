"""Routes and addresses, asked of the real kernel in a network namespace of our own."""

import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

from pam_tailscale.errors import TailscaledError
from pam_tailscale.tailnet import routes
from pam_tailscale.tailnet.routes import interface_of, route_to

V4, V6 = "100.64.0.1", "fd7a:115c:a1e0::1"

# The interfaces of a host in a tailnet, a LAN beside it, and routes that should mislead nobody.
_SETUP = f"""
ip link set lo up
ip link add tailscale0 index 100 type veth peer name far0
ip link add lan0 index 200 type veth peer name far1
for device in far0 far1 tailscale0 lan0; do ip link set $device up; done
ip address add {V4}/32 dev tailscale0
ip -6 address add {V6}/128 dev tailscale0 nodad
ip route add 100.64.0.0/10 dev tailscale0
ip -6 route add fd7a:115c:a1e0::/48 dev tailscale0
ip address add 192.0.2.1/24 dev lan0
ip address add 192.0.2.77/24 dev lan0
ip address add 192.0.2.99 peer 192.0.2.250/32 dev lan0
ip route add 100.64.5.0/24 dev lan0
ip -6 address add 2001:db8::1/64 dev lan0 nodad
ip route add unreachable 100.100.0.0/16
ip route add prohibit 100.101.0.0/16
ip route add blackhole 100.102.0.0/16
ip route add local 100.103.0.0/16 dev lo
"""

_PROGRAM = """
import ipaddress, json, os, sys
from pam_tailscale.errors import TailscaledError
from pam_tailscale.tailnet import routes
os.setuid(int(sys.argv[1]))
answers = []
for function, *addresses in json.load(sys.stdin):
    try:
        answer = getattr(routes, function)(*map(ipaddress.ip_address, addresses))
        if function == "own_addresses":
            answer = sorted([str(address), index] for address, index in answer)
        answers.append([answer.kind, answer.interface] if function == "route_to" else answer)
    except TailscaledError as err:
        answers.append(str(err))
json.dump(answers, sys.stdout)
"""


def ask(*questions: tuple[str, ...], more: str = "", uid: int = 0) -> list[Any]:
    """Answers to calls of the module's functions, made by `uid` inside the namespace."""
    script = f"set -e\n{_SETUP}{more}\nexec {sys.executable} -c '{_PROGRAM}' {uid}"
    result = subprocess.run(
        ["unshare", "-n", "sh", "-c", script],
        input=json.dumps(questions),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    answers: list[Any] = json.loads(result.stdout)
    return answers


def test_the_route_back_is_the_kernels() -> None:
    """Kind and interface of what sshd's packets would take, for both families."""
    table = {
        ("100.64.0.9", V4): ["unicast", 100],
        ("fd7a:115c:a1e0::9", V6): ["unicast", 100],
        ("100.64.5.9", V4): ["unicast", 200],
        (V4, V4): ["local", 1],
        (V6, V6): ["local", 1],
        ("192.0.2.1", V4): ["local", 1],
        ("192.0.2.77", V4): ["local", 1],
        ("2001:db8::1", V6): ["local", 1],
        ("127.0.0.1", V4): ["local", 1],
        ("127.7.7.7", V4): ["local", 1],
        ("::1", V6): ["local", 1],
        ("100.103.7.7", V4): ["local", 1],
        ("192.0.2.255", V4): ["broadcast", 200],
        ("224.0.0.1", V4): ["multicast", 100],
    }
    answers = ask(*(("route_to", *addresses) for addresses in table))
    for addresses, expected, answer in zip(table, table.values(), answers, strict=True):
        if expected[0] == "multicast":
            assert answer[0] == expected[0]
        else:
            assert answer == expected, addresses


@pytest.mark.parametrize("destination", ["100.100.0.1", "100.101.0.1", "100.102.0.1", "8.8.8.8"])
def test_no_route_is_an_error(destination: str) -> None:
    """Unreachable, prohibited, a black hole, or nothing at all: never a route."""
    (answer,) = ask(("route_to", destination, V4))
    assert "no route from 100.64.0.1 to" in answer


def test_a_source_that_is_not_ours_is_an_error() -> None:
    """The server's address must be one of this host."""
    (answer,) = ask(("route_to", "100.64.0.9", "9.9.9.9"))
    assert "no route" in answer


def test_rules_of_the_host_count() -> None:
    """The route is looked up as for a packet of root's socket from the server's address."""
    by_source = f"ip rule add from {V4} lookup 52\nip route add 100.64.0.0/10 dev lan0 table 52\n"
    assert ask(("route_to", "100.64.0.9", V4), more=by_source) == [["unicast", 200]]
    by_uid = "ip rule add uidrange 0-0 lookup 52\nip route add 100.64.0.0/10 dev lan0 table 52\n"
    assert ask(("route_to", "100.64.0.9", V4), more=by_uid, uid=65534) == [["unicast", 200]]


def test_no_privilege_is_needed() -> None:
    """The agent has none."""
    assert ask(("route_to", "100.64.0.9", V4), ("interface_of", V6), uid=65534) == [["unicast", 100], 100]


def test_the_interface_of_an_address() -> None:
    """Index of the one that has it as its own address; on a point-to-point one the other end is not ours."""
    addresses = [V4, V6, "192.0.2.77", "2001:db8::1", "127.0.0.1", "192.0.2.99", "192.0.2.250", "100.64.0.9", "::2"]
    assert ask(*(("interface_of", address) for address in addresses)) == [100, 100, 200, 200, 1, 200, None, None, None]


def test_the_hosts_own_addresses() -> None:
    """All of both families with their interfaces; the other end of a point-to-point link is not ours."""
    (found,) = ask(("own_addresses",))
    assert [V4, 100] in found
    assert [V6, 100] in found
    assert ["192.0.2.99", 200] in found
    assert ["2001:db8::1", 200] in found
    assert ["127.0.0.1", 1] in found
    assert "192.0.2.250" not in [address for address, _ in found]


def test_an_address_on_two_interfaces_is_an_error() -> None:
    """Which of them carries the tailnet is not for us to guess."""
    (answer,) = ask(("interface_of", V4), more=f"ip address add {V4}/32 dev lan0\n")
    assert "more than one interface" in answer


def test_many_addresses_are_read_to_their_end() -> None:
    """The kernel splits a long list over many messages."""
    more = 'seq 1 250 | sed "s,.*,address add 10.1.&.1/32 dev lan0," | ip -batch -\n'
    more += 'seq 1 250 | sed "s,.*,address add 10.2.&.1/32 dev tailscale0," | ip -batch -\n'
    asked = [("interface_of", "10.1.250.1"), ("interface_of", "10.2.250.1"), ("interface_of", "10.3.1.1")]
    assert ask(*asked, more=more) == [200, 100, None]


def test_this_process_can_ask() -> None:
    """Without a namespace, for what every host has."""
    loopback = ip_address("127.0.0.1")
    assert route_to(loopback, loopback).kind == "local"
    assert interface_of(loopback) == 1


def test_a_question_leaves_no_descriptor() -> None:
    """The agent asks for months."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- only their number
    for _ in range(50):
        route_to(ip_address("127.0.0.1"), ip_address("127.0.0.1"))
        interface_of(ip_address("127.0.0.1"))
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 -- as above


def message(kind: int, payload: bytes, *, sequence: int = 7, flags: int = 0, length: int | None = None) -> bytes:
    """A netlink message."""
    size = 16 + len(payload) if length is None else length
    return struct.pack("=LHHLL", size, kind, flags, sequence, 0) + payload


class TestMessages:
    """What no kernel should send, and one that is broken or not the kernel could."""

    @pytest.mark.parametrize("length", [0, 15, 21, 10**6])
    def test_a_wrong_length_is_refused(self, length: int) -> None:
        """Neither an endless loop nor a read beyond the datagram."""
        with pytest.raises(OSError, match="wrong length"):
            list(routes._messages(message(24, b"abcd", length=length), 7))

    def test_another_questions_answer_is_passed_over(self) -> None:
        """Sequence numbers tell answers apart."""
        data = message(24, b"abcd", sequence=6) + message(24, b"efgh")
        assert list(routes._messages(data, 7)) == [(24, 0, b"efgh")]

    def test_an_error_is_raised(self) -> None:
        """With the kernel's own number."""
        with pytest.raises(OSError, match="Permission") as raised:
            list(routes._messages(message(2, struct.pack("=i", -errno.EACCES) + b"x" * 16), 7))
        assert raised.value.errno == errno.EACCES

    def test_a_lost_part_is_an_error(self) -> None:
        """Half a list of addresses would say that one is missing."""
        with pytest.raises(OSError, match="lost a part"):
            list(routes._messages(message(4, b""), 7))

    @pytest.mark.parametrize("attribute", [b"\x00\x00\x04\x00", b"\x03\x00\x04\x00", b"\xff\x00\x04\x00abcd"])
    def test_a_wrong_attribute_is_refused(self, attribute: bytes) -> None:
        """Neither an endless loop nor a read beyond the message."""
        with pytest.raises(OSError, match="wrong length"):
            routes._parse_route(b"\x00" * 12 + attribute)

    def test_a_short_route_is_refused(self) -> None:
        """A route without its kind is none."""
        with pytest.raises(OSError, match="cut short"):
            routes._parse_route(b"\x00" * 11)

    def test_a_route_without_interface_has_none(self) -> None:
        """An unknown kind is `other`, which is not unicast."""
        route = routes._parse_route(b"\x00" * 7 + b"\x63" + b"\x00" * 4)
        assert (route.kind, route.interface) == ("other", 0)


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, *answers: list[tuple[int, bytes]]) -> Iterator[None]:
    """The kernel gives these answers, one for each question."""
    given = iter(answers)
    monkeypatch.setattr(routes, "_ask", lambda *_: iter(next(given)))
    yield


def test_a_list_that_changes_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted list is not taken for a whole one; one that never comes whole is an error."""
    address = struct.pack("=BBBBL", 2, 32, 0, 0, 5) + struct.pack("=HH4s", 8, 2, b"\x7f\x00\x00\x01")
    interrupted = [(routes._NEWADDR, address), (routes._DUMP_INTR, b"")]
    with answering(monkeypatch, interrupted, [(routes._NEWADDR, address)]):
        assert interface_of(ip_address("127.0.0.1")) == 5
    with answering(monkeypatch, interrupted, interrupted, interrupted), pytest.raises(TailscaledError, match="faster"):
        interface_of(ip_address("127.0.0.1"))
