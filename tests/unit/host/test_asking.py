"""What a running listener is asked, and which answers are good."""

import dataclasses
import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import asking, effective
from pam_tailscale.host.asking import Asked, Question, questions
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.listeners import Endpoint
from tests.unit.host.test_sshd import listener

OWN = ipaddress.ip_address("100.64.0.1")
OWN6 = ipaddress.ip_address("fd7a:115c:a1e0::1")
ASKED = Asked((OWN,), ("root", "guest"))
RUNNING = [listener(("0.0.0.0", 22, 1))]
BY_KEY = effective.parse("pubkeyauthentication yes\npasswordauthentication no\npermitemptypasswords no\n")
BY_ALL = effective.parse("pubkeyauthentication yes\npasswordauthentication yes\npermitemptypasswords yes\n")
CLOSES = "echo 'kex_exchange_identification: Connection closed by remote host' >&2; exit 255"


class Client:
    """An ssh that ends as a test says, and notes whom it was asked for."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        (directory / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{directory}/bin", prepend=":")
        monkeypatch.setattr(asking, "_SECONDS", 0.2)
        monkeypatch.setattr(asking, "_PAUSE", 0.01)

    def ends(self, body: str) -> None:
        path = self._directory / "bin/ssh"
        path.write_text(f'#!/bin/sh\necho "$*" >> {self._directory}/log\n{body}\n')
        path.chmod(0o755)

    def lets_in(self, status: int) -> None:
        self.ends(f"echo 'Authenticated to 100.64.0.1 ([100.64.0.1]:22) using \"none\".' >&2; exit {status}")

    def refuses(self, methods: str) -> None:
        self.ends(f"echo 'x@y: Permission denied ({methods}).' >&2; exit 255")

    @property
    def asked(self) -> list[str]:
        log = self._directory / "log"
        return sorted(call.split("-b ")[1] for call in log.read_text().splitlines()) if log.exists() else []


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """The host's ssh."""
    return Client(tmp_path, monkeypatch)


def ask(settings: Effective, *, is_on: bool = True) -> list[str]:
    """Asks the listener, whose files say this."""
    return asking.ask(RUNNING, ASKED, lambda *_: settings, is_on=is_on)


def test_who_is_asked_about_and_where(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the node's address for whom a door would open, and once elsewhere for a name that nobody has."""
    monkeypatch.setattr(asking, "_SECONDS", 10)
    client.refuses("publickey")
    assert ask(BY_KEY) == []
    assert client.asked == [
        "100.64.0.1 -p 22 -l guest -- 100.64.0.1 true",
        "100.64.0.1 -p 22 -l pam-tailscale-nobody -- 100.64.0.1 true",
        "100.64.0.1 -p 22 -l root -- 100.64.0.1 true",
        "127.0.0.1 -p 22 -l pam-tailscale-nobody -- 127.0.0.1 true",
    ]


@pytest.mark.parametrize(
    ("ends", "where"),
    [
        (("0.0.0.0", 22, 1), [("100.64.0.1", 22), ("127.0.0.1", 22)]),
        (("::", 22, 1), [("100.64.0.1", 22), ("fd7a:115c:a1e0::1", 22), ("::1", 22)]),
        (("192.0.2.1", 2222, 1), [("192.0.2.1", 2222)]),
        (("100.64.0.1", 22, 1), [("100.64.0.1", 22), ("100.64.0.1", 22)]),
    ],
)
def test_only_where_it_listens(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[str, int, int], where: list[tuple[str, int]]
) -> None:
    """A socket for all of IPv6 may take IPv4 as well."""
    monkeypatch.setattr(asking, "_answers", lambda *_: True)
    found = questions([listener(ends)], Asked((OWN, OWN6), ()), lambda *_: BY_KEY, is_on=True)
    assert [(one.address, one.port) for one in found] == where


def test_a_socket_for_ipv6_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which sshd makes for `ListenAddress ::`: nobody is there at the node's IPv4 address."""
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(("::", 0))
        listening.listen()
        port = listening.getsockname()[1]
        own = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))
        found = questions([listener(("::", port, 1))], Asked(own, ()), lambda *_: BY_KEY, is_on=True)
    assert [one.address for one in found] == ["::1", "::1"]
    monkeypatch.setattr(asking, "_answers", pytest.fail)
    both = questions([listener(("::", 22, 1), ("0.0.0.0", 22, 2))], Asked((OWN,), ()), lambda *_: BY_KEY, is_on=True)
    assert [one.address for one in both] == ["100.64.0.1", "::1"]


def test_a_socket_of_systemds_takes_both() -> None:
    """It is one for all of IPv6, and not for IPv6 alone."""
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listening.bind(("::", 0))
        listening.listen()
        ends = [Endpoint(ipaddress.ip_address("::"), listening.getsockname()[1], 1)]
        assert asking.at_own_addresses(ends, [ipaddress.ip_address("127.0.0.1")]) == [
            (ipaddress.ip_address("127.0.0.1"), ends[0])
        ]


def test_the_first_of_several_sockets_at_a_port() -> None:
    """One that two processes have is asked about once, and not as the later one's."""
    own = ipaddress.ip_address("100.64.0.1")
    ends = [Endpoint(own, 2222, 1), Endpoint(own, 22, 2), Endpoint(own, 22, 3)]
    assert asking.at_own_addresses(ends, [own]) == [(own, ends[1]), (own, ends[0])]


def test_a_connection_as_sshd_asks_for_it() -> None:
    """Every criterion that a Match may have, so that none is left to chance, and the listener's own options."""
    asked = []

    def settings(options: Sequence[str], connection: str) -> Effective:
        asked.append((options, connection))
        return BY_KEY

    by_options = dataclasses.replace(
        RUNNING[0], command="sshd: /usr/sbin/sshd -D -o PasswordAuthentication=no -o Include=/tmp/x [listener] 0 of 10"
    )
    found = questions([by_options], ASKED, settings, is_on=True)
    connection = "user=pam-tailscale-nobody,host=100.64.0.1,addr=100.64.0.1,laddr=100.64.0.1,lport=22"
    assert asked == [(("PasswordAuthentication=no",), connection)]
    assert found[0] == Question("pam-tailscale-nobody", "100.64.0.1", 22, frozenset({"publickey"}))
    assert found[-1].expected is None


@pytest.mark.parametrize(("is_on", "accounts"), [(True, {"root", "guest"}), (False, set())])
def test_what_sshds_own_files_let_in_is_not_our_door(*, is_on: bool, accounts: set[str]) -> None:
    """A host where empty passwords are meant could otherwise never be switched off."""
    found = questions(RUNNING, ASKED, lambda *_: BY_ALL, is_on=is_on)
    assert {one.account for one in found} - {asking.NOBODY} == accounts


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize("status", [0, 1, 255], ids=["a shell", "no shell", "a session that fails"])
def test_an_open_door_is_an_error(client: Client, status: int, *, is_on: bool) -> None:
    """On or off, and whatever comes of the session: an account without a shell is let in too."""
    client.lets_in(status)
    with pytest.raises(HostError, match=r"sshd lets .* in at .* port 22 without asking for anything"):
        ask(BY_KEY, is_on=is_on)


@pytest.mark.parametrize("is_on", [True, False])
def test_a_listener_that_offers_something_else_has_read_other_files(client: Client, *, is_on: bool) -> None:
    """The drop-in changes what can go on; switched off with that still in force would be an open door."""
    client.refuses("publickey,password,keyboard-interactive")
    with pytest.raises(HostError, match=r"does not go by its files as they are now: it offers keyboard-interactive, "):
        ask(BY_KEY, is_on=is_on)


def test_no_answer_stops_switching_on_and_not_switching_off(client: Client) -> None:
    """Whoever holds sshd's places must not keep a host switched on."""
    client.ends(CLOSES)
    with pytest.raises(HostError, match=r"sshd could not be asked at .*Connection closed by remote host"):
        ask(BY_KEY)
    silent = ask(BY_KEY, is_on=False)
    assert len(silent) == 4
    assert all("could not be asked" in text for text in silent)


def test_it_is_asked_until_it_answers(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MaxStartups drops some at random."""
    monkeypatch.setattr(asking, "_SECONDS", 10)
    (tmp_path / "busy").touch()
    refuses = "echo 'Permission denied (publickey).' >&2; exit 255"
    client.ends(f"rm {tmp_path}/busy 2> /dev/null && {{ {CLOSES}; }}\n{refuses}")
    assert ask(BY_KEY) == []
    assert len(client.asked) == 5


def test_an_ssh_that_does_not_run_is_an_error(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no traceback."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostError, match="ssh does not run or end"):
        ask(BY_KEY)
    assert client.asked == []
