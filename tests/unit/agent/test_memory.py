"""The garbage collector does not walk through a policy."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from pam_tailscale.agent.memory import spared_by_the_collector


class Rules:
    """Something that the collector watches."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leaves the collector as it was."""
    yield
    gc.unfreeze()
    gc.enable()


def test_what_is_read_is_not_walked_through() -> None:
    """A policy that was read costs later collections nothing."""
    outside = Rules()
    with spared_by_the_collector():
        inside = Rules()
    later = Rules()
    watched = {id(thing) for thing in gc.get_objects()}
    assert id(inside) not in watched
    assert id(outside) not in watched
    assert id(later) in watched


def test_it_is_freed_when_it_is_replaced() -> None:
    """Policies that are no longer in force do not pile up."""
    with spared_by_the_collector():
        policy = Rules()
    gone = weakref.ref(policy)
    policy = Rules()
    assert gone() is None


def test_garbage_of_before_is_not_kept() -> None:
    """What was in a cycle and of no use is collected before, not spared for ever."""
    circle = Rules()
    vars(circle)["itself"] = circle
    gone = weakref.ref(circle)
    gc.disable()
    del circle
    with spared_by_the_collector():
        pass
    assert gone() is None


def test_a_failure_leaves_the_collector_on() -> None:
    """A policy that cannot be read does not end collecting for good."""

    def fail() -> None:
        with spared_by_the_collector():
            assert not gc.isenabled()
            raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - raised just above
        fail()
    assert gc.isenabled()
