"""What the benchmark measures, as a whole."""

from bench.__main__ import NAMES
from bench.figures import TARGETS


def test_every_target_is_measured() -> None:
    """A target of a figure that has another name would never be missed."""
    assert set(TARGETS) <= set(NAMES)


def test_no_figure_is_measured_twice() -> None:
    """In the result the second one would replace the first."""
    assert len(set(NAMES)) == len(NAMES)
