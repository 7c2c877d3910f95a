"""`pin`: root binds the host to what tailscaled is at, once, and to something else only when asked to."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contrib.demo.localapi import LocalAPI as Server
from pam_tailscale import pin as pins
from pam_tailscale.model import Pin
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL
from tests.support.impostor import impostor
from tests.support.localapi import serving
from tests.unit.cli.conftest import Ran, Run

OTHER = Pin("https://elsewhere.example", "n9CNTRL", "tOTHER")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The host's tailscaled."""
    with serving(tmp_path / "tailscaled.sock") as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the pin is to be."""
    return tmp_path / "lib" / "pin.json"


@pytest.fixture
def pin(run: Run, path: Path, tmp_path: Path) -> Run:
    """Runs the command."""

    def pin(*arguments: str) -> Ran:
        return run("pin", "--path", path, "--tailscaled", tmp_path / "tailscaled.sock", *arguments)

    return pin


def here(server: Server) -> Pin:
    """What the host is."""
    return Pin("https://control.tailnet.example", server.tailnet.own.stable_id, "tExampleCNTRL")


def test_it_pins(pin: Run, path: Path, server: Server) -> None:
    """Readable for the agent, writable for root."""
    ran = pin()
    own = here(server)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"pinned: node {own.node_id} of {own.control_url}, tailnet {own.tailnet_id}\n"
    assert pins.load(path) == own
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755


def test_pinning_again_is_fine_and_writes_nothing(pin: Run, path: Path, server: Server) -> None:
    """For scripts that run twice."""
    pin()
    before = path.stat().st_ino
    ran = pin("--json")
    own = here(server)
    assert (ran.status, path.stat().st_ino) == (0, before)
    assert ran.document == {
        "control_url": own.control_url,
        "node_id": own.node_id,
        "tailnet_id": own.tailnet_id,
        "changed": False,
    }
    assert pin().out.startswith("already pinned: ")


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("json", [False, True])
def test_another_pin_is_kept(pin: Run, path: Path, json: bool) -> None:  # noqa: FBT001 (both ways)
    """Whoever logged the node in elsewhere may not be root; root reads both and decides."""
    pins.store(OTHER, path)
    ran = pin(*["--json"] * json)
    assert ran.status == 1
    assert "run 'pam-tailscale pin --repin'" in ran.err
    assert pins.load(path) == OTHER
    if json:
        assert ran.document["pinned"]["node_id"] == "n9CNTRL"
        assert not ran.document["changed"]
    else:
        assert "n9CNTRL of https://elsewhere.example, tailnet tOTHER" in ran.out


def test_repin_replaces_it(pin: Run, path: Path, server: Server) -> None:
    """And says that it did."""
    pins.store(OTHER, path)
    assert pin("--repin", "--json").document["changed"]
    assert pins.load(path) == here(server)


def test_a_damaged_pin_is_kept_until_repin(pin: Run, path: Path, server: Server) -> None:
    """What it was is not known, so it might have been another."""
    path.parent.mkdir()
    path.write_text("{")
    ran = pin()
    assert (ran.status, ran.out) == (3, "")
    assert "is damaged: run 'pam-tailscale enable --repin'" in ran.err
    assert path.read_text() == "{"
    assert pin("--repin").status == 0
    assert pins.load(path) == here(server)


def test_with_headscale_there_is_no_tailnet_id(pin: Run, path: Path, server: Server) -> None:
    """The pin holds the rest."""
    server.tailnet.stable_id = ""
    server.tailnet.changed()
    assert pin().out.endswith("of https://control.tailnet.example\n")
    assert pins.load(path) == Pin("https://control.tailnet.example", server.tailnet.own.stable_id, "")


def test_an_empty_control_url_is_tailscales(pin: Run, path: Path, server: Server) -> None:
    """As the agent reads it."""
    server.tailnet.prefs["ControlURL"] = ""
    server.tailnet.changed()
    assert pin().status == 0
    found = pins.load(path)
    assert found is not None
    assert found.control_url == DEFAULT_CONTROL_URL


@pytest.mark.parametrize("state", ["Stopped", "NeedsLogin", "Starting", "NoState"])
def test_a_host_that_is_not_in_a_tailnet_cannot_be_pinned(pin: Run, path: Path, server: Server, state: str) -> None:
    """It says what to do first."""
    server.tailnet.state = state
    server.tailnet.changed()
    ran = pin()
    assert ran.status == 3
    assert "run 'tailscale up' first" in ran.err
    assert not path.exists()


def test_without_tailscaled_it_cannot_be_pinned(pin: Run, path: Path) -> None:
    """Cannot tell."""
    assert pin().status == 3
    assert not path.exists()


def test_somebody_else_at_the_socket_is_not_believed(pin: Run, path: Path, tmp_path: Path) -> None:
    """Only root is tailscaled."""
    with impostor(tmp_path / "tailscaled.sock", 65534):
        assert pin().status == 3
    assert not path.exists()


@pytest.mark.usefixtures("server")
def test_only_root_pins(pin: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is asked or written."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    ran = pin()
    assert ran.status == 3
    assert "run 'sudo pam-tailscale pin'" in ran.err
    assert not path.exists()
