"""Preconditions about sshd, beyond the one case for each row that test_table.py has."""

import dataclasses

import pytest

from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Facts, Unit
from pam_tailscale.host.preconditions import Action, judge
from pam_tailscale.host.version import OpenSSH
from tests.support.host_facts import (
    BOOKWORM,
    BOOTED,
    healthy,
    listener,
    sockets,
    with_sshd,
    with_tailscaled,
)

NEW, OLD = healthy(), healthy(BOOKWORM)


def rows(facts: Facts, answers: Answers | None = None) -> dict[str, Action]:
    """The rows that apply."""
    return {finding.row: finding.action for finding in judge(facts, answers or Answers())}


def said(facts: Facts, row: str) -> str:
    """What a row has seen; empty where it does not apply."""
    return next((finding.what for finding in judge(facts, Answers()) if finding.row == row), "")


@pytest.mark.parametrize(("version", "old"), [((9, 2), False), ((9, 1), True), ((8, 9), True), ((10, 0), False)])
def test_the_oldest_version(version: tuple[int, int], old: bool) -> None:  # noqa: FBT001
    """What Debian 12 has is the oldest that is supported."""
    assert ("sshd_old" in rows(healthy(OpenSSH(*version)))) is old


# Where it listens


@pytest.mark.parametrize("addresses", [("0.0.0.0",), ("::",), ("100.64.0.1",), ("192.0.2.1", "fd7a:115c:a1e0::1")])
def test_reached_over_the_tailnet(addresses: tuple[str, ...]) -> None:
    """By one family at least; sshd binds a wildcard for each."""
    assert "not_on_tailnet" not in rows(with_sshd(NEW, sockets=sockets(*addresses)))


@pytest.mark.parametrize("addresses", [("192.0.2.1",), ("127.0.0.1", "::1"), ("100.64.0.9",)])
def test_not_reached_over_the_tailnet(addresses: tuple[str, ...]) -> None:
    """An address of the ranges that is not this node's is none."""
    assert "not_on_tailnet" in rows(with_sshd(NEW, sockets=sockets(*addresses)))


def test_a_family_that_the_node_has_not_reaches_nobody() -> None:
    """The wildcard of the other family does not count."""
    only_four = with_tailscaled(NEW, addresses=NEW.tailscaled.addresses[:1])
    assert "not_on_tailnet" in rows(with_sshd(only_four, sockets=sockets("::")))


@pytest.mark.parametrize("state", ["masked", "loaded"])
def test_systemd_is_not_asked_where_it_does_not_run(state: str) -> None:
    """Nothing guards sshd there, whoever started it, which is said."""
    unit = Unit(booted=False, load_state=state, guarded=False)
    assert rows(with_sshd(NEW, unit=unit)) == {"unguarded": Action.HANDLE}


def test_ssh_socket_has_no_listener_of_its_own() -> None:
    """Sshd is started by the unit at the first connection."""
    unit = dataclasses.replace(BOOTED, active=False, socket_active=True, main_pid=0)
    assert rows(with_sshd(NEW, listener=None, unit=unit)) == {"socket_activation": Action.HANDLE}


@pytest.mark.parametrize(
    ("reads", "expected"),
    [(False, {"other_listeners": Action.HANDLE}), (True, {"others_with_ours": Action.REFUSE})],
)
def test_another_listener_beside_ours(reads: bool, expected: dict[str, Action]) -> None:  # noqa: FBT001
    """It is told, unless it would read our drop-in and nobody took it away from it."""
    other = listener(pid=401, config="/etc/ssh/other", sockets=sockets("192.0.2.1", port=2222), reads_drop_in=reads)
    assert rows(with_sshd(NEW, others=(other,))) == expected
