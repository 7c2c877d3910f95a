"""Retry-After, as servers write it: seconds or a date, and nothing that keeps us away for long."""

import pytest

from pam_tailscale.check.retry import retry_after

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("600", 600.0),
        ("601", 600.0),
        ("9" * 5000, 0.0),
        ("999999999", 600.0),
        ("99999999999999999999", 0.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("soon", 0.0),
        ("nan", 0.0),
        ("\u0667", 0.0),
        ("Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
        ("Fri, 15 Jan 2027 08:00:30 -0000", 30.0),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0.0),
        ("Fri, 15 Jan 2038 08:00:00 GMT", 600.0),
        ("Fri, 99 Jan 2027 08:00:00 GMT", 0.0),
    ],
)
def test_how_long_a_server_wants_to_be_left_alone(text: str, seconds: float) -> None:
    """Seconds or a date, bounded; what is neither says nothing."""
    assert retry_after(text, NOW) == seconds
