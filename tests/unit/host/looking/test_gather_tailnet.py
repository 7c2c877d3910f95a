"""What is found out about tailscaled, the interface of its addresses, and the agent."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contrib.demo.localapi import LocalAPI as Server
from pam_tailscale import wire
from pam_tailscale.config import AgentConfig, Config, TailscaledConfig
from pam_tailscale.errors import AgentUnavailableError, NotPermittedError, WireError
from pam_tailscale.host.facts import Agent, Answer, HostAddress, Interface, Unknown
from pam_tailscale.host.looking import gather_tailnet
from pam_tailscale.model import Pin
from tests.support.host_facts import LAN0, TAILSCALE0, address, healthy, with_session
from tests.support.localapi import SERVER_V4, SERVER_V6, serving

ON_TAILSCALE0 = (HostAddress(TAILSCALE0, address(SERVER_V4)), HostAddress(TAILSCALE0, address(SERVER_V6)))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The host's tailscaled."""
    with serving(tmp_path / "tailscaled.sock") as server:
        yield server


@pytest.fixture
def config(tmp_path: Path) -> TailscaledConfig:
    """Where it is."""
    return TailscaledConfig(socket=tmp_path / "tailscaled.sock")


def test_a_node_that_is_up(server: Server, config: TailscaledConfig) -> None:
    """What it is at, and by which interface."""
    found = gather_tailnet.tailscaled(config, ON_TAILSCALE0)
    assert (found.problem, found.state, found.logged_out, found.tun) == ("", "Running", False, True)
    assert (found.run_ssh, found.operator, found.shields_up) == (False, "", False)
    assert [str(one) for one in found.addresses] == [SERVER_V4, SERVER_V6]
    assert found.interface == TAILSCALE0
    assert found.now == Pin("https://control.tailnet.example", server.tailnet.own.stable_id, "tExampleCNTRL")


def test_its_settings(server: Server, config: TailscaledConfig) -> None:
    """Each that would let people past sshd or keep them out."""
    server.tailnet.prefs.update({"RunSSH": True, "OperatorUser": "bob", "ShieldsUp": True})
    server.tailnet.tun = False
    server.tailnet.changed()
    found = gather_tailnet.tailscaled(config, ON_TAILSCALE0)
    assert (found.run_ssh, found.operator, found.shields_up, found.tun) == (True, "bob", True, False)


@pytest.mark.parametrize(("state", "logged_out"), [("NeedsLogin", True), ("Stopped", False)])
def test_a_node_that_is_not_up(server: Server, config: TailscaledConfig, state: str, logged_out: bool) -> None:  # noqa: FBT001
    """It is at nothing."""
    server.tailnet.state = state
    server.tailnet.changed()
    found = gather_tailnet.tailscaled(config, ON_TAILSCALE0)
    assert (found.state, found.logged_out, found.now) == (state, logged_out, None)


def test_a_tailscaled_that_does_not_answer(config: TailscaledConfig) -> None:
    """Only that is told of it."""
    found = gather_tailnet.tailscaled(config, ON_TAILSCALE0)
    assert "cannot reach tailscaled" in found.problem
    assert (found.state, found.now, found.addresses) == ("", None, ())


@pytest.mark.parametrize(
    ("own", "interface"),
    [
        (ON_TAILSCALE0, TAILSCALE0),
        (ON_TAILSCALE0[:1], TAILSCALE0),  # a host without IPv6
        ((), None),
        ((ON_TAILSCALE0[0], HostAddress(LAN0, address(SERVER_V6))), None),
        ((*ON_TAILSCALE0, HostAddress(LAN0, address(SERVER_V4))), None),
        ((HostAddress(LAN0, address("100.64.0.9")),), None),
    ],
)
def test_the_interface(
    server: Server, config: TailscaledConfig, own: tuple[HostAddress, ...], interface: Interface | None
) -> None:
    """The one that has the node's addresses, and it alone."""
    assert server
    assert gather_tailnet.tailscaled(config, own).interface == interface


def test_the_hosts_addresses() -> None:
    """With names and numbers of their interfaces; loopback is on every host."""
    found = gather_tailnet.addresses()
    loopback = Interface("lo", socket.if_nametoindex("lo"))
    assert HostAddress(loopback, address("127.0.0.1")) in found
    assert list(found) == sorted(found, key=lambda one: (one.interface.index, one.address.version))


# The agent

STATUS: dict[str, Any] = {"agent": {"mode": "enforce"}, "problems": [], "warnings": ["w"], "sources": []}


def asked(document: dict[str, Any] | Exception) -> tuple[gather_tailnet.Ask, list[Any]]:
    """An agent that answers so, and what it was asked."""
    requests: list[Any] = []

    def ask(*request: object) -> dict[str, Any]:
        requests.append(request)
        if isinstance(document, Exception):
            raise document
        return document

    return ask, requests


def test_an_agent_that_answers() -> None:
    """At the socket that the configuration names."""
    config = Config(agent=AgentConfig(socket=Path("/some.sock")))
    ask, requests = asked(STATUS)
    assert gather_tailnet.agent(config, ask) == Agent("", (), ("w",), "enforce")
    assert requests == [(Path("/some.sock"), {wire.KEY_REQUEST: wire.REQUEST_STATUS})]


def test_what_it_says_of_the_pin_is_left_out() -> None:
    """A host that is about to be pinned is not refused for not being pinned."""
    texts = [
        "this host is not pinned to a tailnet: run 'pam-tailscale enable' as root",
        "tailscaled is logged in elsewhere than root pinned this host to; if root means this change",
        "/var/lib/pam-tailscale/pin.json: is damaged",
        "tailscaled answered debug with 404",
    ]
    ask, _ = asked(STATUS | {"problems": texts})
    assert gather_tailnet.agent(Config(), ask).problems == (texts[-1],)


@pytest.mark.parametrize("err", [AgentUnavailableError("down"), WireError("down"), NotPermittedError("down")])
def test_an_agent_that_does_not_answer(err: Exception) -> None:
    """Its own words for it."""
    assert gather_tailnet.agent(Config(), asked(err)[0]) == Agent("down")


@pytest.mark.parametrize(
    "document", [{}, {"agent": None, "problems": [], "warnings": []}, {**STATUS, "problems": None}]
)
def test_an_agent_of_another_version(document: dict[str, Any]) -> None:
    """What cannot be read is a problem, and no traceback."""
    assert "restart it" in gather_tailnet.agent(Config(), asked(document)[0]).problem


def test_what_it_would_say_to_a_session() -> None:
    """By explain: nothing is logged in, nothing remembered."""
    session = with_session(healthy()).own_session
    assert session is not None
    document = {"decision": "deny", "reason": "no_rule", "detail": "none", "can_tell": True, "rules": []}
    ask, requests = asked(document)
    assert gather_tailnet.answer(session, Config(), ask) == Answer("deny", "no_rule", "none", can_tell=True)
    unsure, _ = asked(document | {"can_tell": False})
    assert gather_tailnet.answer(session, Config(), unsure) == Answer("deny", "no_rule", "none", can_tell=False)
    assert requests == [(Config().agent.socket, "alice", address("100.64.0.2"), 50000)]


@pytest.mark.parametrize("document", [AgentUnavailableError("down"), {}, {"decision": "allow"}])
def test_what_is_not_known_of_a_session_is_no_yes(document: dict[str, Any] | Exception) -> None:
    """An agent that is down, or answers otherwise than it should."""
    session = with_session(healthy()).own_session
    assert session is not None
    assert isinstance(gather_tailnet.answer(session, Config(), asked(document)[0]), Unknown)
