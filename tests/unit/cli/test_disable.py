"""`disable` is tested beside `enable`, in test_enable.py; here is what only its help says."""

from tests.unit.cli.conftest import Run


def test_its_help_says_what_stays(run: Run) -> None:
    """Sessions, and the pin."""
    text = " ".join(run("disable", "--help").out.split())
    assert "Sessions go on" in text
    assert "The pin and what is remembered of checks stay" in text
