"""The statistics of the benchmark, and its targets."""

import pytest

from bench.figures import TARGETS, Figure, Target, middle, percentile, spread
from bench.logins import ratio
from bench.programs import parse_asked


def test_spread_is_half_of_what_the_middle_half_spans() -> None:
    """One wild value among many does not make a figure look uncertain."""
    assert spread([1, 2, 3, 4, 1000]) == 1
    assert spread([7]) == 0


@pytest.mark.parametrize(("percent", "expected"), [(50, 51), (99, 100), (100, 100)])
def test_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    """Of 1 to 100."""
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_targets_have_a_direction() -> None:
    """Rates are to be large, all else small."""
    assert TARGETS["decisions_per_s"].met(1500)
    assert not TARGETS["decisions_per_s"].met(1499)
    assert Target(50).met(50)
    assert not Target(50).met(50.1)


def test_middle_is_the_median() -> None:
    """A figure of several runs is the one in the middle."""
    assert middle("agent_rss_mib", [1, 2, 100], "") == Figure("agent_rss_mib", 2, 24.75, "")


def test_the_output_of_decide_is_read() -> None:
    """Microseconds come out as milliseconds."""
    asked = parse_asked("2.5\n10.000001 1500.0\n10.1 250.0\n")
    assert asked.seconds == 2.5
    assert asked.milliseconds == [1.5, 0.25]


def test_a_ratio_is_that_of_the_medians() -> None:
    """A round that something disturbed counts no more than any other; the spread is that of the rounds."""
    found = ratio("login_vs_floor", [150.0, 2000.0, 150.0], [100.0, 1000.0, 100.0], "a floor")
    assert found == Figure("login_vs_floor", 1.5, 0.125, "login / a floor")
