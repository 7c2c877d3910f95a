"""The journal's line and datagram: one line, each field apart, whatever strangers put into names."""

import dataclasses
import logging
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.agent.journal import Journal, datagram, fields_of, line_of
from pam_tailscale.model import Decision, Method, Mode, Phase, Reason, Request, Verdict
from tests.support.facts import CONNECTION, PEER, TAGGED, request

ALLOWED = Decision(Verdict.ALLOW, Reason.ACCEPTED, "ab12cd34", rule=3, source="netmap", peer=PEER, message="hello")
DENIED = Decision(Verdict.DENY, Reason.PEER_UNKNOWN, "ab12cd34", detail="see 'tailscale whois'")

_FIELD = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^ "]*)(?: |$)')


def read_line(line: str) -> dict[str, str]:
    """A line's keys and values, by its own rules; fails where something is left over."""
    fields, end = {}, 0
    while end < len(line):
        match = _FIELD.match(line, end)
        assert match is not None, line[end:]
        assert match[1] not in fields
        fields[match[1]] = match[2]
        end = match.end()
    return fields


def read_datagram(data: bytes) -> dict[str, bytes]:
    """A datagram by the rules of systemd's Native Journal Protocol."""
    fields: dict[str, bytes] = {}
    while data:
        head, _, rest = data.partition(b"\n")
        assert b"=" not in head
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]*", head)
        assert head.decode() not in fields
        (length,) = struct.unpack_from("<Q", rest)
        fields[head.decode()] = rest[8 : 8 + length]
        assert rest[8 + length : 9 + length] == b"\n"
        data = rest[9 + length :]
    return fields


def test_the_line_of_an_accepted_login() -> None:
    """The keys in their order; the rule's message is nobody's business."""
    line = line_of(fields_of(ALLOWED, request(), 1.26))
    assert line == (
        "decision=allow id=ab12cd34 reason=accepted "
        'user="alice" login="alice@example.com" node="laptop.tailnet.example" addr=100.64.0.7:40000 '
        "rule=3 source=netmap method=none phase=auth mode=enforce ms=1.3"
    )


def test_the_line_of_a_check_names_who_answers_for_it() -> None:
    """Behind all other fields, so that those stay where they are."""
    passed = dataclasses.replace(ALLOWED, reason=Reason.CHECK_PASSED)
    line = line_of(fields_of(passed, request(), 1.26, "oidc"))
    assert line.startswith("decision=allow id=ab12cd34 reason=check_passed ")
    assert line.endswith(" ms=1.3 check=oidc")


def test_the_line_of_a_refusal() -> None:
    """What is not known is empty; the detail says what to do."""
    asked = Request("bob", CONNECTION, Method.PUBLICKEY, Phase.ACCOUNT, Mode.OBSERVE)
    assert read_line(line_of(fields_of(DENIED, asked, 0.04))) == {
        "decision": "deny",
        "id": "ab12cd34",
        "reason": "peer_unknown",
        "user": '"bob"',
        "login": '""',
        "node": '""',
        "addr": "100.64.0.7:40000",
        "rule": "",
        "source": "",
        "method": "publickey",
        "phase": "account",
        "mode": "observe",
        "ms": "0.0",
        "detail": "\"see 'tailscale whois'\"",
    }


def test_a_tagged_node_is_logged_by_its_tags() -> None:
    """Not by the login that all of them share."""
    assert fields_of(dataclasses.replace(ALLOWED, peer=TAGGED), request(), 0.0)["login"] == "tag:ci"


NASTY = [
    'x" decision=allow user="root',
    "x\ndecision=allow id=1",
    "x\r\x1b[2K\x07",
    "x\\",
    'x\\"',
    "\u2028\u202e\ufeff",
    "\udcff\udc0a",
    "\ud800",
    "%s%n{0}",
    "\nTAILSCALE_DECISION=allow\n",
]


@pytest.mark.parametrize("name", NASTY)
def test_no_name_adds_a_field_or_a_line(name: str) -> None:
    """Wherever a stranger may have chosen it."""
    peer = dataclasses.replace(PEER, name=name, login=name)
    fields = fields_of(dataclasses.replace(DENIED, peer=peer, detail=name), request(name), 1.0)
    line = line_of(fields)
    assert line.isprintable()
    assert read_line(line)["decision"] == "deny"
    assert list(read_line(line)) == list(fields)


@given(st.text(st.characters(), max_size=60), st.text(st.characters(), max_size=60))
def test_any_names_stay_in_their_fields(user: str, login: str) -> None:
    """Whatever characters there are."""
    fields = fields_of(dataclasses.replace(ALLOWED, peer=dataclasses.replace(PEER, login=login)), request(user), 1.0)
    assert list(read_line(line_of(fields))) == list(fields)
    read = read_datagram(datagram(fields, line_of(fields), allowed=True))
    assert read["TAILSCALE_USER"].decode() == user.encode("utf-8", "backslashreplace").decode()
    assert read["MESSAGE"].decode() == line_of(fields)


def test_long_values_are_cut() -> None:
    """A line stays readable."""
    fields = fields_of(DENIED, request("a" * 5000), 1.0)
    assert len(line_of(fields)) < 1000
    assert len(read_datagram(datagram(fields, "", allowed=False))["TAILSCALE_USER"]) == 400


@pytest.mark.parametrize(("allowed", "priority"), [(True, b"6"), (False, b"5")])
def test_the_datagram_has_the_same_fields(allowed: bool, priority: bytes) -> None:  # noqa: FBT001 (a column)
    """With the priority of what happened."""
    fields = fields_of(ALLOWED, request(), 1.0)
    read = read_datagram(datagram(fields, "line", allowed=allowed))
    assert read["PRIORITY"] == priority
    assert read["SYSLOG_IDENTIFIER"] == b"pam-tailscale-agent"
    assert {name.removeprefix("TAILSCALE_").lower() for name in read if name.startswith("TAILSCALE_")} == set(fields)
    assert read["TAILSCALE_LOGIN"] == b"alice@example.com"


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A journal's socket, as under systemd."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        journal.settimeout(5)
        yield journal


@contextmanager
def journal_at(path: Path) -> Iterator[Journal]:
    """The agent's end, which otherwise lasts as long as its process."""
    journal = Journal(path)
    yield journal
    assert journal._socket is not None
    journal._socket.close()


def test_under_systemd_it_goes_to_the_journal(
    systemd: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And nowhere else."""
    caplog.set_level(logging.INFO)
    with journal_at(tmp_path / "journal") as journal:
        journal.write(ALLOWED, request(), 1.0)
    assert read_datagram(systemd.recv(65536))["TAILSCALE_DECISION"] == b"allow"
    assert caplog.text == ""


def test_elsewhere_it_goes_to_standard_error(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    caplog.set_level(logging.INFO)
    Journal().write(DENIED, request("50%s"), 1.0)
    (record,) = caplog.records
    assert read_line(record.getMessage())["user"] == '"50%s"'


@pytest.mark.usefixtures("systemd")
def test_a_journal_that_hangs_delays_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its socket is full: the line goes to standard error instead, and none is lost."""
    caplog.set_level(logging.INFO)
    with journal_at(tmp_path / "journal") as journal:
        for _ in range(5000):
            journal.write(DENIED, request(), 1.0)
            if caplog.records:
                break
    assert caplog.records, "nothing was refused: the journal's socket has no end"


def test_a_journal_that_is_gone_loses_nothing(
    systemd: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While it restarts."""
    caplog.set_level(logging.INFO)
    with journal_at(tmp_path / "journal") as journal:
        systemd.close()
        journal.write(DENIED, request(), 1.0)
    assert len(caplog.records) == 1
