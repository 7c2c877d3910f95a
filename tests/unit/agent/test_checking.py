"""What is told about checks, and forgetting them: here, elsewhere, and what is out of reach."""

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pam_tailscale.agent.checking import CONTROL_REMEMBERS, Checking, period_text
from pam_tailscale.check.desk import PendingCheck
from pam_tailscale.check.evidence import person_key
from pam_tailscale.check.flow import Passed
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.check.sqlitefile import SqliteFile
from pam_tailscale.errors import CheckError
from pam_tailscale.model import Demand
from pam_tailscale.secret import Secret
from tests.support.checks import ScriptedProvider
from tests.support.facts import CONNECTION, NOW, PEER

HOUR = 3600.0
SCOPE = "https://login.example.com\0ssh"
KEY = person_key(SCOPE, PEER.login)
DEMAND = Demand(PEER, "alice", CONNECTION, "https://unused/", period=None)


def iso(moment: float) -> str:
    """As documents say it."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="seconds")


class Shared:
    """A shared store that hears what is announced, or is down."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.heard: dict[str, float] = {}

    def tokens(self, key: str) -> tuple[Secret, ...]:
        """None."""
        del key
        return ()

    def keep(self, key: str, token: Secret, authenticated: float, until: float) -> None:
        """Nothing is kept."""

    def announce_not_before(self, key: str, moment: float) -> None:
        """Hear it."""
        if self.down:
            raise CheckError("the store is down: start it")
        self.heard[key] = moment

    def problem(self) -> str:
        """That it is down."""
        return "the store is down: start it" if self.down else ""

    def close(self) -> None:
        """Nothing is open."""

    def not_befores(self) -> Mapping[str, float]:
        """All that was heard."""
        if self.down:
            raise CheckError("the store is down: start it")
        return self.heard


@pytest.fixture
def local(tmp_path: Path) -> Iterator[SqliteStore]:
    """Empty."""
    with SqliteStore(tmp_path / "checks.db") as store:
        yield store


def oidc(local: SqliteStore, shared: Shared | None = None, period: float = 12 * HOUR) -> Checking:
    """Checks by an identity provider."""
    return Checking(ScriptedProvider("oidc"), local, shared, SCOPE, period, wall=lambda: NOW)


def control(local: SqliteStore) -> Checking:
    """Checks by the control plane."""
    return Checking(ScriptedProvider("control"), local, wall=lambda: NOW)


def test_whose_evidence_counts_until_when(local: SqliteStore) -> None:
    """By this host's period, however long the entry is kept for others."""
    local.keep(KEY, PEER.login, Secret("a.b.c"), NOW - HOUR, NOW + 100 * HOUR)
    local.keep(person_key(SCOPE, "bob@example.com"), "bob@example.com", Secret("d"), NOW - 13 * HOUR, NOW + HOUR)
    document = oidc(local).document([], 0.0)
    assert document["valid"] == [
        {"person": PEER.login, "node": "", "by": "oidc", "at": iso(NOW - HOUR), "until": iso(NOW + 11 * HOUR)}
    ]
    assert (document["by"], document["period"], document["problem"]) == ("oidc", "12 h", "")
    assert oidc(local, period=0.0).document([], 0.0)["valid"] == []


def test_what_the_control_plane_remembers_is_said_to_be_unknown(local: SqliteStore) -> None:
    """When it was last passed here is known, and no more."""
    checking = control(local)
    checking.note(DEMAND)
    assert checking.document([], 0.0)["valid"] == [
        {"person": PEER.login, "node": PEER.stable_id, "by": "control", "at": iso(NOW), "until": CONTROL_REMEMBERS}
    ]


def test_what_is_pending(local: SqliteStore) -> None:
    """Whose, from where, since when."""
    document = oidc(local).document([PendingCheck(DEMAND, began=40.0, waiting=2)], monotonic=100.0)
    assert document["pending"] == [
        {"person": PEER.login, "node": PEER.name, "since": iso(NOW - 60), "waiting": 2},
    ]


def test_an_explanation_tells_the_last_check_and_until_when_it_counts(local: SqliteStore) -> None:
    """By the evidence, not by the note."""
    checking = oidc(local)
    assert checking.about(DEMAND) == {"by": "oidc", "period": "12 h", "last": None, "last_by": None, "until": None}
    checking.note(DEMAND)
    provider = checking.provider
    assert isinstance(provider, ScriptedProvider)
    provider.recalled = Passed(authenticated=NOW - HOUR)
    assert checking.about(DEMAND) == {
        "by": "oidc",
        "period": "12 h",
        "last": iso(NOW),
        "last_by": "oidc",
        "until": iso(NOW + 11 * HOUR),
    }
    assert control(local).about(DEMAND)["until"] == CONTROL_REMEMBERS


def test_forgetting_reaches_this_host_and_those_that_hear_of_it(local: SqliteStore) -> None:
    """And nothing is said to be missed that was not."""
    shared = Shared()
    local.keep(KEY, PEER.login, Secret("a.b.c"), NOW - HOUR, NOW + HOUR)
    checking = oidc(local, shared)
    checking.note(DEMAND)
    assert checking.forget(PEER.login) == []
    assert local.tokens(KEY) == ()
    assert (local.not_before(KEY), shared.heard) == (NOW, {KEY: NOW})
    assert local.last_passed(PEER.login, PEER.stable_id) is None


def test_forgetting_says_that_it_will_not_last(local: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be written, what was forgotten counts again after the agent's next start."""

    def fail(*_: object, **__: object) -> None:
        raise CheckError("disk full: make room")

    monkeypatch.setattr(SqliteFile, "write", fail)
    (missed,) = oidc(local, Shared()).forget(PEER.login)
    assert missed == "this host after its next start: disk full: make room"
    assert local.not_before(KEY) == NOW


def test_every_problem_is_said(local: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's, this host's store's, and the shared store's; each once."""
    checking = oidc(local, Shared(down=True))
    assert isinstance(checking.provider, ScriptedProvider)
    checking.provider.trouble = "the store is down: start it"
    monkeypatch.setattr(local, "_problem", "disk full: make room")
    assert checking.problem() == "the store is down: start it; disk full: make room"


def test_forgetting_says_what_it_cannot_reach(local: SqliteStore) -> None:
    """No shared store, one that is down, and what the control plane remembers."""
    (missed,) = oidc(local).forget(PEER.login)
    assert missed.startswith("other hosts: there is no shared store")
    (missed,) = oidc(local, Shared(down=True)).forget(PEER.login)
    assert "the store is down: start it" in missed
    assert local.not_before(KEY) == NOW
    (missed,) = control(local).forget(PEER.login)
    assert "control plane" in missed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "as the control plane has it"),
        (0, "always"),
        (45, "45 s"),
        (60, "1 min"),
        (5400, "90 min"),
        (3600, "1 h"),
        (604800, "168 h"),
    ],
)
def test_periods_as_people_read_them(seconds: float | None, text: str) -> None:
    """In the largest unit that is whole."""
    assert period_text(seconds) == text
