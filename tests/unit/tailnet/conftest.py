"""An embedded tailscaled for each test, and a client of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.demo.localapi import LocalAPI as Server
from pam_tailscale.tailnet.localapi import LocalAPI
from tests.support.localapi import serving


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Where tailscaled listens, if it does."""
    return tmp_path / "tailscaled.sock"


@pytest.fixture
def server(socket_path: Path) -> Iterator[Server]:
    """An embedded tailscaled of a small tailnet."""
    with serving(socket_path) as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[LocalAPI]:
    """A client of it."""
    api = LocalAPI(server.path, timeout=2)
    yield api
    api.close()
