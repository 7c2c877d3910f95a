"""One test for each file of `--conformance-dir`, whatever it is called: a file that is added there is compared, too."""

from pathlib import Path

import pytest


def recordings(config: pytest.Config) -> list[Path]:
    """The files, or the directory itself where it has none, whose test then fails."""
    directory = config.invocation_params.dir / config.getoption("--conformance-dir")
    return sorted(directory.glob("*.json")) or [directory]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that wants `recording` runs for each."""
    if "recording" in metafunc.fixturenames:
        metafunc.parametrize("recording", recordings(metafunc.config), ids=lambda path: path.stem)
