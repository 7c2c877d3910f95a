"""JSON that has one meaning: everything else is no object."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.check.strict import parse_object


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        (b"", "Expecting value"),
        ("null", "no object"),
        ("[]", "no object"),
        ('"x"', "no object"),
        ("7", "no object"),
        ("{", "Expecting property name"),
        ("{} {}", "Extra data"),
        ('{"a":1,"a":1}', "twice"),
        ('{"a":1,"\\u0061":2}', "twice"),
        ('{"x":{"a":1,"a":2}}', "twice"),
        ('[{"a":1,"a":2}]', "twice"),
        ('{"a":NaN}', "no number"),
        ('{"a":[Infinity]}', "no number"),
        ('{"a":-Infinity}', "no number"),
        ('{"a":1e999}', "too large"),
        ('{"a":-1e999}', "too large"),
        ('{"a":%s}' % ("9" * 21), "too large"),
        ('{"a":%s}' % ("9" * 5000), "too large"),
        (b'{"a":"\xff"}', "no UTF-8"),
        ('{"a":1}'.encode("utf-16"), "no UTF-8"),
        ('{"a":1}'.encode("utf-16-le"), "Expecting property name"),
        (b'\xef\xbb\xbf{"a":1}', "BOM"),
        ('{"a":%s}' % ("[" * 100_000), "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
    ],
    ids=range(25),
)
def test_what_is_refused(text: str | bytes, problem: str) -> None:
    """A reader that is less strict could take it for something else."""
    with pytest.raises(ValueError, match=problem):
        parse_object(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{}", {}),
        (b' {"a": [1, 1.5, true, null, "\xc3\xa9"]} ', {"a": [1, 1.5, True, None, "\xe9"]}),
        ('{"a":{"b":1},"c":{"b":1}}', {"a": {"b": 1}, "c": {"b": 1}}),
        ('{"a":12345678901234567890}', {"a": 12345678901234567890}),
    ],
    ids=["empty", "every kind", "the same name in two objects", "the largest number"],
)
def test_what_is_read(text: str | bytes, value: object) -> None:
    """Ordinary JSON means what it says."""
    assert parse_object(text) == value


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_nothing_but_value_error(text: bytes | str) -> None:
    """Whatever comes in: an object, or one kind of error."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse_object(text), dict)


def test_an_error_says_nothing_of_the_text() -> None:
    """It may be about a token."""
    with pytest.raises(ValueError, match="delimiter") as caught:
        parse_object('{"secret-word": "secret-word" secret-word')
    assert "secret-word" not in str(caught.value)
