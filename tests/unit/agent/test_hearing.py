"""What is forgotten on another host: taken over here, told once, and never in the way of anything."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_tailscale.agent import hearing
from pam_tailscale.agent.hearing import Hearing
from pam_tailscale.check.local import SqliteStore
from pam_tailscale.check.sqlitefile import SqliteFile
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret
from tests.support.facts import NOW, PEER
from tests.support.waiting import wait_until
from tests.unit.agent.test_checking import KEY, Shared

TOKEN = Secret("a.b.c")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[SqliteStore]:
    """Alice's evidence is known."""
    with SqliteStore(tmp_path / "checks.db") as store:
        store.keep(KEY, PEER.login, TOKEN, NOW - 60, NOW + 3600)
        yield store


def test_what_another_host_forgot_is_void_here(local: SqliteStore) -> None:
    """Told once; a person who is not known here is nobody's to tell, but counts as forgotten."""
    told: list[str] = []
    shared = Shared()
    hears = Hearing(local, shared, told.append, lambda: None, lambda: NOW)
    hears.once()
    assert (told, local.tokens(KEY)) == ([], (TOKEN,))
    shared.heard = {KEY: NOW, "stranger": NOW}
    hears.once()
    hears.once()
    assert (told, local.tokens(KEY)) == ([PEER.login], ())
    assert local.not_before("stranger") == NOW


def test_a_store_that_is_down_is_said_once(local: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    """What is known here goes on; when it is back it is heard again."""
    shared = Shared(down=True)
    told: list[str] = []
    hears = Hearing(local, shared, told.append, lambda: None, lambda: NOW)
    hears.once()
    hears.once()
    assert caplog.text.count("is not heard: the store is down: start it") == 1
    assert local.tokens(KEY) == (TOKEN,)
    shared.down = False
    shared.heard = {KEY: NOW}
    hears.once()
    assert told == [PEER.login]


def test_what_cannot_be_written_is_void_all_the_same(
    local: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the next start, which is said; and whoever is on their way in is told."""

    def fail(*_: object, **__: object) -> None:
        raise CheckError("disk full: make room")

    monkeypatch.setattr(SqliteFile, "write", fail)
    told: list[str] = []
    shared = Shared()
    shared.heard = {KEY: NOW}
    Hearing(local, shared, told.append, lambda: None, lambda: NOW).once()
    assert (told, local.tokens(KEY)) == ([PEER.login], ())
    assert "only until the agent's next start: disk full: make room" in caplog.text


def test_what_is_past_is_tidied_away(local: SqliteStore) -> None:
    """Also where there is nobody to hear."""
    Hearing(local, None, lambda _: None, lambda: None, lambda: NOW + 3601).once()
    assert local.tokens(KEY) == ()


def test_the_thread_asks_again_and_survives_a_mistake(
    local: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Until it is stopped, which does not wait for the next question."""
    monkeypatch.setattr(hearing, "PAUSE", 0.01)
    heard = threading.Event()

    def forgotten(person: str) -> None:
        heard.set()
        raise RuntimeError(person)

    clock = [NOW]
    shared = Shared()
    shared.heard = {KEY: NOW}
    hears = Hearing(local, shared, forgotten, lambda: None, lambda: clock[0])
    hears.start()
    assert heard.wait(10)
    local.keep(KEY, PEER.login, TOKEN, NOW + 1, NOW + 3600)
    heard.clear()
    clock[0] = NOW + 2
    shared.heard = {KEY: NOW + 2}
    assert heard.wait(10)
    monkeypatch.setattr(hearing, "PAUSE", 3600.0)
    wait_until(lambda: local.tokens(KEY) == (), 10, "it is void")
    hears.stop()
    assert "looking for what was forgotten elsewhere failed" in caplog.text


def test_nobody_announces_the_future(local: SqliteStore) -> None:
    """Whoever can write to the store could otherwise keep somebody from ever passing a check."""
    shared = Shared()
    shared.heard = {KEY: NOW + 300}
    Hearing(local, shared, lambda _: None, lambda: None, lambda: NOW).once()
    assert local.not_before(KEY) == NOW


def test_the_providers_keys_are_looked_after(local: SqliteStore) -> None:
    """At the start, and then from time to time, also where the clock goes back."""
    refreshed: list[float] = []
    now = [NOW]
    hears = Hearing(local, None, lambda _: None, lambda: refreshed.append(now[0]), lambda: now[0])
    for moment in (NOW, NOW + 5, NOW + hearing.REFRESH - 1, NOW + hearing.REFRESH, NOW - 50):
        now[0] = moment
        hears.once()
    assert refreshed == [NOW, NOW + hearing.REFRESH, NOW - 50]
