"""The hosts of the integration tests: one scene for each release, shared by the tests of a file, as they were found."""

from collections.abc import Iterator

import pytest

from tests.support.roots import Suite
from tests.support.scene import Scene

SUITES: tuple[Suite, ...] = ("bookworm", "trixie")


# The group keeps the tests of a release on one worker: its scene is started once.
@pytest.fixture(scope="module", params=[pytest.param(suite, marks=pytest.mark.xdist_group(suite)) for suite in SUITES])
def suite(request: pytest.FixtureRequest) -> Suite:
    """The release: Debian 12 with OpenSSH 9.2p1, Debian 13 with 10.0p1."""
    chosen: Suite = request.param
    return chosen


@pytest.fixture(scope="module")
def scene(suite: Suite) -> Iterator[Scene]:
    """A running scene. A test that changes it puts back what it changed."""
    with Scene.of(suite) as running:
        yield running


@pytest.fixture(autouse=True)
def logs_of_a_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Puts what was logged during a failing test into its report."""
    if "scene" not in request.fixturenames:
        yield
        return
    scene: Scene = request.getfixturevalue("scene")
    before = len(scene.host.all_logs())
    yield
    request.node.add_report_section("call", "logs of the host", scene.host.all_logs()[before:])
