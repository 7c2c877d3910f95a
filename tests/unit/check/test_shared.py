"""What hosts put into the shared store, and what they believe of what somebody else has put there."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_tailscale.check import shared
from pam_tailscale.check.evidence import AHEAD_MAX, NOT_BEFORE_KEEP, TOKEN_MAX, SharedStore, person_key
from pam_tailscale.check.redis_socket import Place
from pam_tailscale.check.shared import LOG_EVERY, RedisStore
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret
from tests.support.fake_redis import WRONG_TYPE, FakeRedis, serving

ALICE, BOB = person_key("scope", "alice"), person_key("scope", "bob")
NOW = 1_800_000_000.25
TODAY = int(NOW) // 86400


class Clock:
    """Both kinds of time, as the test says."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of the store's host."""
    return Clock()


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeRedis]:
    """The server."""
    with serving(tmp_path / "store") as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, fake: FakeRedis, clock: Clock) -> Iterator[RedisStore]:
    """A host's view of it."""
    assert not fake.values
    place = Place(path=tmp_path / "store", connect_seconds=10, command_seconds=10)
    opened = RedisStore(place, "prefix", wall=clock, monotonic=clock)
    yield opened
    opened.close()


def keep(store: RedisStore, token: str, authenticated: float = NOW, until: float = NOW + 3600) -> None:
    """A token of alice."""
    store.keep(ALICE, Secret(token), authenticated, until)


def tokens(store: RedisStore) -> list[str]:
    """The tokens of alice as text."""
    return [token.reveal() for token in store.tokens(ALICE)]


def slot(number: int) -> str:
    """The name of a token of alice."""
    return f"prefix:token:{ALICE}:{number}"


def day(number: int = TODAY) -> str:
    """The name of a day's announcements."""
    return f"prefix:not-before:{number}"


def at(moment: float, token: bytes) -> bytes:
    """A token as it stands there."""
    return b"%018.7f %s" % (moment, token)


def line(key: str, moment: float) -> bytes:
    """An announcement as it stands there."""
    return b"\n%s %018.7f\n" % (key.encode(), moment)


def test_it_is_a_shared_store(store: RedisStore) -> None:
    """What provider oidc works with; empty it answers nothing, and it has no problem."""
    used: SharedStore = store
    assert used.tokens(ALICE) == ()
    assert used.not_befores() == {}
    assert store.problem() == ""


def test_the_newest_tokens_are_there(store: RedisStore, fake: FakeRedis) -> None:
    """The newest first, each once, the oldest makes room; each goes with its use."""
    for number in (1, 3, 2, 5, 4, 5):
        keep(store, f"token-{number}", NOW + number, NOW + 100 + number)
    assert tokens(store) == ["token-5", "token-4", "token-3", "token-2"]
    assert sorted(fake.expire.values()) == [102, 103, 104, 105]
    assert set(fake.values) == {slot(number).encode() for number in range(4)}


@pytest.mark.parametrize(
    ("until", "seconds"),
    [(NOW - 1, None), (NOW, None), (NOW + 0.5, None), (NOW + 1.5, 1), (NOW + 1e9, int(NOT_BEFORE_KEEP))],
)
def test_how_long_a_token_is_there(store: RedisStore, fake: FakeRedis, until: float, seconds: int | None) -> None:
    """Until it is of no use, and never longer than any period."""
    keep(store, "token", NOW, until)
    assert fake.expire.get(slot(0).encode()) == seconds
    assert (slot(0).encode() in fake.values) is (seconds is not None)


def test_what_cannot_be_a_token_is_not_put_there(store: RedisStore, fake: FakeRedis) -> None:
    """Hosts would pass it over."""
    for token in ("", "two words", "x" * (TOKEN_MAX + 1)):
        with pytest.raises(CheckError, match="not kept"):
            keep(store, token)
    assert not fake.values


@pytest.mark.parametrize(
    "value",
    [
        b" ",
        b"rubbish",
        at(NOW, b""),
        at(NOW, b" "),
        at(NOW, b"two words"),
        at(NOW, b"\xc3\xa9"),
        at(NOW, b"x\n"),
        at(NOW, b"x").replace(b" ", b"\t"),
        at(NOW, b"x" * (TOKEN_MAX + 1)),
        b"nan" + b" " * 16 + b"x",
        b"-" + at(NOW, b"x")[1:],
        WRONG_TYPE,
    ],
)
def test_what_cannot_be_a_token_is_passed_over(store: RedisStore, fake: FakeRedis, value: bytes | None) -> None:
    """The others are found; the next token takes its place, though others are older."""
    for number in range(4):
        fake.put(slot(number), at(NOW - number, b"true-%d" % number))
    fake.put(slot(1), value)
    assert tokens(store) == ["true-0", "true-2", "true-3"]
    keep(store, "new", NOW + 1)
    assert tokens(store) == ["new", "true-0", "true-2", "true-3"]


def test_no_value_is_read_whole(store: RedisStore, fake: FakeRedis) -> None:
    """No command that answers with as much as there is."""
    for number in range(4):
        fake.put(slot(number), b"x" * (1 << 20))
    fake.put(day(), b"x" * (8 << 20))
    store.tokens(ALICE)
    store.not_befores()
    assert {command[0] for command in fake.asked if command[0] not in {b"CLIENT", b"HELLO"}} == {b"GETRANGE", b"STRLEN"}
    spans = [int(command[3]) - int(command[2]) for command in fake.asked if command[0] == b"GETRANGE"]
    assert max(spans) < 1 << 20


@pytest.mark.parametrize(
    ("moment", "first"), [(NOW + AHEAD_MAX, "claimed"), (NOW + AHEAD_MAX + 1, "true"), (9999999999.0, "true")]
)
def test_a_token_that_claims_to_be_from_the_future(
    store: RedisStore, fake: FakeRedis, moment: float, first: str
) -> None:
    """More than clocks differ: it stands behind all others, and makes room first."""
    for number in range(3):
        fake.put(slot(number), at(NOW - number, b"true"[: 4 - number]))
    fake.put(slot(3), at(moment, b"claimed"))
    assert tokens(store)[0] == first
    keep(store, "new", NOW + 1)
    assert ("claimed" in tokens(store)) is (first == "claimed")


def test_what_was_forgotten_is_heard(store: RedisStore, fake: FakeRedis) -> None:
    """To the last digit; and what it voids is removed, of this person alone."""
    keep(store, "before", NOW - 1)
    keep(store, "after", NOW)
    store.keep(BOB, Secret("of-bob"), NOW - 1, NOW + 3600)
    store.announce_not_before(ALICE, NOW)
    assert store.not_befores() == {ALICE: NOW}
    assert tokens(store) == ["after"]
    assert [token.reveal() for token in store.tokens(BOB)] == ["of-bob"]
    assert fake.expire[day().encode()] == NOT_BEFORE_KEEP


@pytest.mark.parametrize("moment", [1.8e9 + 1 / 3, 1_799_999_999.9999998, 1_800_000_000.0000002, 1_799_999_999.0])
def test_a_moment_comes_back_as_it_was(store: RedisStore, moment: float) -> None:
    """Otherwise each host would hear news of its own announcement, or count what was forgotten."""
    store.announce_not_before(ALICE, moment)
    assert store.not_befores() == {ALICE: moment}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", {}),
        (b"\n" * 100, {}),
        (line(ALICE, NOW), {ALICE: NOW}),
        (line(ALICE, NOW) + line(ALICE, NOW - 1) + line(BOB, NOW - 1), {ALICE: NOW, BOB: NOW - 1}),
        (b"spoilt" + line(ALICE, NOW) + b"spoilt", {ALICE: NOW}),
        (line(ALICE, NOW)[:-1], {ALICE: NOW}),
        (line(ALICE, NOW)[:-2], {}),
        (line(ALICE[:-1], NOW), {}),
        (line(ALICE.upper(), NOW), {}),
        (line(ALICE + "0", NOW), {}),
        (line(ALICE, NOW + AHEAD_MAX), {ALICE: NOW + AHEAD_MAX}),
        (line(ALICE, NOW + AHEAD_MAX + 1), {}),
        (line(ALICE, NOW - NOT_BEFORE_KEEP), {ALICE: NOW - NOT_BEFORE_KEEP}),
        (line(ALICE, NOW - NOT_BEFORE_KEEP - 1), {}),
        (line(ALICE, NOW + AHEAD_MAX + 1) + line(ALICE, NOW), {ALICE: NOW}),
        (b"\n%s inf\n" % ALICE.encode(), {}),
        (b"\n%s nan\n" % ALICE.encode(), {}),
        (WRONG_TYPE, {}),
    ],
)
def test_only_what_can_be_meant_is_heard(
    store: RedisStore, fake: FakeRedis, text: bytes | None, expected: dict[str, float]
) -> None:
    """Whoever can write there cannot shut people out for ever, nor spoil what others have announced."""
    fake.put(day(), text)
    assert store.not_befores() == expected


def test_which_days_are_read(store: RedisStore, fake: FakeRedis) -> None:
    """Those that a period reaches back to, and tomorrow: a host's clock may be ahead."""
    for number in range(-12, 4):
        fake.put(day(TODAY + number), line(person_key("scope", str(number)), NOW))
    assert set(store.not_befores()) == {person_key("scope", str(number)) for number in range(-8, 2)}


def test_of_too_many_the_newest_are_heard(store: RedisStore, fake: FakeRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the newest days, the last ones there."""
    monkeypatch.setattr(shared, "NOT_BEFORES_MAX", 3)
    keys = [person_key("scope", str(number)) for number in range(6)]
    fake.put(day(TODAY - 1), b"".join(line(key, NOW) for key in keys[:4]))
    fake.put(day(), b"".join(line(key, NOW) for key in keys[4:]))
    assert set(store.not_befores()) == set(keys[3:])


@pytest.mark.parametrize("fault", ["another type", "no room"])
def test_an_announcement_is_put_in_place_of_what_is_in_its_way(store: RedisStore, fake: FakeRedis, fault: str) -> None:
    """It must reach the other hosts."""
    fake.put(day(), WRONG_TYPE if fault == "another type" else b"x")
    if fault == "no room":
        full = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
        fake.fault = lambda command: full if command[0] == b"APPEND" and day().encode() in fake.values else None
    store.announce_not_before(ALICE, NOW)
    assert store.not_befores() == {ALICE: NOW}


@pytest.mark.parametrize("what", ["APPEND", "EXPIRE", "UNLINK"])
def test_an_announcement_that_failed_is_an_error(store: RedisStore, fake: FakeRedis, what: str) -> None:
    """Whoever forgets somebody has to know that other hosts did not hear of it."""
    keep(store, "before", NOW - 1)
    fake.fault = lambda command: b"-READONLY x\r\n" if command[0] == what.encode() else None
    with pytest.raises(CheckError, match="replica"):
        store.announce_not_before(ALICE, NOW)
    assert "replica" in store.problem()


def test_a_store_that_takes_nothing_is_still_read(store: RedisStore, fake: FakeRedis) -> None:
    """Its problem is known until something was written."""
    keep(store, "token")
    fake.fault = lambda command: b"-OOM x\r\n" if command[0] == b"SET" else None
    with pytest.raises(CheckError, match="maxmemory"):
        keep(store, "another")
    assert tokens(store) == ["token"]
    assert "maxmemory" in store.problem()
    fake.fault = lambda _: None
    keep(store, "another")
    assert store.problem() == ""


def test_a_store_that_does_not_let_us_read(store: RedisStore, fake: FakeRedis) -> None:
    """It is an error and no absent entry: what was forgotten is then not known."""
    fake.fault = lambda command: b"-NOPERM x\r\n" if command[0] in {b"GETRANGE", b"STRLEN"} else None
    for ask in (store.not_befores, lambda: store.tokens(ALICE)):
        with pytest.raises(CheckError, match="ACL SETUSER"):
            ask()
        assert "ACL SETUSER" in store.problem()
    fake.fault = lambda _: None
    store.tokens(ALICE)
    assert store.problem() == ""


def test_what_was_passed_over_is_logged_seldom(
    store: RedisStore, fake: FakeRedis, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A line a minute with their number, and nothing of what stood there."""
    caplog.set_level(logging.WARNING, "pam_tailscale.check.shared")
    fake.put(slot(0), b"rubbish-of-a-stranger")
    fake.put(day(), line(ALICE, NOW + 1e6) + line(BOB, NOW - NOT_BEFORE_KEEP - 1))
    for _ in range(3):
        store.tokens(ALICE)
    assert len(caplog.records) == 1
    clock.now += LOG_EVERY
    store.not_befores()
    assert len(caplog.records) == 2
    assert "made: 3 (" in caplog.text
    assert "prefix:*" in caplog.text
    assert "stranger" not in caplog.text


def test_old_announcements_are_nothing_to_log(
    store: RedisStore, fake: FakeRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """They stand there until their day goes."""
    fake.put(day(TODAY - 8), line(BOB, NOW - NOT_BEFORE_KEEP - 1) + line(ALICE, NOW))
    assert store.not_befores() == {ALICE: NOW}
    assert not caplog.records
