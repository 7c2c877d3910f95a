"""Durations are read and written as Go does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.policy.godurations import QUOTED_MAX, parse, quote, shortened, text_of

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("0s", 0),
        ("5s", 5 * SECOND),
        ("+5s", 5 * SECOND),
        ("-1m", -60 * SECOND),
        ("12h", 43_200 * SECOND),
        ("1h30m", 5400 * SECOND),
        ("30m1h", 5400 * SECOND),
        ("1m1m", 120 * SECOND),
        ("1.5h", 5400 * SECOND),
        (".5s", SECOND // 2),
        ("1.s", SECOND),
        ("168h0m1s", (168 * 3600 + 1) * SECOND),
        ("3ns", 3),
        ("3us", 3000),
        ("3µs", 3000),
        ("3μs", 3000),
        ("3ms", 3_000_000),
        ("9223372036.854775807s", (1 << 63) - 1),
        ("2562047h47m16.854775807s", (1 << 63) - 1),
    ],
)
def test_what_is_read(text: str, nanoseconds: int) -> None:
    """In any order of units."""
    assert parse(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("abc", 'time: invalid duration "abc"'),
        (".", 'time: invalid duration "."'),
        (".s", 'time: invalid duration ".s"'),
        ("--1s", 'time: invalid duration "--1s"'),
        ("1s ", 'time: unknown unit "s " in duration "1s "'),
        (" 1s", 'time: invalid duration " 1s"'),
        ("3", 'time: missing unit in duration "3"'),
        ("1h3", 'time: missing unit in duration "1h3"'),
        ("1.2.3s", 'time: missing unit in duration "1.2.3s"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1H", 'time: unknown unit "H" in duration "1H"'),
        ("1s\n", 'time: unknown unit "s\\n" in duration "1s\\n"'),
        ("\N{ARABIC-INDIC DIGIT ONE}h", 'time: invalid duration "\N{ARABIC-INDIC DIGIT ONE}h"'),
        ("9223372036.854775808s", 'time: invalid duration "9223372036.854775808s"'),
        ("2562048h", 'time: invalid duration "2562048h"'),
        ("1562048h1000000h", 'time: invalid duration "1562048h1000000h"'),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    """In Go's words."""
    with pytest.raises(ValueError, match=r"^time: ") as caught:
        parse(text)
    assert str(caught.value) == message


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    ["9" * 5_000_000 + "h", "1ns" * 1_600_000, "1ns" * 1_000_000 + "x", "0." + "1" * 5_000_000 + "s"],
    ids=["digits", "parts", "parts and what is none", "digits after the point"],
)
def test_long_texts_are_refused_soon(text: str) -> None:
    """And not repeated."""
    with pytest.raises(ValueError, match=r"^time: invalid duration") as caught:
        parse(text)
    assert len(str(caught.value)) < 1000


def test_a_text_may_have_a_hundred_characters() -> None:
    """More say nothing that these cannot."""
    assert parse("1ns" * 33) == 33
    with pytest.raises(ValueError, match=r"^time: invalid duration"):
        parse("1ns" * 34)


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (999_999_999, "999.999999ms"),
        (SECOND, "1s"),
        (3_300_000_000, "3.3s"),
        (60 * SECOND, "1m0s"),
        (-60 * SECOND, "-1m0s"),
        (245 * SECOND, "4m5s"),
        (3601 * SECOND, "1h0m1s"),
        (168 * 3600 * SECOND, "168h0m0s"),
        (18_367_001_000_000, "5h6m7.001s"),
        ((1 << 63) - 1, "2562047h47m16.854775807s"),
    ],
)
def test_what_is_written(nanoseconds: int, text: str) -> None:
    """As Duration.String does."""
    assert text_of(nanoseconds) == text


@given(st.integers(-(1 << 63) + 1, (1 << 63) - 1))
def test_what_is_written_is_read(nanoseconds: int) -> None:
    """To the nanosecond."""
    assert parse(text_of(nanoseconds)) == nanoseconds


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", '"a b"'),
        ("", '""'),
        ('say "x" \\ y', r'"say \"x\" \\ y"'),
        ("tag:сервер", '"tag:сервер"'),
        ("a\tb\nc\rd", r'"a\tb\nc\rd"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'),
        ("\u202e\u200b", r'"\u202e\u200b"'),
        ("x" * QUOTED_MAX, f'"{"x" * QUOTED_MAX}"'),
        ("x" * (QUOTED_MAX + 1), f'"{"x" * QUOTED_MAX}…"'),
    ],
)
def test_quoting(text: str, quoted: str) -> None:
    """Nothing that a terminal acts on, and no page of it."""
    assert quote(text) == quoted


def test_the_same_without_quotes() -> None:
    """Where the control plane's message has none."""
    assert shortened('a"b') == 'a\\"b'
    assert len(shortened("x" * 5_000_000)) == QUOTED_MAX + 1
