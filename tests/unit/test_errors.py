"""The errors: few, and each a kind of the one that the command line catches."""

import inspect

from pam_tailscale import errors
from pam_tailscale.errors import CheckError, PamTailscaleError


def test_all_are_of_one_family() -> None:
    """Whoever catches the base misses none."""
    found = [one for _, one in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(one, PamTailscaleError) for one in found)


def test_a_failed_question_says_for_how_long_to_be_left_alone() -> None:
    """At once, where whoever was asked did not say."""
    assert (str(CheckError("down: start it")), CheckError("x").retry_after) == ("down: start it", 0.0)
    assert CheckError("busy", 30.0).retry_after == 30.0
