"""What may be in a store of evidence, and what of it counts first."""

import math

import pytest

from pam_tailscale.check.evidence import (
    AHEAD_MAX,
    NOT_BEFORE_KEEP,
    TOKEN_MAX,
    TOKENS_MAX,
    Entry,
    believable,
    fits,
    newest,
    person_key,
    require_token,
)
from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret

NOW = 1_800_000_000.0


def test_a_key_names_nobody_and_belongs_to_one_scope() -> None:
    """And scope and person cannot be told to be split elsewhere."""
    keys = {
        person_key("a", "b"),
        person_key("ab", ""),
        person_key("", "ab"),
        person_key("b", "b"),
        person_key("a", "c"),
    }
    assert len(keys) == 5
    assert all(len(key) == 64 and set(key) <= set("0123456789abcdef") for key in keys)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", False),
        (" ", False),
        ("a b", False),
        ("a\n", False),
        ("\x7f", False),
        ("\0", False),
        ("\u00e9", False),
        ("\ud800", False),
        ("x" * (TOKEN_MAX + 1), False),
        ("x" * TOKEN_MAX, True),
        ("eyJ.eyJ.c2ln", True),
    ],
    ids=["empty", "blank", "words", "newline", "DEL", "NUL", "accent", "surrogate", "too long", "longest", "token"],
)
def test_what_can_be_a_token(token: str, expected: bool) -> None:  # noqa: FBT001
    """As text from the provider and as bytes from a store."""
    assert fits(token) is expected
    assert fits(token.encode("utf-8", "surrogatepass")) is expected
    if not expected:
        with pytest.raises(CheckError, match="claims"):
            require_token(Secret(token))


@pytest.mark.parametrize("moment", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_none(moment: float) -> None:
    """Is an error, whose text has nothing of the token."""
    with pytest.raises(CheckError) as caught:
        require_token(Secret("eyJ"), NOW, moment)
    assert "eyJ" not in str(caught.value)


def entry(name: str, authenticated: float) -> Entry:
    """An entry with this token."""
    return Entry(Secret(name), authenticated)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], []),
        ([entry("a", 1)], ["a"]),
        ([entry("a", 1), entry("b", 2)], ["b", "a"]),
        ([entry("a", 1), entry("a", 3), entry("b", 2)], ["a", "b"]),
        ([entry(str(number), number) for number in range(9)], ["8", "7", "6", "5"]),
    ],
    ids=["none", "one", "two", "one twice", "many"],
)
def test_the_newest_are_kept(entries: list[Entry], expected: list[str]) -> None:
    """In their order, each once."""
    assert [one.token.reveal() for one in newest(entries)] == expected
    assert len(expected) <= TOKENS_MAX


def test_an_entry_shows_no_token() -> None:
    """Not in a log, not in a failing test."""
    assert "eyJ" not in repr(entry("eyJ", 1))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (math.nan, False),
        (math.inf, False),
        (-math.inf, False),
        (0.0, False),
        (NOW - NOT_BEFORE_KEEP - 1, False),
        (NOW - NOT_BEFORE_KEEP, True),
        (NOW, True),
        (NOW + AHEAD_MAX, True),
        (NOW + AHEAD_MAX + 1, False),
    ],
)
def test_a_not_before_that_can_be_meant(moment: float, expected: bool) -> None:  # noqa: FBT001
    """One from the future would shut a person out until then."""
    assert believable(moment, NOW) is expected


def test_a_person_has_one_key_however_they_are_written() -> None:
    """In ASCII: a letter that only looks like another is another person's."""
    assert person_key("scope", "Alice@Example.COM") == person_key("scope", "alice@example.com")
    assert person_key("scope", "\u212aate") != person_key("scope", "kate")
