"""Durations as Go's time package reads and writes them (time.ParseDuration, Duration.String), in nanoseconds.

The control plane validates a checkPeriod with them, and its messages have their words.
"""

import re
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_MAX: Final = (1 << 63) - 1
_SECOND: Final = _UNITS["s"]
QUOTED_MAX: Final = 256
"""Characters of a text that a message repeats."""
_LENGTH_MAX: Final = 100
"""Characters of a duration. Go reads longer ones, which say nothing that this many cannot."""


def parse(text: str) -> int:
    """Nanoseconds. Raises ValueError with Go's own words."""
    sign, rest = (text[0], text[1:]) if text[:1] in ("-", "+") else ("+", text)
    if rest == "0":
        return 0
    invalid = ValueError(f"time: invalid duration {quote(text)}")
    if not rest or len(text) > _LENGTH_MAX:
        raise invalid
    total = position = 0
    while position < len(rest):
        match = _PART.match(rest, position)
        if match is None or not (match[1] or match[2]):
            raise invalid
        if not match[3]:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        if match[3] not in _UNITS:
            raise ValueError(f"time: unknown unit {quote(match[3])} in duration {quote(text)}")
        if len(match[0]) > len(str(_MAX)) * 2:
            raise invalid
        total += int(Decimal(f"{match[1] or 0}.{match[2] or 0}") * _UNITS[match[3]])
        if total > _MAX:
            raise invalid
        position = match.end()
    return -total if sign == "-" else total


def text_of(nanoseconds: int) -> str:
    """As Go prints a duration: `1h0m1s`, `-1m0s`, `1.5s`, `0s`."""
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < _SECOND:
        unit = next((unit for unit in ("ms", "µs", "ns") if left >= _UNITS[unit]), "s")
        return f"{sign}{_fraction(left, _UNITS[unit])}{unit}"
    hours, left = divmod(left, _UNITS["h"])
    minutes, left = divmod(left, _UNITS["m"])
    seconds = f"{_fraction(left, _SECOND)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else f"{sign}{seconds}"


def _fraction(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def quote(text: str) -> str:
    """In double quotes, as Go's %q for what can be printed; a long one is cut."""
    return f'"{shortened(text)}"'


def shortened(text: str) -> str:
    """The same without the quotes."""
    shown = text if len(text) <= QUOTED_MAX else f"{text[:QUOTED_MAX]}…"
    return "".join(_escaped(character) for character in shown)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return {"\t": r"\t", "\n": r"\n", "\r": r"\r"}.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 0x80 else f"\\u{ord(character):04x}"  # noqa: PLR2004 (ASCII)
    )
