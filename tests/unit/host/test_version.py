"""Versions as sshd prints them."""

import pytest

from pam_tailscale.host.version import OpenSSH, parse


@pytest.mark.parametrize(
    ("text", "expected", "service_names", "supported"),
    [
        ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.17 1 Jul 2025", (9, 2), False, True),
        ("OpenSSH_10.0p2 Debian-7+deb13u4, OpenSSL 3.5.4", (10, 0), True, True),
        ("OpenSSH_9.8p1", (9, 8), True, True),
        ("OpenSSH_9.7", (9, 7), False, True),
        ("OpenSSH_8.4p1 Debian-5+deb11u3", (8, 4), False, False),
        ("unknown option -- V\nOpenSSH_9.2p1 Debian-2, OpenSSL 3.0", (9, 2), False, True),
    ],
)
def test_versions(text: str, expected: tuple[int, int], *, service_names: bool, supported: bool) -> None:
    """9.10 is later than 9.8, and 10.0 than both."""
    found = parse(text)
    assert found == OpenSSH(*expected)
    assert found is not None
    assert (found.has_service_names, found.is_supported) == (service_names, supported)
    assert str(found) == f"{expected[0]}.{expected[1]}"


def test_order() -> None:
    """By number, not by letter."""
    assert OpenSSH(9, 2) < OpenSSH(9, 8) < OpenSSH(9, 10) < OpenSSH(10, 0)


@pytest.mark.parametrize("text", ["", "dropbear 2022.83", "OpenSSH", "OpenSSH_x.y", "OpenSSH_1000.1"])
def test_what_names_no_version(text: str) -> None:
    """None, and no guess."""
    assert parse(text) is None
