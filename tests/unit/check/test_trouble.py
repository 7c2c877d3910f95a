"""Text from the network in messages: quoted, cut, and nothing in it that a terminal or a log obeys."""

import pytest

from pam_tailscale.check.trouble import shown


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "''"),
        ("not found", "'not found'"),
        ("it's", '"it\'s"'),
        ("a\nb\x1b[2J\0\t", r"'a\nb\x1b[2J\x00\t'"),
        ("caf\u00e9 \u202e\N{SNOWMAN}", r"'caf\xe9 \u202e\u2603'"),
        ("%s {0} \\", r"'%s {0} \\'"),
        ("\udcff", r"'\udcff'"),
        ("a" * 120, f"'{'a' * 120}'"),
        ("a" * 121, f"'{'a' * 120}'..."),
        ("\n" * 100_000, "'" + r"\n" * 120 + "'..."),
    ],
    ids=["empty", "plain", "quote", "control", "unicode", "format", "no text", "longest", "too long", "flood"],
)
def test_text_is_shown_harmlessly(text: str, quoted: str) -> None:
    """One line of ASCII, whatever was sent."""
    assert shown(text) == quoted
    assert shown(text).isascii()
    assert shown(text).isprintable()
