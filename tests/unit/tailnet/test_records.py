"""Versions of tailscaled."""

import pytest

from pam_tailscale.errors import TailscaledError
from pam_tailscale.tailnet.records import tailscaled_version


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1.104.5", (1, 104, 5)),
        ("1.102.5-t0123abc-g4567def", (1, 102, 5)),
        ("1.103.0-dev20260822", (1, 103, 0)),
        ("1.104.5-ERR-BuildInfo", (1, 104, 5)),
        ("1.98.10+custom", (1, 98, 10)),
    ],
)
def test_the_numbers_of_a_version_are_read(text: str, numbers: tuple[int, int, int]) -> None:
    """Whatever is built into a version behind its numbers does not matter."""
    assert tailscaled_version(text) == numbers


@pytest.mark.parametrize(
    "text", ["", "1", "1.104", "v1.104.5", "1.104.x", "1.104.5.6", " 1.104.5", "1.104.1234567", "\u0661.\u0661.\u0661"]
)
def test_another_version_is_refused(text: str) -> None:
    """How to read the policy depends on the version, so it is never guessed."""
    with pytest.raises(TailscaledError, match="install a release"):
        tailscaled_version(text)
