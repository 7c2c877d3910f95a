"""The pin's file: whole, root's alone, and an error for everything else."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale import pin as pins
from pam_tailscale.errors import ConfigError
from pam_tailscale.model import Pin
from tests.support.facts import PIN
from tests.support.pins import write_pin

GOOD: dict[str, Any] = {"format": 1, "control_url": "https://c", "node_id": "n1", "tailnet_id": ""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the pin is."""
    return tmp_path / "pin.json"


def test_none_is_none(path: Path) -> None:
    """A host that was never pinned is no error here."""
    assert pins.load(path) is None


@pytest.mark.parametrize("pin", [PIN, Pin("https://c", "1", "")])
def test_what_is_written_is_read(path: Path, pin: Pin) -> None:
    """Also without a tailnet's id, as with headscale."""
    write_pin(pin, path)
    assert pins.load(path) == pin


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    """They could pin the host to a control plane of their own."""
    write_pin(PIN, path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="nobody else may write"):
        pins.load(path)


def test_a_file_of_somebody_else_is_refused(path: Path) -> None:
    """For the same reason."""
    write_pin(PIN, path)
    os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="must be a file of root"):
        pins.load(path)


def test_a_link_is_refused(path: Path) -> None:
    """Whoever may write where it leads is not known."""
    target = path.with_name("target.json")
    write_pin(PIN, target)
    path.symlink_to(target)
    with pytest.raises(ConfigError, match="cannot be read"):
        pins.load(path)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_what_is_no_file_is_refused(path: Path, make: Any) -> None:
    """At once: opening a fifo would wait for a writer."""
    make(path)
    with pytest.raises(ConfigError, match="must be a file"):
        pins.load(path)


DAMAGED = {
    "empty": b"",
    "half": json.dumps(GOOD).encode()[:-9],
    "no object": b'["https://c", "n1"]',
    "null": b"null",
    "not UTF-8": b'{"format": 1, "control_url": "\xff"}',
    "nested without end": b"[" * 4000,
    "too long": json.dumps(GOOD).encode() + b" " * 4096,
    "no format": json.dumps({name: value for name, value in GOOD.items() if name != "format"}).encode(),
} | {
    f"{name} is {value!r}": json.dumps(GOOD | {name: value}).encode()
    for name, value in [
        ("format", 2),
        ("format", "1"),
        ("control_url", ""),
        ("control_url", None),
        ("control_url", 1),
        ("node_id", ""),
        ("node_id", ["n1"]),
        ("tailnet_id", None),
        ("also", "this"),
    ]
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_pin_is_an_error(path: Path, content: bytes) -> None:
    """Never no pin, and the text says what to run."""
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"pin\.json: is damaged: run 'pam-tailscale enable --repin'"):
        pins.load(path)
