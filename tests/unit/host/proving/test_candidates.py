"""Which logins are found for the proof to try."""

import pwd
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from contrib.demo.localapi import LocalAPI as Server
from contrib.demo.tailnet import Node
from pam_tailscale import localaccounts
from pam_tailscale.host.proving.candidates import candidates, local_accounts, peer_addresses
from pam_tailscale.model import IPAddress
from pam_tailscale.tailnet.localapi import LocalAPI
from tests.support.localapi import serving, small_tailnet

ONE, TWO, THREE = (ip_address(f"100.64.0.{number}") for number in (2, 3, 4))
ALLOW = {"decision": "allow", "reason": "accepted", "can_tell": True}
DENY = {"decision": "deny", "reason": "no_rule", "can_tell": True}
CHECK = {"decision": "check", "reason": "check_needed", "can_tell": True}
PASSED = {"decision": "allow", "reason": "check_passed", "can_tell": True}
UNKNOWN = {"decision": "deny", "reason": "tailscaled_unreachable", "can_tell": False}
Answer = Mapping[str, Any]


class Agent:
    """An agent that is asked; it denies what is not in its answers."""

    def __init__(self, answers: Mapping[tuple[str, IPAddress], Answer], otherwise: Answer = DENY) -> None:
        self.answers = answers
        self.otherwise = otherwise
        self.asked: list[tuple[str, IPAddress]] = []

    def __call__(self, account: str, address: IPAddress) -> Answer:
        self.asked.append((account, address))
        return self.answers.get((account, address), self.otherwise)


def test_one_of_each_is_found() -> None:
    """And no more is asked then."""
    agent = Agent({("bob", TWO): ALLOW})
    assert candidates(agent, [ONE, TWO, THREE], ["alice", "bob", "root"], 100) == (("bob", TWO), ("alice", ONE))
    assert agent.asked[-1] == ("bob", TWO)


@pytest.mark.parametrize("answer", [CHECK, PASSED], ids=["needed", "passed once"])
def test_a_check_is_no_accept(answer: Answer) -> None:
    """There is nobody to pass it, and one that was passed may run out meanwhile. Nor is it a refusal."""
    assert candidates(Agent({}, answer), [ONE], ["alice"], 100) == (None, None)


def test_what_cannot_be_told_is_no_refusal() -> None:
    """It would be another one in a moment."""
    assert candidates(Agent({}, UNKNOWN), [ONE], ["alice"], 100) == (None, None)


def test_a_person_is_preferred_to_root() -> None:
    """Whatever comes first."""
    agent = Agent({("root", ONE): ALLOW, ("bob", TWO): ALLOW})
    assert candidates(agent, [ONE, TWO], ["root", "alice", "bob"], 100)[0] == ("bob", TWO)


def test_root_is_taken_where_nobody_else_is_let_in() -> None:
    """A quarter of the questions is kept for that."""
    agent = Agent({("root", ONE): ALLOW})
    many = [f"person{number}" for number in range(100)]
    assert candidates(agent, [ONE, TWO], [*many, "root"], 40)[0] == ("root", ONE)
    assert len(agent.asked) <= 40


@pytest.mark.parametrize("limit", [0, 1, 7, 40])
def test_no_more_is_asked_than_may_be(limit: int) -> None:
    """A large tailnet and a large host have many pairs."""
    agent = Agent({}, CHECK)
    candidates(agent, [ONE, TWO, THREE] * 10, [*map(str, range(50)), "root"], limit)
    assert len(agent.asked) == limit


def test_every_pair_is_asked_about_once() -> None:
    """Where there are few."""
    agent = Agent({}, CHECK)
    candidates(agent, [ONE, TWO, THREE], ["alice", "bob", "root"], 100)
    assert len(agent.asked) == len(set(agent.asked)) == 9


@pytest.mark.parametrize(("peers", "accounts"), [([], ["alice"]), ([ONE], []), ([], [])])
def test_nobody_to_ask_about(peers: list[IPAddress], accounts: list[str]) -> None:
    """A tailnet of one node, or a host without accounts."""
    assert candidates(Agent({}), peers, accounts, 100) == (None, None)


def test_both_many_peers_and_many_accounts_are_reached() -> None:
    """Neither all accounts of one peer nor all peers of one account are gone through first."""
    agent = Agent({}, CHECK)
    peers = [ip_address(f"100.64.1.{number}") for number in range(100)]
    candidates(agent, peers, [f"person{number}" for number in range(100)], 55)
    assert len({account for account, _ in agent.asked}) == len({address for _, address in agent.asked}) == 10


# Peers


def node(number: int, **fields: Any) -> Node:
    """A peer with both addresses."""
    return Node(f"n{number}", (f"100.64.0.{number}", f"fd7a:115c:a1e0::{number:x}"), **fields)


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[[list[Node]], tuple[IPAddress, ...]]]:
    """Peers' addresses for a tailnet of these peers."""
    tailnet = small_tailnet()
    with serving(tmp_path / "tailscaled.sock", tailnet) as server:

        def addresses(peers: list[Node]) -> tuple[IPAddress, ...]:
            tailnet.peers = peers
            tailnet.changed()
            return _addresses(server)

        yield addresses


def _addresses(server: Server) -> tuple[IPAddress, ...]:
    api = LocalAPI(server.path)
    try:
        return peer_addresses(api)
    finally:
        api.close()


Addresses = Callable[[list[Node]], tuple[IPAddress, ...]]


def test_one_of_each_owner_comes_before_a_second_of_anybody(ask: Addresses) -> None:
    """The policy hardly tells the nodes of one owner apart; tagged nodes have their tags for an owner."""
    peers = [
        node(2, login="alice@example.com"),
        node(3, login="alice@example.com"),
        node(4, login="bob@example.com"),
        node(5, tags=("tag:ci",)),
        node(6, tags=("tag:ci",)),
        node(7, tags=("tag:web",)),
    ]
    assert [str(address).rpartition(".")[2] for address in ask(peers)] == ["2", "4", "5", "7", "3", "6"]


def test_an_address_that_could_connect_to_this_node_is_taken(ask: Addresses) -> None:
    """Of a family that the node has; a peer without one is left out."""
    peers = [Node("six", ("fd7a:115c:a1e0::9",), login="a@example.com"), Node("none", (), login="b@example.com")]
    assert ask(peers) == (ip_address("fd7a:115c:a1e0::9"),)


def test_a_node_without_ipv4_is_reached_over_ipv6(tmp_path: Path) -> None:
    """Also where the peers have both."""
    tailnet = small_tailnet()
    tailnet.own.addresses = ("fd7a:115c:a1e0::1",)
    with serving(tmp_path / "tailscaled.sock", tailnet) as server:
        tailnet.changed()
        assert {address.version for address in _addresses(server)} == {6}


def test_a_tailnet_of_one_node(ask: Addresses) -> None:
    """There is nobody."""
    assert ask([]) == ()


# Accounts


def entry(name: str, uid: int, shell: str = "/bin/bash") -> pwd.struct_passwd:
    """A line of passwd."""
    return pwd.struct_passwd((name, "x", uid, uid, "", f"/home/{name}", shell))


def test_people_come_by_their_uids_and_root_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """System accounts, nobody and accounts without a shell are nobody's to log in with."""
    entries = [
        entry("root", 0),
        entry("daemon", 1, "/usr/sbin/nologin"),
        entry("backup", 34),
        entry("bob", 1001),
        entry("alice", 1000, ""),
        entry("off", 1002, "/usr/sbin/nologin"),
        entry("out", 1003, "/bin/false"),
        entry("nobody", 65534),
        entry("alice", 1000),
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: entries)
    monkeypatch.setattr(localaccounts, "uid_min", lambda: 1000)
    assert local_accounts() == ("alice", "bob", "root")
    monkeypatch.setattr(localaccounts, "uid_min", lambda: 1001)
    assert local_accounts() == ("bob", "root")
