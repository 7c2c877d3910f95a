"""Options of the tests. pytest knows only those of a conftest above everything that it is asked to run."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--conformance-dir`, for tests/conformance."""
    parser.addoption(
        "--conformance-dir",
        metavar="DIR",
        type=Path,
        default=Path(__file__).parent / "data" / "conformance",
        help="recorded answers of the control plane, *.json as tests/data/conformance/README.md describes them",
    )
