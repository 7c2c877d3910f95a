"""When the provider's keys are fetched, and for how long they count."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from pam_tailscale.check import keyset
from pam_tailscale.check.jwks import FRESH, KEEP, PAUSE, Occasion, PublishedKeys
from pam_tailscale.errors import CheckError
from tests.support.tokens import SigningKey, ec_key, key_set
from tests.support.waiting import wait_until

ONE = key_set(SigningKey("key-1", "ES256", ec_key(number=1)))
TWO = key_set(SigningKey("key-2", "ES256", ec_key(number=2)))
START = 1_800_000_000.0


@dataclass
class Scene:
    """A provider, a store and a clock that do as they are told."""

    published: str | CheckError = ONE
    kept: dict[str, tuple[str, float]] = field(default_factory=dict)
    store_fails: bool = False
    now: float = START
    fetched: int = 0

    def fetch(self) -> str:
        """What is published."""
        self.fetched += 1
        if isinstance(self.published, CheckError):
            raise self.published
        return self.published

    def keep_keys(self, scope: str, text: str, moment: float) -> None:
        """The store's."""
        if self.store_fails:
            raise CheckError("the disk is full")
        self.kept[scope] = (text, moment)

    def keys(self, scope: str) -> tuple[str, float] | None:
        """The store's."""
        if self.store_fails:
            raise CheckError("the disk is broken")
        return self.kept.get(scope)

    def cache(self, fetch: Callable[[], str] | None = None) -> PublishedKeys:
        """The keys of a provider, after a start of the agent."""
        return PublishedKeys(fetch=fetch or self.fetch, store=self, scope="scope", wall=lambda: self.now)


def ids(keys: PublishedKeys, now: float = START) -> set[str]:
    """The ids of the keys that count."""
    return set(keys.known(now).by_id)


def test_nothing_is_known_at_first() -> None:
    """And nobody is asked where somebody waits."""
    scene = Scene()
    assert ids(scene.cache()) == set()
    assert scene.fetched == 0


def test_keys_are_fetched_and_kept() -> None:
    """A restart of the agent does not need the provider."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    assert ids(keys) == {"key-1"}
    assert scene.kept == {"scope": (ONE, START)}
    assert ids(scene.cache()) == {"key-1"}
    assert scene.fetched == 1


def test_fresh_keys_are_not_fetched_again() -> None:
    """After ten minutes they are, also where a clock went back, and then it is as published that counts."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    scene.published = TWO
    scene.now += FRESH - 1
    keys.refresh(Occasion.AGE)
    assert scene.fetched == 1
    scene.now += 1
    keys.refresh(Occasion.AGE)
    assert (scene.fetched, ids(keys, scene.now)) == (2, {"key-2"})
    scene.now -= 3600
    keys.refresh(Occasion.AGE)
    assert scene.fetched == 3


def test_a_key_that_is_no_longer_published_is_gone() -> None:
    """Also the last one, and also after a restart."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    scene.published = '{"keys": []}'
    scene.now += FRESH
    keys.refresh(Occasion.AGE)
    assert ids(keys, scene.now) == set()
    assert ids(scene.cache(), scene.now) == set()


@pytest.mark.parametrize("occasion", [Occasion.STORED, Occasion.TAKEN])
def test_an_unknown_key_is_looked_for_at_once(occasion: Occasion) -> None:
    """However fresh the others are; but once a minute, whoever invents ids."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    scene.published = TWO
    for seconds, fetched in ((1, 2), (PAUSE - 1, 2), (1, 3)):
        scene.now += seconds
        keys.refresh(occasion)
        assert scene.fetched == fetched
    assert ids(keys, scene.now) == {"key-2"}


def test_what_strangers_store_does_not_use_up_what_the_provider_sends() -> None:
    """A forged token in the shared store must not keep a true one from being verified."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.STORED)
    scene.published = TWO
    keys.refresh(Occasion.TAKEN)
    assert ids(keys) == {"key-2"}


def test_a_provider_that_is_down() -> None:
    """What is known goes on to count; the error is said, also while it is not tried again."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    scene.now += FRESH
    scene.published = CheckError("the provider is down", 0.0)
    for _ in range(3):
        with pytest.raises(CheckError, match="the provider is down"):
            keys.refresh(Occasion.AGE)
    assert scene.fetched == 2
    assert ids(keys, scene.now) == {"key-1"}
    scene.now += PAUSE
    scene.published = TWO
    keys.refresh(Occasion.AGE)
    assert ids(keys, scene.now) == {"key-2"}


def test_a_provider_that_wants_to_be_left_alone() -> None:
    """For as long as it says."""
    scene = Scene(CheckError("busy", 300.0))
    keys = scene.cache()
    for seconds in (0, PAUSE, 200):
        scene.now = START + seconds
        with pytest.raises(CheckError, match="busy") as caught:
            keys.refresh(Occasion.AGE)
        assert caught.value.retry_after == 300
    assert scene.fetched == 1
    scene.now, scene.published = START + 300, ONE
    keys.refresh(Occasion.AGE)
    assert ids(keys, scene.now) == {"key-1"}


@pytest.mark.parametrize(
    ("age", "known"),
    [(0.0, True), (KEEP, True), (KEEP + 1, False), (-60.0, True), (-61.0, False)],
    ids=["now", "a week", "more", "the clock went back a little", "the clock went back"],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_old_keys_do_not_count(age: float, known: bool, restarted: bool) -> None:  # noqa: FBT001
    """After a week without the provider nobody can say which keys it still has."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    keys = scene.cache() if restarted else keys
    assert bool(ids(keys, START + age)) is known


@pytest.mark.parametrize("published", ["", "<html>", "[]", '{"keys": 1}', "x" * (keyset.TEXT_MAX + 1)])
def test_what_is_no_key_set(published: str) -> None:
    """It changes nothing: it is not the provider who speaks."""
    scene = Scene()
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    scene.published = published
    with pytest.raises(CheckError, match="key set cannot be used"):
        keys.refresh(Occasion.TAKEN)
    assert ids(keys) == {"key-1"}
    assert scene.kept["scope"][0] == ONE


def test_a_store_that_fails() -> None:
    """Keys count without it, until the agent ends; and it may work later."""
    scene = Scene(store_fails=True)
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    assert ids(keys) == {"key-1"}
    scene.kept["scope"] = (TWO, START)
    later = scene.cache()
    assert ids(later) == set()
    scene.store_fails = False
    assert ids(later) == {"key-2"}


@pytest.mark.parametrize("text", ["", "[]", "x" * (keyset.TEXT_MAX + 1)], ids=["empty", "list", "long"])
def test_a_store_with_something_else_in_it(text: str) -> None:
    """It is as if it had nothing."""
    scene = Scene(kept={"scope": (text, START)})
    keys = scene.cache()
    assert ids(keys) == set()
    keys.refresh(Occasion.AGE)
    assert ids(keys) == {"key-1"}


def test_keys_without_any_that_can_be_used_are_not_fresh() -> None:
    """A provider that is set up just now is asked again after a minute."""
    scene = Scene('{"keys": []}')
    keys = scene.cache()
    keys.refresh(Occasion.AGE)
    keys.refresh(Occasion.AGE)
    assert scene.fetched == 1
    scene.now, scene.published = START + PAUSE, ONE
    keys.refresh(Occasion.AGE)
    assert ids(keys, scene.now) == {"key-1"}


def test_many_who_need_the_keys_fetch_them_once() -> None:
    """And nobody who only wants to know what is known waits for it."""
    scene = Scene()
    fetching, go_on = threading.Event(), threading.Event()

    def fetch() -> str:
        fetching.set()
        assert go_on.wait(30)
        return scene.fetch()

    keys = scene.cache(fetch)
    found: list[set[str]] = []

    def need() -> None:
        keys.refresh(Occasion.AGE)
        found.append(ids(keys))

    threads = [threading.Thread(target=need) for _ in range(5)]
    for thread in threads:
        thread.start()
    wait_until(fetching.is_set, 10, "somebody fetches")
    assert ids(keys) == set()
    assert found == []
    go_on.set()
    for thread in threads:
        thread.join()
    assert (scene.fetched, found) == (1, [{"key-1"}] * 5)


def test_what_was_fetched_is_newer_than_what_was_kept() -> None:
    """Also where the store was slower than the provider."""
    scene = Scene(kept={"scope": (TWO, START - 5)})
    reading, go_on = threading.Event(), threading.Event()
    at_once = scene.keys

    class Slow(Scene):
        def keys(self, scope: str) -> tuple[str, float] | None:
            if threading.current_thread() is not slow:
                return None
            reading.set()
            assert go_on.wait(30)
            return at_once(scope)

    keys = PublishedKeys(fetch=scene.fetch, store=Slow(), scope="scope", wall=lambda: START)
    slow = threading.Thread(target=keys.known, args=(START,))
    slow.start()
    wait_until(reading.is_set, 10, "the store is read")
    keys.refresh(Occasion.AGE)
    go_on.set()
    slow.join()
    assert ids(keys) == {"key-1"}
