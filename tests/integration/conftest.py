"""The hosts of the integration tests: one scene for each release, shared by the tests of a file, as they were found."""

from collections.abc import Generator, Iterator

import pytest

from tests.support.roots import Suite
from tests.support.scene import Scene
from tests.support.switching import BROKEN, take_away

_SHOWN = 3000
"""Characters of each log in the report of a failing test."""

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


@pytest.fixture(scope="module", params=SUITES)
def installed(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A host on which everything is installed, and nothing switched on."""
    with Scene.of(request.param) as running:
        take_away(running.host)
        running.host.restart_sshd()
        yield running


@pytest.fixture
def switched_off(installed: Scene) -> Iterator[Scene]:
    """The same for each test; whatever a test leaves is taken away."""
    yield installed
    installed.host.box.run(["rm", "-f", BROKEN])
    take_away(installed.host)
    installed.host.restart_sshd()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Puts the end of every log of the host into the report of a failing test."""
    report = yield
    scene = getattr(item, "funcargs", {}).get("scene")
    if call.when == "call" and report.failed and isinstance(scene, Scene):
        for name, text in scene.host.logs().items():
            report.sections.append((f"end of {name}", text[-_SHOWN:]))
    return report
