"""Typed values of a policy file, and complaints with their place."""

from collections.abc import Callable
from typing import Any

import pytest

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy.hujson import parse
from pam_tailscale.policy.reading import Reader


def reading(text: str) -> Reader:
    """A reader of a document."""
    return Reader(parse(text.encode(), "policy"))


def test_fields_whatever_their_case() -> None:
    """As Go's encoding/json reads them; null is absent."""
    reader = reading('{"Src": [" a "], "DST": null}')
    fields = reader.fields(reader.document.value, (), {"src", "dst"})
    assert list(fields) == ["src"]
    assert reader.list_of(fields, "src") == ("a",)
    assert reader.list_of(fields, "dst") == ()


def test_the_text_of_a_field() -> None:
    """Empty where it is absent; anything else is a complaint."""
    reader = reading('{"src": " a ", "dst": 1}')
    fields = reader.fields(reader.document.value, ())
    assert (reader.text_of(fields, "src"), reader.text_of(fields, "proto")) == ("a", "")
    with pytest.raises(PolicyFileError, match="a text in double quotes"):
        reader.text_of(fields, "dst")


def test_items_and_members_have_their_place() -> None:
    """The way to each, from the outside in."""
    reader = reading('{"list": ["x"], "names": {" a ": 1}}')
    fields = reader.fields(reader.document.value, ())
    assert list(reader.items(fields["list"])) == [(1, "x", ("list", 0))]
    assert list(reader.members(fields["names"])) == [("a", 1, ("names", " a "))]
    assert list(reader.items(None)) == []
    assert list(reader.members(None)) == []


@pytest.mark.parametrize(
    ("text", "use", "complaint"),
    [
        ("[]", lambda reader, value: reader.fields(value, ()), "1:1: an object is expected here"),
        ('{"a": 1, "A": 2}', lambda reader, value: reader.fields(value, ()), '1:15: this is "A" once more'),
        ('{"a": 1,\\n "b": 2}', lambda reader, value: reader.fields(value, (), {"a"}), '2:7: unknown field "b"'),
        ("[1]", lambda reader, value: reader.texts(value, ()), "1:2: a text in double quotes is expected here"),
        ('"a"', lambda reader, value: reader.texts(value, ()), "1:1: a list is expected here"),
    ],
)
def test_complaints(text: str, use: Callable[[Reader, Any], object], complaint: str) -> None:
    """Each with line and column."""
    reader = reading(text.replace("\\n", "\n"))
    with pytest.raises(PolicyFileError) as raised:
        use(reader, reader.document.value)
    assert f"policy:{complaint}" in str(raised.value)


def test_flags() -> None:
    """True unless false; nothing else stands for either."""
    reader = reading('{"a": true, "b": false, "c": null, "d": 0, "e": "false"}')
    fields = reader.fields(reader.document.value, ())
    assert [reader.flag(fields, name) for name in ("a", "b", "c", "absent")] == [True, False, True, True]
    assert [reader.flag(fields, name, default=False) for name in ("a", "b", "c", "absent")] == [
        True,
        False,
        False,
        False,
    ]
    for name in ("d", "e"):
        with pytest.raises(PolicyFileError, match="true or false is expected here"):
            reader.flag(fields, name)


def test_an_unknown_field_is_told_what_may_stand_there() -> None:
    """Whoever wrote it has to choose another."""
    reader = reading('{"b": 2}')
    with pytest.raises(PolicyFileError) as raised:
        reader.fields(reader.document.value, (), {"src", "dst"})
    assert raised.value.message == 'unknown field "b"'
    assert raised.value.hint.endswith(": dst, src")
    assert str(raised.value).endswith(': unknown field "b": those that may stand here, in any case: dst, src')
