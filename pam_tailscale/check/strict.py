"""JSON that can be read in one way only: what one reader overlooks, another may believe. Pure."""

import json
import math
from typing import Any, NoReturn

_DIGITS_MAX = 20  # no number of ours is larger than a time in nanoseconds


def parse_object(text: str | bytes) -> dict[str, Any]:
    """An object in JSON, as UTF-8 where it comes as bytes (RFC 8259 section 8.1).

    Names that repeat, NaN, infinities and huge numbers are refused, in every depth. Raises ValueError, whose text holds
    nothing of the input but a position.
    """
    try:
        plain = text.decode("utf-8") if isinstance(text, bytes) else text
        value = json.loads(
            plain, object_pairs_hook=_unique, parse_int=_int, parse_float=_float, parse_constant=_no_constant
        )
    except UnicodeDecodeError:
        raise ValueError("no UTF-8") from None
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(value, dict):
        raise ValueError("no object")  # noqa: TRY004 (it is the text that is wrong, not its type)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _int(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise ValueError("a number is too large")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _no_constant(_: str) -> NoReturn:
    raise ValueError("something that is no number")
