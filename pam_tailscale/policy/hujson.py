"""HuJSON, JSON with comments and trailing commas (github.com/tailscale/hujson), read by Python's own JSON reader.

Comments and commas that JSON does not know become spaces first, so that every offset still means the same place of the
file. Stricter than Python: no key twice in an object, no NaN or infinity, no half of a surrogate pair. What the values
mean is not known here.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.godurations import quote

BYTES_MAX: Final = 64 << 20
"""Far more than any policy: the control plane's own limit is much lower."""
_DEEP: Final = 100
DIGITS_MAX: Final = 400
"""Of one number; Go's float64 has fewer before it overflows."""

_WORDS: Final = {
    "Expecting value": "a value is expected here",
    "Expecting property name enclosed in double quotes": "a key in double quotes is expected here",
    # The two that Python has from 3.13 on, where it said the two above before.
    "Illegal trailing comma before end of array": "a value is expected here",
    "Illegal trailing comma before end of object": "a key in double quotes is expected here",
    "Expecting ':' delimiter": "a colon is expected here, between key and value",
    "Expecting ',' delimiter": "a comma is expected here, or the end of the object or list",
    "Extra data": "the value is complete before this: nothing but comments may follow",
    "Unterminated string starting at": "this text is not closed: a double quote is missing",
    "Invalid control character at": "a line break or tab cannot stand in a text as it is: write \\n or \\t",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "the file begins with a byte order mark: save it without one",
}
"""json.JSONDecodeError's messages in words of ours; others stay as they are."""

Path = tuple[str | int, ...]
"""The way to a value: keys and positions, from the outside in."""

# Strings and comments that are not closed reach to the end: they are then met once, not again from each quote in them.
_COMMENT: Final = r"//[^\n]*+|/\*.*?(?:\*/|\Z)"
_STRING: Final = r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)'
_SPACE: Final = rf"(?:[ \t\r\n]|{_COMMENT})*+"
# A comma after an opening bracket is matched together with it: no value is before it, so it is not blanked.
_NOT_JSON: Final = re.compile(rf"{_STRING}|{_COMMENT}|[{{\[]{_SPACE},|,(?={_SPACE}[\]}}])", re.DOTALL)
_BLANKED: Final = re.compile(rf"{_COMMENT}|^,", re.DOTALL)
_VISIBLE: Final = re.compile(r"[^\n]")
_TOKEN: Final = re.compile(rf'{_STRING}|[{{}}\[\],:]|[^\s{{}}\[\],:"]+', re.DOTALL)
_MAY_BE_HALF: Final = re.compile(r"\\u[dD][89a-fA-F]")
_HALF: Final = re.compile("[\\ud800-\\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read."""

    name: str
    """As it is named in errors."""
    value: Any
    text: str
    """Comments and trailing commas as spaces."""

    def error(self, path: Path, message: str) -> PolicyFileError:
        """An error about the value at a path, or about the object that should have it."""
        return _error(self.name, self.text, _offset(self.text, path), message)


class _DuplicateKeyError(Exception):
    """One object has a key twice."""


class _OpenCommentError(Exception):
    """A comment reaches to the end of the file. Its argument is where it begins."""


class _NumberError(Exception):
    """A number that JSON does not know, or that is larger than any of Go's."""


def parse(data: bytes, name: str) -> Document:
    """Read a file's content. Raises PolicyFileError with line and column, both counted from 1."""
    if len(data) > BYTES_MAX:
        raise PolicyFileError(f"the file has {len(data)} bytes, and a policy at most {BYTES_MAX}", name)
    try:
        text = data.decode()
    except UnicodeDecodeError as err:
        before = data[: err.start].decode()
        raise _error(name, before, len(before), f"byte {data[err.start]:#04x} is not UTF-8") from None
    try:
        text = _NOT_JSON.sub(_blank, text)
    except _OpenCommentError as err:
        raise _error(name, text, err.args[0], "this comment is not closed: */ is missing") from None
    return Document(name, _value(text, name), text)


def _value(text: str, name: str) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no, parse_int=_integer, parse_float=_float)
    except json.JSONDecodeError as err:
        raise _error(name, text, err.pos, _complaint(text, err)) from None
    except _DuplicateKeyError:
        place, key = _second_key(text)
        raise _error(name, text, place, f"the key {quote(key)} stands twice in one object: keep one") from None
    except _NumberError as err:
        message = "this number is too large, or none that JSON knows"
        raise _error(name, text, _token(text, str(err)), message) from None
    except RecursionError:
        raise _error(name, text, _deepest(text), "values are nested too deeply here") from None
    if _MAY_BE_HALF.search(text) and (offset := _half_pair(text)) is not None:
        raise _error(name, text, offset, "there is half of a surrogate pair in this text: write the character itself")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeyError
    return found


def _no(text: str) -> NoReturn:
    raise _NumberError(text)


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise _NumberError(text)
    return int(text)


def _float(text: str) -> float:
    if len(text) > DIGITS_MAX or math.isinf(value := float(text)):
        raise _NumberError(text)
    return value


def _blank(match: re.Match[str]) -> str:
    text = match[0]
    if text.startswith("/*") and not text.endswith("*/", 2):
        raise _OpenCommentError(match.start())
    return text if text[0] == '"' else _BLANKED.sub(_spaces, text)


def _spaces(match: re.Match[str]) -> str:
    return _VISIBLE.sub(" ", match[0])


# What follows looks for the place of an error, and is slow: it runs once, where there is one.


@dataclass(slots=True)
class _Frame:
    """An object or array that is open."""

    is_object: bool
    step: str | int | None
    """The key or position of the value that comes next; None where a key comes next."""
    offset: int
    """Where the key of that value is; of an array's, where the array began."""
    keys: set[str] = field(default_factory=set)
    """Of an object, those that `_second_key` has seen."""


def _walk(text: str) -> Iterator[tuple[int, str, list[_Frame]]]:
    """Offset and text of every key and of every value's beginning, and what is open around it, of JSON without errors.

    The frames are the same objects all the time. Of a key the innermost frame has no step yet.
    """
    frames: list[_Frame] = []
    for match in _TOKEN.finditer(text):
        word, offset = match[0], match.start()
        top = frames[-1] if frames else None
        if word in "}]":
            frames.pop()
        elif word == ",":
            if top is not None:
                top.step = None if isinstance(top.step, str) else _following(top.step)
        elif word == ":":
            continue
        else:
            yield offset, word, frames
            if word in "{[":
                frames.append(_Frame(word == "{", None if word == "{" else 0, offset))
            elif top is not None and top.is_object and top.step is None:
                top.step, top.offset = json.loads(word), offset


def _following(step: int | None) -> int | None:
    return None if step is None else step + 1


def _offset(text: str, path: Path) -> int:
    """Where the value at a path begins; where there is none, the innermost one on the way to it."""
    found = 0
    best = -1
    for offset, _, frames in _walk(text):
        if not best < len(frames) <= len(path):
            continue
        if tuple(frame.step for frame in frames) == path[: len(frames)]:
            found, best = offset, len(frames)
        if best == len(path):
            break
    return found


def _second_key(text: str) -> tuple[int, str]:
    for offset, word, frames in _walk(text):
        if frames and frames[-1].is_object and frames[-1].step is None:
            key: str = json.loads(word)
            if key in frames[-1].keys:
                return offset, key
            frames[-1].keys.add(key)
    raise ValueError("no key stands twice")


def _token(text: str, wanted: str) -> int:
    # Begins with it: what follows a number without a space belongs to the token.
    return next(match.start() for match in _TOKEN.finditer(text) if match[0].startswith(wanted))


def _half_pair(text: str) -> int | None:
    for match in _TOKEN.finditer(text):
        if match[0][0] == '"' and _HALF.search(json.loads(match[0])):
            return match.start()
    return None


def _deepest(text: str) -> int:
    depth, found, most = 0, 0, 0
    for match in _TOKEN.finditer(text):
        depth += (match[0] in "{[") - (match[0] in "}]")
        if depth > most:
            most, found = depth, match.start()
        if most > _DEEP:
            break
    return found


def _complaint(text: str, err: json.JSONDecodeError) -> str:
    """What is wrong, in words about the file and not about Python."""
    if not text.strip():
        return "the file is empty: a policy is an object, and {} the empty one"
    rest = text[err.pos : err.pos + 1]
    if not rest.strip() and not text[err.pos :].strip():
        return "the file ends before its value does: something is not closed"
    return _WORDS.get(err.msg, f"{err.msg[:1].lower()}{err.msg[1:]}")


def _error(name: str, text: str, offset: int, message: str) -> PolicyFileError:
    line = text.count("\n", 0, offset) + 1
    column = offset - text.rfind("\n", 0, offset)
    return PolicyFileError(message, name, line, column)
