"""Messages about tailscaled."""

import pytest

from pam_tailscale.tailnet.trouble import refused, shown, unreachable


@pytest.mark.parametrize(
    ("what", "code", "advice"),
    [
        ("whois", 403, "check that the configured socket"),
        ("status", 503, "still starting"),
        ("status", 500, "journalctl"),
        ("status", 404, "journalctl"),
        ("debug", 404, "built without debug"),
        ("debug", 501, "built without debug"),
    ],
)
def test_a_refusal_says_what_to_do(what: str, code: int, advice: str) -> None:
    """Method, code and tailscaled's own words stand in the message, and the next step."""
    text = str(refused(what, code, b"some words\n"))
    assert what in text
    assert str(code) in text
    assert "'some words'" in text
    assert advice in text


def test_words_of_the_network_cannot_break_a_line() -> None:
    """Control characters are escaped, bytes that are no UTF-8 replaced, length is bounded."""
    text = str(refused("whois", 500, b"\n\x1b[2J\xff" + b"x" * 100_000))
    assert text.isprintable()
    assert len(text) < 1000
    assert shown("a\nb") == "'a\\nb'"


def test_unreachable_names_the_socket_and_the_reason() -> None:
    """Which socket, what the kernel said, and what to look at."""
    text = str(unreachable("/run/x.sock", ConnectionRefusedError("refused")))
    assert "/run/x.sock" in text
    assert "ConnectionRefusedError: refused" in text
    assert "systemctl status tailscaled" in text
