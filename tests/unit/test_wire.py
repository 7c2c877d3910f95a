"""The protocol's messages: what is sent comes back, what is damaged is refused, and the words are the header's."""

import re
from pathlib import Path

import cffi
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pam_tailscale.model
from pam_tailscale import paths, wire
from pam_tailscale.errors import WireError

HEADER = Path(pam_tailscale.__file__).parent / "native" / "tailscale_wire.h"

# Everything that arrives as bytes without NUL: text, and single bytes that are not UTF-8.
STRINGS = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b"").decode("utf-8", "surrogateescape"))
PAIRS = st.dictionaries(STRINGS.filter(lambda key: key not in ("", wire.KEY_VERSION)), STRINGS, max_size=8)


@given(PAIRS)
def test_what_is_sent_comes_back(pairs: dict[str, str]) -> None:
    """Any keys and values, in their order."""
    decoded = wire.decode(wire.encode(pairs))
    assert list(decoded.items()) == list(pairs.items())


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """They are a message or they are refused."""
    try:
        wire.decode(b"version\0001\0" + data)
    except WireError:
        return
    assert data.endswith(b"\0") or not data


def test_the_bytes_of_a_message() -> None:
    """As the specification writes it: the version first, each string ended by NUL."""
    assert wire.encode({"user": "jos\u00e9\udcff"}) == b"version\0001\0user\0jos\xc3\xa9\xff\0"


REFUSED = {
    "nothing": b"",
    "one NUL": b"\0",
    "no final NUL": b"version\0001\0user\0alice",
    "an odd count": b"version\0001\0user\0",
    "no version": b"user\0alice\0",
    "the version not first": b"user\0alice\0version\0001\0",
    "another version": b"version\0002\0",
    "a longer version": b"version\00011\0",
    "an empty version": b"version\0\0",
    "a version with a zero": b"version\00001\0",
    "a key twice": b"version\0001\0user\0a\0user\0b\0",
    "a key twice with one value": b"version\0001\0user\0a\0user\0a\0",
    "the version twice": b"version\0001\0version\0001\0",
    "an empty key": b"version\0001\0\0a\0",
    "too long": b"version\0001\0user\0" + b"a" * wire.MESSAGE_MAX + b"\0",
}


@pytest.mark.parametrize("message", REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_message_is_refused(message: bytes) -> None:
    """By name of what is wrong with it, never by a guess at what was meant."""
    with pytest.raises(WireError):
        wire.decode(message)


def test_unknown_keys_and_empty_values_are_fine() -> None:
    """So that either side can grow."""
    assert wire.decode(b"version\0001\0new\0\0") == {"new": ""}


def test_a_message_may_be_as_long_as_the_limit() -> None:
    """And not one byte longer."""
    overhead = len(wire.encode({"user": ""}))
    longest = wire.encode({"user": "a" * (wire.MESSAGE_MAX - overhead)})
    assert len(longest) == wire.MESSAGE_MAX
    wire.decode(longest)
    with pytest.raises(WireError, match="longer than 8192"):
        wire.encode({"user": "a" * (wire.MESSAGE_MAX - overhead + 1)})


@pytest.mark.parametrize("pairs", [{"user": "a\0b"}, {"a\0b": "c"}, {"user": "\ud800"}])
def test_what_cannot_be_sent_is_refused(pairs: dict[str, str]) -> None:
    """A NUL would end the string early; half a surrogate pair stands for no bytes."""
    with pytest.raises(WireError):
        wire.encode(pairs)


def _header() -> dict[str, int | str]:
    """The header's numbers, as a C compiler's reader sees them, and its words."""
    text = HEADER.read_text()
    numbers = re.findall(r"^#define TSW_(\w+) (\d+)", text, re.MULTILINE)
    ffi = cffi.FFI()
    ffi.cdef("\n".join(f"#define TSW_{name} {value}" for name, value in numbers))
    library = ffi.dlopen(None)
    words = re.findall(r'^#define TSW_(\w+) "([^"]*)"', text, re.MULTILINE)
    known: dict[str, int | str] = dict(words)
    return known | {name: int(getattr(library, f"TSW_{name}")) for name, _ in numbers}


def test_python_and_the_header_agree() -> None:
    """Every number and word of the header, and none besides."""
    header = _header()
    elsewhere = {name for name in header if name.startswith(("METHOD_", "PHASE_", "MODE_"))} | {"SOCKET"}
    python = {name: value for name, value in vars(wire).items() if name.isupper()}
    assert {name: value for name, value in header.items() if name not in elsewhere} == python


def test_the_enums_and_the_header_agree() -> None:
    """Methods, phases and modes are enums in Python."""
    header = _header()
    for prefix, kind in (("METHOD", "Method"), ("PHASE", "Phase"), ("MODE", "Mode")):
        words = {value for name, value in header.items() if name.startswith(f"{prefix}_")}
        assert words == {member.value for member in getattr(pam_tailscale.model, kind)}


def test_the_socket_is_where_the_header_says() -> None:
    """The shims' default."""
    assert _header()["SOCKET"] == str(paths.AGENT_SOCKET)
