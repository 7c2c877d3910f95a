"""What wiring itself finds out; that it fits together is seen on real hosts, in tests/integration/test_switching.py."""

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale import client, wire
from pam_tailscale.config import Config
from pam_tailscale.errors import AgentUnavailableError, HostError, TailscaledError
from pam_tailscale.host import wiring
from pam_tailscale.host.answers import Methods
from pam_tailscale.host.arrangement import Wanted
from pam_tailscale.host.facts import HostAddress
from pam_tailscale.host.looking import gather, gather_people, gather_tailnet
from pam_tailscale.host.proving import candidates
from tests.support.host_facts import LAN0, TAILSCALE0, TRIXIE, address, healthy, with_tailscaled
from tests.support.localapi import serving

PEER = ipaddress.ip_address("100.64.0.2")


def test_who_has_an_empty_password(tmp_path: Path) -> None:
    """A locked one has none; a few are enough."""
    passwd, shadow = tmp_path / "passwd", tmp_path / "shadow"
    names = ("root", "locked", "a", "b", "c", "d")
    passwd.write_text("".join(f"{name}:x:{uid}:{uid}::/:/bin/sh\n" for uid, name in enumerate(names)))
    shadow.write_text("root:$y$x:1::::::\nlocked:!:1::::::\na::1::::::\nbad\nb::1::::::\nc::1::::::\nd::1::::::\n")
    assert wiring._with_empty_password(passwd, shadow) == ("a", "b", "c")
    assert wiring._with_empty_password(passwd, tmp_path / "none") == ()
    assert wiring._with_empty_password(tmp_path / "none", shadow) == ()


def test_where_the_listener_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the tailnet's addresses of this host, whoever gave them to it; nowhere where they cannot be had."""
    own = (HostAddress(LAN0, address("192.0.2.1")), HostAddress(TAILSCALE0, address("100.64.0.1")))
    monkeypatch.setattr(gather_tailnet, "addresses", lambda: own)
    assert wiring._own_tailnet_addresses() == (address("100.64.0.1"),)

    def fails() -> None:
        raise TailscaledError("no")

    monkeypatch.setattr(gather_tailnet, "addresses", fails)
    assert wiring._own_tailnet_addresses() == ()


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({"tailscaled": {"state": "Running"}, "sources": [{"name": "netmap"}]}, True),
        ({"tailscaled": {"state": "Running"}, "sources": []}, False),
        ({"tailscaled": {"state": ""}, "sources": [{"name": "netmap"}]}, False),
        ({}, False),
        (None, False),
    ],
)
def test_when_the_agent_is_ready(
    monkeypatch: pytest.MonkeyPatch, status: dict[str, Any] | None, *, ready: bool
) -> None:
    """It has heard from tailscaled, and has a policy."""

    def ask(_: Path, __: Mapping[str, str]) -> dict[str, Any]:
        if status is None:
            raise AgentUnavailableError("nobody there")
        return status

    monkeypatch.setattr(gather, "read_config", lambda _: (Config(), ""))
    monkeypatch.setattr(wiring, "ask_document", ask)
    assert wiring._agent_ready() is ready


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mapping[str, str]]]:
    """What the agent was asked; it lets everybody but root in. tailscaled knows one peer."""
    questions: list[Mapping[str, str]] = []

    def ask(_: Path, request: Mapping[str, str]) -> dict[str, Any]:
        questions.append(request)
        let_in = request[wire.KEY_USER] != "root"
        return {"decision": "allow" if let_in else "deny", "reason": "accepted", "can_tell": True}

    monkeypatch.setattr(client, "ask_document", ask)
    monkeypatch.setattr(candidates, "peer_addresses", lambda _: (PEER,))
    monkeypatch.setattr(candidates, "local_accounts", lambda: ("daemon", "nobody", "root"))
    monkeypatch.setattr(gather_people, "may_log_in", lambda account, _: account.pw_name != "daemon")
    with serving(tmp_path / "tailscaled.sock"):
        yield questions


def test_the_plan(asked: list[Mapping[str, str]]) -> None:
    """By the device that carries the node's addresses, and the answers of the agent."""
    wanted = Wanted(TRIXIE, 998, 997, methods=Methods.WITH_KEY)
    plan = wiring._plan(healthy(TRIXIE), wanted, {"a": None}, {"a": b"x"})
    assert (plan.interface, plan.ifindex, plan.ports) == ("tailscale0", 7, (22,))
    assert plan.own == (address("100.64.0.1"), address("fd7a:115c:a1e0::1"))
    assert (plan.accept, plan.deny) == (("nobody", PEER), ("root", PEER))
    assert (plan.before, plan.after, plan.key_in_addition) == ({"a": None}, {"a": b"x"}, True)
    assert {question[wire.KEY_REQUEST] for question in asked} == {wire.REQUEST_EXPLAIN}


def test_an_account_that_has_gone_is_not_tried() -> None:
    """Between the list and the question."""
    assert not wiring._sshd_takes("pam-tailscale-nobody", healthy(TRIXIE))


def test_no_plan_without_the_device(asked: list[Mapping[str, str]]) -> None:
    """There would be nothing to prove."""
    facts = with_tailscaled(healthy(TRIXIE), interface=None)
    with pytest.raises(HostError, match="no interface carries"):
        wiring._plan(facts, Wanted(TRIXIE, 998, 997), {}, {})
    assert asked == []
