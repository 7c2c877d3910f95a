"""A signal stops a change by an exception, and taking it back is not disturbed."""

import os
import signal

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host import signals

KINDS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


@pytest.mark.parametrize("number", KINDS)
def test_a_signal_raises_and_the_handler_of_before_comes_back(number: signal.Signals) -> None:
    """In a terminal that closes, for one."""
    before = signal.getsignal(number)
    with pytest.raises(HostError, match=f"interrupted by {number.name}"), signals.raising():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", KINDS)
def test_while_taking_back_nothing_disturbs(number: signal.Signals) -> None:
    """Also inside of what raises."""
    done = []
    with signals.raising(), signals.held():
        os.kill(os.getpid(), number)
        done.append(number)
    assert done == [number]
