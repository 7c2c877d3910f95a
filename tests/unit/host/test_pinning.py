"""What a host would be pinned to."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contrib.demo.localapi import LocalAPI as Server
from pam_tailscale.host.pinning import pin_of
from pam_tailscale.model import Pin
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL
from tests.support.localapi import serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The host's tailscaled."""
    with serving(tmp_path / "tailscaled.sock") as server:
        yield server


@pytest.fixture
def api(server: Server, tmp_path: Path) -> Iterator[LocalAPI]:
    """A client of it."""
    assert server
    with closing(LocalAPI(tmp_path / "tailscaled.sock")) as api:
        yield api


def test_it_is_what_tailscaled_is_at(api: LocalAPI, server: Server) -> None:
    """Control plane, node, tailnet."""
    assert pin_of(api.status(), api.prefs()) == Pin(
        "https://control.tailnet.example", server.tailnet.own.stable_id, "tExampleCNTRL"
    )


def test_no_control_url_is_tailscales_own_service(api: LocalAPI, server: Server) -> None:
    """Which must not be pinned to nothing."""
    server.tailnet.prefs["ControlURL"] = ""
    server.tailnet.changed()
    found = pin_of(api.status(), api.prefs())
    assert found is not None
    assert found.control_url == DEFAULT_CONTROL_URL


@pytest.mark.parametrize("state", ["Stopped", "NeedsLogin", "Starting"])
def test_a_node_that_is_not_up_is_at_nothing(api: LocalAPI, server: Server, state: str) -> None:
    """What it says of itself then is not to be pinned."""
    server.tailnet.state = state
    server.tailnet.changed()
    assert pin_of(api.status(), api.prefs()) is None
