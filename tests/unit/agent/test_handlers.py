"""Requests: who may ask what, what is damaged, and what the answers are made of."""

import dataclasses
import grp
import json
import os
import pwd
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from pam_tailscale import wire
from pam_tailscale.agent.checking import Checking
from pam_tailscale.agent.gather import Gatherer
from pam_tailscale.agent.handlers import PIECE, Access, Handlers, address_of, parse_request, port_of
from pam_tailscale.agent.journal import Journal
from pam_tailscale.agent.logins import Logins
from pam_tailscale.agent.server import Asker, Channel
from pam_tailscale.agent.store import KnowledgeStore
from pam_tailscale.check.flow import Passed
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.errors import WireError
from pam_tailscale.model import Decision, IPAddress, Method, Mode, Peer, Phase, Reason, Request, parse_address
from pam_tailscale.policy.facts import Facts, Limits, Problem
from tests.support.checks import ScriptedProvider
from tests.support.facts import ACCEPT, CHECK, CLIENT, LIMITS, PEER, SERVER, facts, knowledge, rule

KEYS_UID, STRANGER_UID = 65000, 65001
ROOT = Asker(1, 0, 0)
HELPER = Asker(2, KEYS_UID, KEYS_UID)
STRANGER = Asker(3, STRANGER_UID, STRANGER_UID)

DECIDE = {
    "request": "decide",
    "user": "alice",
    "client": str(CLIENT),
    "client_port": "40000",
    "server": str(SERVER),
    "server_port": "22",
    "method": "none",
    "phase": "auth",
    "mode": "enforce",
}


class Collected(Channel):
    """Keeps what is sent, as it arrives."""

    def __init__(self, sent: list[wire.Message]) -> None:
        self._sent = sent

    def __call__(self, pairs: Mapping[str, str]) -> None:
        """As over a socket."""
        self._sent.append(wire.decode(wire.encode(pairs)))


@dataclass
class Host:
    """Handlers on a host that is in order; what it finds out can be changed."""

    found: Facts = field(default_factory=facts)
    limits: Limits = LIMITS
    peer: Peer | Problem | None = PEER
    status: dict[str, Any] = field(default_factory=lambda: {"ready": True})
    asked: list[Request] = field(default_factory=list)
    written: list[Decision] = field(default_factory=list)
    provider: ScriptedProvider = field(default_factory=lambda: ScriptedProvider("control"))
    last: tuple[str, float] | None = None
    forgotten: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        store = KnowledgeStore()
        store.change(lambda _: knowledge(), time.monotonic())
        checking = Checking(self.provider, cast("SqliteStore", self))
        gatherer, journal = cast("Gatherer", self), cast("Journal", self)
        self.handlers = Handlers(
            store,
            gatherer,
            Logins(gatherer, journal, lambda: self.limits, checking, 2),
            checking,
            Access(KEYS_UID, "adm"),
            lambda: self.limits,
            lambda: self.status,
        )

    def gather(self, request: Request) -> Facts:
        """As the gatherer does."""
        self.asked.append(request)
        return self.found

    def whois(self, address: IPAddress, port: int) -> Peer | Problem | None:
        """As the gatherer does."""
        assert (address, port) == (CLIENT, 0)
        return self.peer

    def last_passed(self, person: str, node: str) -> tuple[str, float] | None:
        """As the store does."""
        assert (person, node) == (PEER.login, PEER.stable_id)
        return self.last

    def problem(self) -> str:
        """As the store does."""
        return ""

    def passed(self) -> tuple[tuple[str, str, str, float], ...]:
        """As the store does."""
        return ()

    def forget_passed(self, person: str) -> None:
        """As the store does."""
        self.forgotten.append(person)

    def write(self, decision: Decision, request: Request, milliseconds: float, provider: str) -> None:
        """As the journal does."""
        assert provider == ""
        assert request is self.asked[-1]
        assert milliseconds >= 0
        self.written.append(decision)

    def answers(self, asker: Asker = ROOT, /, **message: str) -> list[wire.Message]:
        """All messages of the answer, as they arrive."""
        sent: list[wire.Message] = []
        self.handlers.handle(message, asker, Collected(sent))
        return sent

    def decide(self, asker: Asker = ROOT, /, **changes: str) -> wire.Message:
        """The verdict of a login."""
        *infos, verdict = self.answers(asker, **DECIDE | changes)
        assert all(one["answer"] == "info" for one in infos)
        assert verdict["answer"] == "verdict"
        return verdict

    def document(self, asker: Asker = ROOT, /, **message: str) -> Any:
        """The document of an answer."""
        *pieces, verdict = self.answers(asker, **message)
        assert verdict == {"answer": "verdict", "verdict": "allow"}
        return json.loads("".join(piece["text"] for piece in pieces))


@pytest.fixture
def host() -> Host:
    """In order."""
    return Host()


def test_a_login_that_is_allowed(host: Host) -> None:
    """One verdict with its id; one line in the journal."""
    verdict = host.decide()
    assert verdict["verdict"] == "allow"
    assert verdict["text"] == ""
    assert re.fullmatch(r"[0-9a-f]{8}", verdict["id"])
    (written,) = host.written
    assert (written.id, written.reason) == (verdict["id"], Reason.ACCEPTED)


def test_a_login_that_is_refused(host: Host) -> None:
    """With the words for the person, and not those for the administrator."""
    host.found = facts(peer=None)
    verdict = host.decide()
    assert verdict["verdict"] == "deny"
    assert verdict["text"] == (
        f'tailscale: tailnet policy does not permit you to SSH as user "alice" (decision {verdict["id"]})'
    )
    assert host.written[0].reason is Reason.PEER_UNKNOWN
    assert host.written[0].detail not in verdict["text"]


def test_the_rules_message_comes_before_the_verdict(host: Host) -> None:
    """Cut to what a shim shows."""
    host.found = facts(knowledge(rule({"alice": "="}, ACCEPT | {"message": "m" * 5000})))
    info, verdict = host.answers(**DECIDE)
    assert info == {"answer": "info", "text": "m" * wire.TEXT_MAX}
    assert verdict["verdict"] == "allow"


def test_every_decision_has_another_id(host: Host) -> None:
    """So that it can be found."""
    assert len({host.decide()["id"] for _ in range(20)}) == 20


def test_the_request_is_taken_as_it_is(host: Host) -> None:
    """Any user name, both address families, v4-mapped unmapped."""
    host.decide(user="a\udcff\n", client="::ffff:100.64.0.7", client_port="65535", phase="account", mode="observe")
    (asked,) = host.asked
    assert (asked.user, asked.connection.client, asked.connection.client_port) == ("a\udcff\n", CLIENT, 65535)
    assert (asked.method, asked.phase, asked.mode) == (Method.NONE, Phase.ACCOUNT, Mode.OBSERVE)


DAMAGED = [
    *({name: None} for name in DECIDE),
    {"request": "", "user": "x"},
    {"request": "Decide"},
    {"client": ""},
    {"client": "laptop"},
    {"client": "100.64.0.7:1"},
    {"client": "fe80::1%eth0"},
    {"server": "UNKNOWN"},
    {"client_port": ""},
    {"client_port": "-1"},
    {"client_port": "65536"},
    {"client_port": "+1"},
    {"client_port": " 1"},
    {"client_port": "1 "},
    {"client_port": "000001"},
    {"client_port": "\u0661"},
    {"server_port": "ssh"},
    {"method": "password"},
    {"method": ""},
    {"phase": "AUTH"},
    {"mode": "off"},
]


@pytest.mark.parametrize("change", DAMAGED, ids=str)
def test_a_damaged_request_is_refused(host: Host, change: dict[str, str | None]) -> None:
    """Without a verdict, which denies; nothing is asked of anybody."""
    message = {name: value for name, value in (DECIDE | change).items() if value is not None}
    with pytest.raises(WireError):
        host.answers(**message)
    assert (host.asked, host.written) == ([], [])


def test_ports_and_addresses() -> None:
    """What is one."""
    assert [port_of({"p": text}, "p") for text in ("0", "22", "00022", "65535")] == [0, 22, 22, 65535]
    assert address_of({"a": "fd7a:115c:a1e0::7"}, "a") == parse_address("fd7a:115c:a1e0::7")
    assert parse_request(DECIDE).connection.server_port == 22


@pytest.mark.parametrize("method", ["none", "keyboard-interactive", "publickey", "unknown"])
@pytest.mark.parametrize("phase", ["auth", "account", "session"])
def test_root_may_ask_about_every_login(method: str, phase: str) -> None:
    """The PAM module runs as root."""
    assert Host().decide(method=method, phase=phase)["verdict"] == "allow"


@pytest.mark.parametrize("method", ["none", "keyboard-interactive", "publickey", "unknown"])
@pytest.mark.parametrize("phase", ["auth", "account", "session"])
def test_the_helper_may_ask_about_keys_alone(host: Host, method: str, phase: str) -> None:
    """It parses what strangers send: it must not be able to end or begin anything else."""
    if (method, phase) == ("publickey", "auth"):
        assert host.decide(HELPER, method=method, phase=phase)["verdict"] == "allow"
        return
    with pytest.raises(WireError, match="may not ask"):
        host.decide(HELPER, method=method, phase=phase)
    assert host.asked == []


def test_nobody_else_may_ask_about_logins(host: Host) -> None:
    """A local user would learn who may log in."""
    for asker in (STRANGER, Asker(1, STRANGER_UID, 0), Asker(0, 4294967295, 0)):
        with pytest.raises(WireError, match="may not ask"):
            host.decide(asker, method="publickey")
    assert host.asked == []


def test_a_second_method_is_refused(host: Host) -> None:
    """Two required methods must not be satisfied by one identity."""
    assert host.decide()["verdict"] == "allow"
    verdict = host.decide(HELPER, method="publickey")
    assert verdict["verdict"] == "deny"
    assert "does not permit" in verdict["text"]
    refused = host.written[-1]
    assert (refused.reason, refused.rule, refused.peer) == (Reason.SECOND_METHOD, 1, PEER)
    assert "AuthenticationMethods" in refused.detail
    assert host.decide(method="unknown", phase="account")["verdict"] == "allow"
    assert host.decide(phase="account", method="unknown")["verdict"] == "allow"


def test_a_method_that_was_refused_does_not_count(host: Host) -> None:
    """Only what was granted keeps the connection."""
    host.found = facts(peer=None)
    assert host.decide()["verdict"] == "deny"
    host.found = facts()
    assert host.decide(method="publickey")["verdict"] == "allow"


def test_a_session_ends_the_claim_and_a_refused_one_does_not(host: Host) -> None:
    """The connection's next login, if its numbers come again, is another."""
    assert host.decide()["verdict"] == "allow"
    host.found = facts(peer=None)
    host.decide(phase="session", method="unknown")
    host.found = facts()
    assert host.decide(method="publickey")["verdict"] == "deny"
    host.decide(phase="session", method="unknown")
    assert host.decide(method="publickey")["verdict"] == "allow"


def test_observing_remembers_no_method(host: Host) -> None:
    """Logins by key over the tailnet are as they were, and each is decided."""
    host.limits = dataclasses.replace(LIMITS, mode=Mode.OBSERVE)
    assert host.decide(mode="observe")["verdict"] == "allow"
    assert host.decide(mode="observe", method="publickey")["verdict"] == "allow"


def test_the_limits_are_those_of_now(host: Host) -> None:
    """After a reload."""
    host.limits = dataclasses.replace(LIMITS, mode=Mode.OBSERVE)
    assert host.decide()["verdict"] == "deny"
    host.limits = LIMITS
    assert host.decide()["verdict"] == "allow"


FORGET = {"request": "forget", "person": "alice@example.com"}
CHECKED = facts(knowledge(rule({"*": "="}, CHECK)))


def test_an_explanation_tells_of_a_check(host: Host) -> None:
    """That one is needed, by whom, and the last one; asking for it begins none."""
    host.found, host.last = CHECKED, ("control", 1_800_000_000.0)
    document = host.document(**EXPLAIN)
    assert (document["decision"], document["reason"]) == ("check", "check_needed")
    assert (document["check"]["by"], document["check"]["last_by"]) == ("control", "control")
    assert document["check"]["last"] == "2027-01-15T08:00:00+00:00"
    assert set(host.provider.questions) == {"recall"}


def test_an_explanation_tells_that_a_check_is_passed(host: Host) -> None:
    """By what this host itself remembers."""
    host.found, host.provider.recalled = CHECKED, Passed()
    document = host.document(**EXPLAIN)
    assert (document["decision"], document["reason"]) == ("allow", "check_passed")


def test_what_is_pending_is_told(host: Host) -> None:
    """With nothing pending, too."""
    document = host.document(request="checks")
    assert (document["by"], document["valid"], document["pending"]) == ("control", [], [])


def test_forgetting_says_what_it_did_not_reach(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """And the log says who had it done."""
    with caplog.at_level("INFO"):
        document = host.document(**FORGET)
    assert document["person"] == "alice@example.com"
    assert "control plane" in document["not_reached"][0]
    assert host.forgotten == ["alice@example.com"]
    assert 'check=forgotten person="alice@example.com" by_uid=0' in caplog.text


def test_forgetting_nobody_is_refused(host: Host) -> None:
    """It does not mean everybody."""
    with pytest.raises(WireError, match="whose checks"):
        host.answers(request="forget")
    assert host.forgotten == []


EXPLAIN = {"request": "explain", "user": "alice", "client": str(CLIENT), "client_port": "0"}
WHOIS = {"request": "whois", "client": str(CLIENT), "client_port": "0"}


def test_anyone_may_ask_for_the_status(host: Host) -> None:
    """A summary."""
    for asker in (ROOT, HELPER, STRANGER):
        assert host.document(asker, request="status") == {"ready": True}


@pytest.mark.parametrize(
    "message", [EXPLAIN, WHOIS, {"request": "checks"}, FORGET], ids=["explain", "whois", "checks", "forget"]
)
def test_others_may_not_ask_about_others(host: Host, message: dict[str, str]) -> None:
    """They are told so, and what to do."""
    for asker in (HELPER, STRANGER):
        (verdict,) = host.answers(asker, **message)
        assert verdict["verdict"] == "deny"
        assert verdict["text"] == "only root and members of the group adm may ask this: use sudo"
    assert (host.asked, host.forgotten) == ([], [])


def test_members_of_the_group_may(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the group database has it now, not as the process was started; a group that is gone has no members."""
    entry = pwd.struct_passwd(("carol", "x", STRANGER_UID, STRANGER_UID, "", "/", "/bin/sh"))
    group = grp.struct_group(("adm", "x", 4, []))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    monkeypatch.setattr(grp, "getgrnam", lambda _: group)
    groups = {"carol": [STRANGER_UID]}
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [*groups[name], gid])
    assert host.answers(STRANGER, **WHOIS)[-1]["verdict"] == "deny"
    groups["carol"].append(4)
    assert host.document(STRANGER, **WHOIS)["identity"] == "alice@example.com"

    def gone(_: str) -> grp.struct_group:
        raise KeyError

    monkeypatch.setattr(grp, "getgrnam", gone)
    assert host.answers(STRANGER, **WHOIS)[-1]["verdict"] == "deny"


def test_a_uid_without_an_account_is_in_no_group() -> None:
    """A container's, for example."""
    assert not Access(KEYS_UID, "root").may_administer(STRANGER)


def test_an_explanation_decides_and_remembers_nothing(host: Host) -> None:
    """For this moment, as `none` over the tailnet, and neither in the journal nor as a granted method."""
    document = host.document(**EXPLAIN)
    assert (document["decision"], document["user"], document["from"]) == ("allow", "alice", "100.64.0.7:0")
    (asked,) = host.asked
    assert (asked.method, asked.phase, asked.connection.server) == (Method.NONE, Phase.AUTH, SERVER)
    assert host.written == []
    assert host.decide(method="publickey")["verdict"] == "allow"


def test_an_explanation_asks_about_its_own_family(host: Host) -> None:
    """A v6 client connects to the v6 address of the host."""
    host.document(**EXPLAIN | {"client": "fd7a:115c:a1e0::7"})
    assert host.asked[0].connection.server == parse_address("fd7a:115c:a1e0::1")


@pytest.mark.parametrize(
    ("as_of", "decision"), [("2027-01-01T00:00:00Z", "allow"), ("2027-01-02T00:00:00+00:00", "deny")]
)
def test_an_explanation_for_another_time(host: Host, as_of: str, decision: str) -> None:
    """Rules expire by it."""
    host.found = facts(knowledge(rule({"alice": "="}, ACCEPT, ruleExpires="2027-01-01T12:00:00Z")))
    document = host.document(**EXPLAIN, as_of=as_of)
    assert (document["decision"], document["as_of"][:19]) == (decision, as_of[:19])


@pytest.mark.parametrize("as_of", ["soon", "2027", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "\udcff"])
def test_a_time_that_is_none_is_refused(host: Host, as_of: str) -> None:
    """Not taken for now."""
    with pytest.raises(WireError, match="no ISO 8601 time"):
        host.answers(**EXPLAIN, as_of=as_of)


@pytest.mark.parametrize("message", [EXPLAIN, WHOIS], ids=["explain", "whois"])
@pytest.mark.parametrize("change", [{"client": "laptop"}, {"client": ""}, {"client_port": "x"}], ids=str)
def test_a_damaged_question_is_refused(host: Host, message: dict[str, str], change: dict[str, str]) -> None:
    """As a login is."""
    with pytest.raises(WireError):
        host.answers(**message | change)


def test_whois_answers(host: Host) -> None:
    """Somebody, nobody, and that it cannot be found out."""
    assert host.document(**WHOIS)["known"]
    host.peer = None
    assert host.document(**WHOIS) == {"address": "100.64.0.7", "known": False}
    host.peer = Problem(Reason.TAILSCALED_UNREACHABLE, "no")
    assert host.document(**WHOIS)["problem"] == "no"


@pytest.mark.parametrize("size", [0, PIECE - 20, PIECE, 10 * PIECE, 100_000])
def test_documents_come_in_pieces(host: Host, size: int) -> None:
    """However long, and whatever is in them: each piece fits a message."""
    host.status = {"text": "x" * size, "odd": '\u202e\ud800\x00"' * (size // 50)}
    assert host.document(STRANGER, request="status") == host.status
