"""This host's own evidence: what is kept, for how long, and that what was forgotten stays forgotten."""

import math
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pam_tailscale.check import evidence, local
from pam_tailscale.check.evidence import TOKEN_MAX, LocalStore
from pam_tailscale.check.local import Remembered, SqliteStore
from pam_tailscale.check.sqlitefile import Row, SqliteFile
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret

ALICE, BOB = "a" * 64, "b" * 64
NOW = 1_800_000_000.0
UNTIL = NOW + 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "checks.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    """An empty store."""
    with SqliteStore(path) as opened:
        yield opened


def keep(store: SqliteStore, key: str, token: str, authenticated: float = NOW, until: float = UNTIL) -> None:
    """As the provider does, with a name that goes with the key."""
    store.keep(key, f"{key[0]}@example.com", Secret(token), authenticated, until)


def tokens(store: SqliteStore, key: str) -> list[str]:
    """The tokens as text."""
    return [token.reveal() for token in store.tokens(key)]


def again(store: SqliteStore, path: Path) -> SqliteStore:
    """The store after the agent was started anew."""
    store.close()
    return SqliteStore(path)


def test_it_is_a_local_store(store: SqliteStore) -> None:
    """What provider oidc works with; empty it answers nothing, and it has no problem."""
    used: LocalStore = store
    assert used.tokens(ALICE) == ()
    assert used.not_before(ALICE) == 0
    assert store.keys("scope") is None
    assert store.last_passed("alice", "node") is None
    assert store.everyone(NOW) == ()
    assert store.people() == {}
    assert store.problem() == ""


def test_the_newest_tokens_are_kept(store: SqliteStore, path: Path) -> None:
    """Four of a person, the newest first, each once; also after a restart."""
    for authenticated, token in [(1, "a"), (5, "e"), (3, "c"), (2, "b"), (4, "d"), (6, "e")]:
        keep(store, ALICE, token, NOW + authenticated)
    keep(store, BOB, "of-bob")
    with again(store, path) as later:
        for one in (store, later):
            assert tokens(one, ALICE) == ["e", "d", "c", "b"]
            assert tokens(one, BOB) == ["of-bob"]


@pytest.mark.parametrize(
    ("token", "authenticated", "until"),
    [
        ("", NOW, UNTIL),
        ("two words", NOW, UNTIL),
        ("x" * (TOKEN_MAX + 1), NOW, UNTIL),
        ("x", math.nan, UNTIL),
        ("x", NOW, math.inf),
    ],
    ids=["empty", "words", "oversize", "no time", "for ever"],
)
def test_what_cannot_be_a_token_is_not_kept(store: SqliteStore, token: str, authenticated: float, until: float) -> None:
    """An error without anything of it."""
    with pytest.raises(CheckError) as caught:
        keep(store, ALICE, token, authenticated, until)
    assert not token or token not in str(caught.value)
    assert store.tokens(ALICE) == ()


def test_the_longest_token_fits(store: SqliteStore, path: Path) -> None:
    """It comes back as it was."""
    keep(store, ALICE, "x" * TOKEN_MAX)
    with again(store, path) as later:
        assert tokens(later, ALICE) == ["x" * TOKEN_MAX]


def test_what_was_forgotten_stays_forgotten(store: SqliteStore, path: Path) -> None:
    """Tokens from before go and do not come back, those of others stay; also after a restart."""
    keep(store, ALICE, "before", NOW - 0.5)
    keep(store, ALICE, "after", NOW)
    keep(store, BOB, "of-bob", NOW - 1)
    assert store.raise_not_before(ALICE, NOW - 0.25)
    keep(store, ALICE, "before", NOW - 0.5)
    with again(store, path) as later:
        for one in (store, later):
            assert tokens(one, ALICE) == ["after"]
            assert tokens(one, BOB) == ["of-bob"]
            assert one.not_before(ALICE) == NOW - 0.25
            assert one.not_before(BOB) == 0
        keep(later, ALICE, "before", NOW - 0.5)
        assert tokens(later, ALICE) == ["after"]


@pytest.mark.parametrize(
    ("moment", "news"),
    [
        (NOW - 1, False),
        (NOW, False),
        (NOW + 1, True),
        (0.0, False),
        (-math.inf, False),
        (math.inf, False),
        (math.nan, False),
    ],
)
def test_a_not_before_never_goes_back(store: SqliteStore, path: Path, moment: float, news: bool) -> None:  # noqa: FBT001
    """Nor to a time that is none, which would keep the person out for good."""
    store.raise_not_before(ALICE, NOW)
    assert store.raise_not_before(ALICE, moment) is news
    with again(store, path) as later:
        assert later.not_before(ALICE) == (moment if news else NOW)


def test_no_clock_brings_evidence_back(store: SqliteStore, path: Path) -> None:
    """A not-before has no age: a clock that was wrong for a moment must not make it go."""
    store.raise_not_before(ALICE, NOW)
    store.tidy(NOW + 1e9)
    with again(store, path) as later:
        later.tidy(NOW + 1e9)
        assert later.not_before(ALICE) == NOW


def test_a_not_before_is_on_the_disk_at_once(store: SqliteStore, path: Path) -> None:
    """Whatever happens to the agent or to the host's power: it is in the file, not in the journal beside it."""
    store.raise_not_before(ALICE, NOW)
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    with SqliteStore(copy) as other:
        assert other.not_before(ALICE) == NOW


def test_many_not_befores_at_once(store: SqliteStore) -> None:
    """One write; the answer is what was news."""
    store.raise_not_before(ALICE, NOW)
    keep(store, BOB, "token", NOW)
    assert store.raise_not_befores({ALICE: NOW - 1, BOB: NOW + 1, "c": NOW, "d": math.nan}) == {BOB, "c"}
    assert store.raise_not_befores({}) == frozenset()
    assert store.tokens(BOB) == ()


def test_of_too_many_not_befores_none_is_lost(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest becomes everyone's: people are asked once more, and nothing that was forgotten counts again."""
    monkeypatch.setattr(evidence, "NOT_BEFORES_MAX", 3)
    keep(store, "z", "early", NOW + 0.5)
    keep(store, "y", "late", NOW + 10)
    for number, key in enumerate("abcde"):
        store.raise_not_before(key, NOW + number)
    with again(store, path) as later:
        for one in (store, later):
            assert [one.not_before(key) - NOW for key in "abcdez"] == [1, 1, 2, 3, 4, 1]
            assert one.tokens("z") == ()
            assert tokens(one, "y") == ["late"]
        assert not later.raise_not_before("f", NOW + 1)


@pytest.mark.parametrize("bound", ["people", "bytes"])
def test_too_many_people(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """Those go who authenticated longest ago: they are asked anew soonest."""
    if bound == "people":
        monkeypatch.setattr(evidence, "PEOPLE_MAX", 2)
    else:
        monkeypatch.setattr(local, "TOKENS_BYTES_MAX", 20)
    for key, authenticated in [("c", NOW + 3), ("a", NOW + 1), ("d", NOW + 4), ("b", NOW + 2)]:
        keep(store, key, f"token-of-{key}", authenticated)
    with again(store, path) as later:
        assert set(store.people()) == set(later.people()) == {"c", "d"}


def test_voided_tokens_make_room(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes are counted rightly through all that changes them."""
    monkeypatch.setattr(local, "TOKENS_BYTES_MAX", 20)
    for moment in (NOW + 10, NOW + 20, NOW + 30):
        keep(store, ALICE, "x" * 10, moment)
        keep(store, ALICE, "y" * 10, moment + 1)
        store.raise_not_before(ALICE, moment + 2)
    keep(store, ALICE, "x" * 10, NOW + 40)
    keep(store, BOB, "y" * 10, NOW + 40)
    assert set(store.people()) == {ALICE, BOB}


def test_who_is_remembered(store: SqliteStore) -> None:
    """For the command line: the newest of each person that is not over, by name."""
    keep(store, BOB, "old", NOW - 10, NOW + 100)
    keep(store, BOB, "new", NOW - 5, NOW + 50)
    keep(store, ALICE, "over", NOW - 5, NOW)
    assert store.everyone(NOW) == (Remembered("b@example.com", NOW - 5, NOW + 50),)
    assert store.everyone(NOW + 60) == (Remembered("b@example.com", NOW - 10, NOW + 100),)
    assert store.people() == {ALICE: "a@example.com", BOB: "b@example.com"}
    assert "old" not in repr(store.everyone(NOW))


def test_what_is_over_is_tidied_away(store: SqliteStore, path: Path) -> None:
    """In memory and in the file."""
    keep(store, ALICE, "over", NOW, NOW + 10)
    keep(store, BOB, "over", NOW, NOW + 10)
    keep(store, BOB, "not-over", NOW - 5, NOW + 20)
    store.tidy(NOW + 10)
    with again(store, path) as later:
        for one in (store, later):
            assert tokens(one, ALICE) == []
            assert tokens(one, BOB) == ["not-over"]


def test_the_last_check_is_remembered(store: SqliteStore, path: Path) -> None:
    """Per person and node; without a write of its own, so that a login does not wait for a disk."""
    before = path.with_name(path.name + "-wal").stat().st_size
    store.note_passed("alice@example.com", "n1", "control", NOW)
    store.note_passed("alice@example.com", "n1", "oidc", NOW + 1)
    store.note_passed("alice\ud800@example.com", "n2", "control", NOW + 2)
    assert path.with_name(path.name + "-wal").stat().st_size == before
    with again(store, path) as later:
        for one in (store, later):
            assert one.last_passed("alice@example.com", "n1") == ("oidc", NOW + 1)
            assert one.last_passed("alice\ud800@example.com", "n2") == ("control", NOW + 2)
            assert one.last_passed("alice@example.com", "n2") is None


def test_last_checks_are_listed_and_forgotten(store: SqliteStore, path: Path) -> None:
    """By name; one person's go without those of others, in the file too."""
    for person, node in [("bob", "n2"), ("alice", "n1"), ("bob", "n1")]:
        store.note_passed(person, node, "control", NOW)
    assert [(person, node) for person, node, _, _ in store.passed()] == [("alice", "n1"), ("bob", "n1"), ("bob", "n2")]
    store.tidy(NOW)
    store.forget_passed("bob")
    store.forget_passed("carol")
    with again(store, path) as later:
        for one in (store, later):
            assert one.passed() == (("alice", "n1", "control", NOW),)


def test_the_oldest_checks_go_first_after_a_restart_too(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has them in another order."""
    monkeypatch.setattr(local, "PASSED_MAX", 2)
    store.note_passed("alice", "n1", "control", NOW + 1)
    store.note_passed("bob", "n1", "control", NOW)
    with again(store, path) as later:
        later.note_passed("carol", "n1", "control", NOW + 2)
        assert [person for person, _, _, _ in later.passed()] == ["alice", "carol"]


def test_too_many_last_checks(store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, in the file too."""
    monkeypatch.setattr(local, "PASSED_MAX", 2)
    for node in ("n1", "n2", "n1", "n3"):
        store.note_passed("alice", node, "control", NOW)
        store.tidy(NOW)
    with again(store, path) as later:
        for one in (store, later):
            assert [one.last_passed("alice", node) is not None for node in ("n1", "n2", "n3")] == [True, False, True]


def test_published_keys_outlive_the_agent(store: SqliteStore, path: Path) -> None:
    """Those of one provider: another's take their place. Too many are refused."""
    store.keep_keys("old", "{}", NOW)
    store.keep_keys("scope", '{"keys": ["\u00e9"]}', NOW + 0.125)
    with pytest.raises(CheckError, match="issuer"):
        store.keep_keys("scope", "x" * (local.KEYS_BYTES_MAX + 1), NOW)
    with again(store, path) as later:
        for one in (store, later):
            assert one.keys("scope") == ('{"keys": ["\u00e9"]}', NOW + 0.125)
            assert one.keys("old") is None


def everything(store: SqliteStore) -> list[object]:
    """What `fill` has put there."""
    last = store.last_passed("alice", "node")
    return [tokens(store, ALICE), store.not_before(BOB), last, store.keys("scope"), dict(store.people())]


def fill(store: SqliteStore) -> None:
    """Something of each kind."""
    keep(store, ALICE, "token")
    store.raise_not_before(BOB, NOW)
    store.note_passed("alice", "node", "oidc", NOW)
    store.keep_keys("scope", "{}", NOW)


class Unwritable:
    """A disk that takes nothing, for a store that is open or not yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._put = SqliteFile.write

    def begin(self) -> None:
        """From now on."""

        def fail(*_: object, **__: object) -> None:
            raise CheckError("disk full")

        self._monkeypatch.setattr(SqliteFile, "write", fail)

    def end(self) -> None:
        """There is room again."""
        self._monkeypatch.setattr(SqliteFile, "write", self._put)


def change_a_token(store: SqliteStore) -> None:
    """An ordinary write."""
    keep(store, ALICE, "token")


def tidy(store: SqliteStore) -> None:
    """What the agent does now and then."""
    store.tidy(NOW)


@pytest.mark.parametrize("next_change", [change_a_token, tidy, SqliteStore.close])
def test_what_cannot_be_written_lives_in_memory(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch, next_change: Callable[[SqliteStore], None]
) -> None:
    """All is answered, the problem is said; with the next change the file has all of it.

    Only that something was forgotten must not seem to last when it does not.
    """
    disk = Unwritable(monkeypatch)
    disk.begin()
    with pytest.raises(CheckError, match="disk full"):
        fill(store)
    fill(store)
    found = everything(store)
    assert found == [["token"], NOW, ("oidc", NOW), ("{}", NOW), {ALICE: "a@example.com"}]
    assert "disk full" in store.problem()
    disk.end()
    next_change(store)
    assert store.problem() == ""
    with again(store, path) as later:
        assert everything(later) == found


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    """What is in it then and what is in memory are joined: the newer tokens, the later not-befores."""
    path = tmp_path / "checks.db"
    with SqliteStore(path) as first:
        keep(first, ALICE, "in-the-file", NOW - 10)
        keep(first, BOB, "of-bob", NOW - 10)
        first.raise_not_before("c", NOW + 5)
        first.raise_not_before("d", NOW)
        first.tidy(NOW)
        first.close()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode=EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            second = SqliteStore(path)
            assert "another agent" in second.problem()
            keep(second, ALICE, "in-memory", NOW)
            second.raise_not_before("c", NOW)
            for key, moment in ((BOB, NOW), ("d", NOW + 5)):
                with pytest.raises(CheckError, match="another agent"):
                    second.raise_not_before(key, moment)
            assert "another agent" in second.problem()
        second.tidy(NOW)
        assert second.problem() == ""
    with again(second, path) as later:
        for one in (second, later):
            assert tokens(one, ALICE) == ["in-memory", "in-the-file"]
            assert tokens(one, BOB) == []
            assert [one.not_before(key) for key in (BOB, "c", "d")] == [NOW, NOW + 5, NOW + 5]


def test_a_damaged_file_is_begun_anew(store: SqliteStore, path: Path) -> None:
    """The agent starts all the same, and what is lost is asked for anew."""
    fill(store)
    store.close()
    path.write_bytes(b"\0" * 9000)
    with SqliteStore(path) as later:
        assert everything(later) == [[], 0, None, None, {}]
        assert later.problem() == ""
        fill(later)
    with SqliteStore(path) as last:
        assert tokens(last, ALICE) == ["token"]


def test_an_entry_that_is_not_understood_is_left_out(
    store: SqliteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The agent starts, and the others count."""
    fill(store)
    store.close()
    file = SqliteFile(path)
    file.open()
    file.write([Row("person", BOB, '["secret-token"]'), Row("not-before", "c", '"x"')], durable=True)
    file.write([Row("passed", "[]", "[]"), Row("another kind", "x", "{}")], durable=True)
    file.close()
    with SqliteStore(path) as later:
        assert everything(later) == everything(store)
        assert later.not_before("c") == 0
    assert "not understood" in caplog.text
    assert "secret-token" not in caplog.text


def test_what_is_void_is_not_taken_from_the_file(
    store: SqliteStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order it stands there, as after a write that failed."""
    keep(store, ALICE, "before", NOW - 1)
    keep(store, ALICE, "after", NOW + 1)
    store.close()
    file = SqliteFile(path)
    rows, _ = file.open()
    file.close()
    forgotten = Row("not-before", ALICE, str(NOW))
    for found in ([*rows, forgotten], [forgotten, *rows]):
        monkeypatch.setattr(SqliteFile, "open", lambda _, found=found: (found, ""))
        assert tokens(SqliteStore(path), ALICE) == ["after"]


def test_the_problem_is_logged_once(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk must not fill what is left of it."""
    Unwritable(monkeypatch).begin()
    for number in range(10):
        keep(store, ALICE, f"token-{number}")
    assert caplog.text.count("disk full") == 1
    assert "token-" not in caplog.text


def test_threads_at_the_same_time(store: SqliteStore, path: Path) -> None:
    """Nothing is lost, and a reader never sees half of a change."""
    done, wrong = threading.Event(), []

    def write(name: str) -> None:
        for number in range(100):
            keep(store, ALICE, f"{name}-{number}", NOW + number)
            store.note_passed(name, str(number), "oidc", NOW)

    def read() -> None:
        while not done.is_set():
            if len(store.tokens(ALICE)) > 4 or not store.everyone(NOW):
                wrong.append(tokens(store, ALICE))

    keep(store, ALICE, "first", NOW - 1)
    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(name,)) for name in ("w", "x", "y", "z")]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert not wrong
    with again(store, path) as later:
        assert set(tokens(later, ALICE)) == {f"{name}-99" for name in ("w", "x", "y", "z")}
        assert all(later.last_passed(name, str(number)) for name in ("w", "z") for number in range(100))


def test_a_read_does_not_wait_for_a_write(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk may be slow, or a network's; a login is not."""
    keep(store, ALICE, "token")
    writing, go_on = threading.Event(), threading.Event()

    def slow(*_: object, **__: object) -> None:
        writing.set()
        assert go_on.wait(30)

    monkeypatch.setattr(SqliteFile, "write", slow)
    writer = threading.Thread(target=store.raise_not_before, args=(BOB, NOW))
    writer.start()
    assert writing.wait(30)
    assert tokens(store, ALICE) == ["token"]
    assert store.not_before(BOB) == NOW
    assert store.everyone(NOW)
    store.note_passed("alice", "node", "oidc", NOW)
    assert store.last_passed("alice", "node")
    go_on.set()
    writer.join()
