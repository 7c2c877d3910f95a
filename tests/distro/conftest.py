"""A tailnet for each Debian release, and the packages that are tried on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import debs
from tests.support.machine import ENABLE, INSTALL, Machine, Site
from tests.support.roots import Suite

LOWER = "0.0.9"
"""The version that is upgraded from: the same tree."""


# With `pytest -n 2 --dist loadgroup` the two run side by side.
@pytest.fixture(
    scope="session",
    params=[
        pytest.param("bookworm", marks=pytest.mark.xdist_group("debian-12")),
        pytest.param("trixie", marks=pytest.mark.xdist_group("debian-13")),
    ],
)
def suite(request: pytest.FixtureRequest) -> Suite:
    """The release of the machines."""
    found: Suite = request.param
    return found


@pytest.fixture(scope="session")
def site(suite: Suite) -> Iterator[Site]:
    """A tailnet with alice's laptop."""
    assert suite
    with Site() as running:
        yield running


@pytest.fixture(scope="session")
def packages(suite: Suite) -> tuple[Path, ...]:
    """The packages of this checkout."""
    return debs.build(suite)


@pytest.fixture(scope="session")
def lower_packages(suite: Suite) -> tuple[Path, ...]:
    """The same, of a lower version."""
    return debs.build(suite, LOWER)


@pytest.fixture(scope="module")
def machine(site: Site, suite: Suite, packages: tuple[Path, ...], request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A Debian host in the tailnet on which we are installed and switched on: one for each file of tests."""
    host = site.machine(request.path.stem.removeprefix("test_").replace("_", "-"), suite)
    host.bring(packages)
    host.run(INSTALL)
    host.run(ENABLE)
    yield host
    host.close()
