"""The two pairs of releases that the suite runs on, each started once."""

from collections.abc import Iterator

import pytest

from tests.support.members import Members
from tests.support.roots import Suite

PAIRS: dict[str, tuple[Suite, str]] = {
    "openssh-9.2-tailscale-1.102": ("bookworm", "1.102.5"),
    "openssh-10.0-tailscale-1.104": ("trixie", "1.104.5"),
}


# With `pytest -n 2 --dist loadgroup` the two run side by side, each started once.
@pytest.fixture(scope="session", params=[pytest.param(pair, marks=pytest.mark.xdist_group(pair)) for pair in PAIRS])
def members(request: pytest.FixtureRequest) -> Iterator[Members]:
    """A running tailnet whose servers have our product."""
    suite, version = PAIRS[request.param]
    with Members(suite, version) as running:
        yield running
