"""HuJSON: what is read, and where an error is."""

import json
import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy import hujson
from pam_tailscale.policy.hujson import parse
from tests.fuzz.targets import TARGETS
from tests.support import hujson_texts


def value(text: str) -> Any:
    """What a text means."""
    return parse(text.encode(), "policy").value


def refusal(data: str | bytes) -> PolicyFileError:
    """Why it is not read."""
    with pytest.raises(PolicyFileError) as caught:
        parse(data.encode() if isinstance(data, str) else data, "policy")
    return caught.value


READ: dict[str, tuple[str, Any]] = {
    "nothing but JSON": ('{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
    "a value alone": ("1", 1),
    "comments everywhere": ("/*a*/{//b\n/*c*/ 'k'/**/:/*d*/1/*e*/}//f", {"k": 1}),
    "a comment to the end of the file": ("1 // no line end", 1),
    "a comment over lines": ("[1, /* two\nlines */ 2]", [1, 2]),
    "stars in a comment": ("/***/1/* * / **/", 1),
    "a comment in a comment": ("/* // */ 1 // /* ", 1),
    "a trailing comma": ("[1,]", [1]),
    "trailing commas": ("{'a': [1, 2,], 'b': {'c': 1,},}", {"a": [1, 2], "b": {"c": 1}}),
    "comments after a trailing comma": ("[1, // one\n /* all */ ]", [1]),
    "no comment in a text": ("['// a', '/* b */', '*/']", ["// a", "/* b */", "*/"]),
    "no comma in a text": ("[',]', ',}']", [",]", ",}"]),
    "quotes in a text": (r"['\'//', '\\', '//']", ['"//', "\\", "//"]),
    "quotes in a comment": ("[1, // it's 'quoted\n 2]", [1, 2]),
    "other writing": ("['ж', '\\u0436', '\N{PILE OF POO}']", ["ж", "ж", "\N{PILE OF POO}"]),
    "a whole surrogate pair": (r"'\ud83d\udca9'", "\N{PILE OF POO}"),
    "no surrogate at all": (r"'\\ud800'", r"\ud800"),
    "keys that differ in case": ("{'a': 1, 'A': 2}", {"a": 1, "A": 2}),
    "the same key in other objects": ("[{'a': 1}, {'a': {'a': 2}}]", [{"a": 1}, {"a": {"a": 2}}]),
}


@pytest.mark.parametrize(("text", "wanted"), READ.values(), ids=READ.keys())
def test_what_is_read(text: str, wanted: Any) -> None:
    """Written with single quotes here, to be seen."""
    assert value(text.replace("'", '"')) == wanted


A_VALUE, A_KEY = "a value is expected here", "a key in double quotes is expected here"
COMMA, ENDS = "a comma is expected here", "the file ends before its value does"
REFUSED: dict[str, tuple[str, int, int, str]] = {
    "nothing": ("", 1, 1, "the file is empty"),
    "nothing but spaces": (" \n ", 2, 2, "the file is empty"),
    "nothing but a comment": ("// nothing\n", 2, 1, "the file is empty"),
    "an object is open": ("{'a': 1", 1, 8, ENDS),
    "a list is open": ("[\n  1,\n", 3, 1, ENDS),
    "a text is open": ("[\n  'a]", 2, 3, "this text is not closed"),
    "a comment is open": ("[1]\n /* never", 2, 2, "this comment is not closed: */ is missing"),
    "a comment that only looks closed": ("[1] /*/", 1, 5, "this comment is not closed: */ is missing"),
    "a slash": ("[1, / 2]", 1, 5, A_VALUE),
    "no comma": ("{\n 'a': 1 // one\n 'b': 2}", 3, 2, COMMA),
    "no comma in a list": ("[1 2]", 1, 4, COMMA),
    "no colon": ("{'a' 1}", 1, 6, "a colon is expected here"),
    "no value": ("{'a': }", 1, 7, A_VALUE),
    "a key without quotes": ("{a: 1}", 1, 2, A_KEY),
    "a number as key": ("{1: 1}", 1, 2, A_KEY),
    "a comma alone in a list": ("[,]", 1, 2, A_VALUE),
    "a comma alone in an object": ("{ // none\n ,}", 2, 2, A_KEY),
    "a comma that begins": ("[,1]", 1, 2, A_VALUE),
    "a word": ("[1, yes]", 1, 5, A_VALUE),
    "two values": ("{} // one\n{}", 2, 1, "nothing but comments may follow"),
    "a comma after everything": ("{},", 1, 3, "nothing but comments may follow"),
    "a bracket too many": ("[1]]", 1, 4, "nothing but comments may follow"),
    "the wrong bracket": ("[1}", 1, 3, COMMA),
    "a line break in a text": ("['a\nb']", 1, 4, "a line break or tab cannot stand in a text"),
    "a tab in a text": ("['a\tb']", 1, 4, "a line break or tab cannot stand in a text"),
    "an escape that is none": (r"['a\x']", 1, 4, r"invalid \escape"),
    "a byte order mark": ("\ufeff{}", 1, 1, "byte order mark"),
    "a number with zeros before it": ("[01]", 1, 3, COMMA),
    "a number without digits before the point": ("[.5]", 1, 2, A_VALUE),
    "not a number": ("{'a':\n  NaN}", 2, 3, "this number is too large, or none that JSON knows"),
    "infinity": ("[1, -Infinity]", 1, 5, "this number is too large"),
    "not a number, and more": ("[NaNs]", 1, 2, "this number is too large"),
    "more than Go's floats": ("[1e999]", 1, 2, "this number is too large"),
    "more than they, and more": ("[-1e999x]", 1, 2, "this number is too large"),
    "half a pair": ("['a',\n '\\ud800']", 2, 2, "half of a surrogate pair"),
    "half a pair as key": ("{'\\udc00': 1}", 1, 2, "half of a surrogate pair"),
    "halves in the wrong order": ("['\\udca9\\ud83d']", 1, 2, "half of a surrogate pair"),
}


@pytest.mark.parametrize(("text", "line", "column", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(text: str, line: int, column: int, message: str) -> None:
    """With file, line and column of what is wrong."""
    err = refusal(text.replace("'", '"'))
    assert message in err.message
    assert str(err) == f"policy:{line}:{column}: {err.message}"


@pytest.mark.parametrize("text", ["[1,,]", "[1,,2]", '{"a": 1,,}', "[1 // one\n,,]"])
def test_two_commas_are_refused(text: str) -> None:
    """The column is Python's: the first comma from 3.13 on, the second or behind it before."""
    err = refusal(text)
    assert err.message in (A_VALUE, A_KEY)
    first = text.index(",,")
    assert err.line == text.count("\n") + 1
    assert err.column - (first - text.rfind("\n")) in (0, 1, 2)


def test_a_key_that_stands_twice() -> None:
    """The second one is named, however it is spelled, and not one of the same name in another object."""
    err = refusal('[{"a": 1}, {"a": 1},\n {"b": {"a": 1}, "c": 1, "\\u0062": 2}]')
    assert str(err) == 'policy:2:26: the key "b" stands twice in one object: keep one'
    assert refusal('{"a": {"x": 1, "x": 2}').column == 16
    assert refusal('{"": 1, "": 2}').column == 9


def test_bytes_that_are_no_text() -> None:
    """The byte's place, in characters."""
    err = refusal('{\n "ж": "'.encode() + b"\xff" + b'"}')
    assert str(err) == "policy:2:8: byte 0xff is not UTF-8"
    assert refusal(b"\xed\xa0\x80").message == "byte 0xed is not UTF-8"


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not looked into."""
    monkeypatch.setattr(hujson, "BYTES_MAX", 3)
    assert value("[1]") == [1]
    err = refusal("[10]")
    assert str(err) == "policy: the file has 4 bytes, and a policy at most 3"
    assert (err.line, err.column) == (0, 0)


def test_numbers_up_to_a_length() -> None:
    """Python would take quadratic time for longer ones; Go's floats end at 309 digits."""
    assert value("9" * hujson.DIGITS_MAX) == int("9" * hujson.DIGITS_MAX)
    assert value("1e308") == 1e308
    for text in ("9" * (hujson.DIGITS_MAX + 1), "0." + "1" * hujson.DIGITS_MAX, "9" * 5_000_000):
        assert (refusal(text).line, refusal(text).column) == (1, 1)


def test_a_hundred_levels_are_read_and_a_hundred_thousand_refused() -> None:
    """Where the hundredth level is left is where the error is."""
    assert value("[" * 100 + "]" * 100) is not None
    deep = '{"a":\n' * 100_000 + "1" + "}" * 100_000
    err = refusal(deep)
    assert (err.message, err.line, err.column) == ("values are nested too deeply here", 101, 1)
    assert refusal("[" * 100_000).message == "values are nested too deeply here"


LONG, MANY = 5_000_000, 500_000
LARGE: dict[str, str] = {
    "a text": f'["{"x" * LONG}"]',
    "escapes": '["' + r"\n" * (LONG // 2) + '"]',
    "a key": f'{{"{"k" * LONG}": 1}}',
    "a comment": f"[1 /*{'*' * LONG}*/]",
    "spaces after a comma": f"[1,{' ' * LONG}]",
    "many comments": "[1" + "/**/" * MANY + "]",
    "many lines of comments": "[1" + "//\n" * MANY + "]",
    "many spaces after many commas": "[" + f"1,{' ' * 1000}" * (LONG // 1000) + "]",
    "many keys": "{" + ",".join(f'"{number}":0' for number in range(MANY)) + "}",
}
LARGE_REFUSED: dict[str, str] = {
    "an open text": '"' * (LONG + 1),
    "an open text of escapes": '"' + r"\"" * LONG,
    "an open comment": "/*" * MANY,
    "open comments after commas": ",/*" * MANY,
    "open comments after brackets": "[/*" * MANY,
    "commas": "," * LONG,
    "commas after a bracket": "[" + "," * LONG,
    "slashes": "/ " * LONG,
    "brackets": "[" * LONG,
    "the last of many keys": "{" + "".join(f'"{number}":0,' for number in range(MANY)) + '"0":1}',
    "half a pair after many that may be": '["' + r"\\ud800" * MANY + r'","\ud800"]',
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE.keys())
def test_large_files_are_read(text: str) -> None:
    """5 MB take a second or two; in quadratic time hours would not be enough."""
    assert value(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", LARGE_REFUSED.values(), ids=LARGE_REFUSED.keys())
def test_large_files_are_refused(text: str) -> None:
    """As soon, and in words that fit on a page."""
    err = refusal(text)
    assert err.line == 1
    assert len(str(err)) < 1000


def test_a_message_does_not_repeat_a_long_key() -> None:
    """It is cut."""
    key = "k" * 5_000_000
    assert len(str(refusal(f'{{"{key}": 1, "{key}": 2}}'))) < 1000


DOCUMENT = textwrap.dedent("""\
    // first line
    {
      "ssh": [ // entries
        {"src": ["a", "b",], "users": []},
        /* second */ {"src": [["c"]], "dst": {"x": 1}},
      ],
      "groups": {"group:a": ["a", ["b", 3]]},
    }
    """)


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ((), 2, 1),
        (("ssh",), 3, 10),
        (("ssh", 0), 4, 5),
        (("ssh", 0, "src"), 4, 13),
        (("ssh", 0, "src", 0), 4, 14),
        (("ssh", 0, "src", 1), 4, 19),
        (("ssh", 0, "users"), 4, 35),
        (("ssh", 1), 5, 18),
        (("ssh", 1, "src", 0, 0), 5, 28),
        (("ssh", 1, "dst", "x"), 5, 48),
        (("groups", "group:a", 1, 1), 7, 37),
        (("ssh", 0, "action"), 4, 5),  # the object that should have it
        (("ssh", 9), 3, 10),
        (("hosts",), 2, 1),
        (("groups", "group:a", "x"), 7, 25),
    ],
)
def test_where_a_value_is(path: hujson.Path, line: int, column: int) -> None:
    """Of a value that is not there, the innermost on the way to it."""
    err = parse(DOCUMENT.encode(), "policy").error(path, "wrong")
    assert (err.line, err.column, err.file, err.message) == (line, column, "policy", "wrong")


def test_columns_are_characters() -> None:
    """As editors count them, whatever bytes they take."""
    err = parse('{"жж": [1, "ж", x]}'.replace("x", "2").encode(), "policy").error(("жж", 2), "wrong")
    assert (err.line, err.column) == (1, 17)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON_VALUES, st.randoms(use_true_random=False))
def test_with_comments_and_commas_as_without(wanted: Any, random: Any) -> None:
    """JSON, with comments between its tokens and commas before its closing brackets, means the same."""
    decorated = hujson_texts.decorated(json.dumps(wanted, ensure_ascii=random.random() < 0.5), random)
    document = parse(decorated.encode(), "policy")
    assert document.value == wanted
    assert len(document.text) == len(decorated), "every offset is still the same place"
    assert json.loads(document.text) == wanted
    assert document.text.count("\n") == decorated.count("\n")
    assert parse(json.dumps(wanted).encode(), "policy").value == wanted


@given(st.binary() | (st.text(alphabet='{}[]",:/* \n\\1eNa\u00e9') | st.text()).map(str.encode))
def test_any_bytes_are_a_value_or_a_refusal(data: bytes) -> None:
    """And every place is one in the file."""
    TARGETS["hujson"](data)
