"""The machine key as the agent gets it: through the root reader's socket, from the reader as it is installed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_tailscale.errors import TailscaledError, TailscaledNotRootError
from pam_tailscale.secret import Secret
from pam_tailscale.tailnet.machinekey import fetch_machine_key
from tests.support.impostor import impostor
from tests.support.waiting import wait_until
from tests.unit.tailnet.test_netmap import lines, scripted
from tests.unit.tailnet.test_state import KEY, SEALED, state_of, written


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Path]:
    """The socket of a listener that runs the real reader for each connection."""
    path = tmp_path / "reader.sock"
    command = [sys.executable, "-m", "contrib.demo.reader_listener", "--uid", str(os.getuid()), "--socket", str(path)]
    with subprocess.Popen([*command, "--state", str(tmp_path / "tailscaled.state")]) as process:
        wait_until(path.exists, 10, "the listener listens")
        yield path
        process.terminate()


def test_the_reader_gives_the_key(listener: Path, tmp_path: Path) -> None:
    """Without a capability, and as something that is not shown."""
    written(tmp_path, state_of())
    key = fetch_machine_key(listener, 10)
    assert key == Secret(KEY)
    assert repr(key) == "<redacted>"


def test_the_reader_says_why_there_is_none(listener: Path, tmp_path: Path) -> None:
    """And is asked anew when that has changed."""
    with pytest.raises(TailscaledError, match="No such file"):
        fetch_machine_key(listener, 10)
    written(tmp_path, SEALED)
    with pytest.raises(TailscaledError, match="sealed by the TPM"):
        fetch_machine_key(listener, 10)
    written(tmp_path, state_of())
    assert fetch_machine_key(listener, 10) == Secret(KEY)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"null\n",
        b"[]\n",
        lines({}),
        lines({"machine_key": KEY}),
        lines({"format": 2, "machine_key": KEY}),
        lines({"format": 1}),
        lines({"format": 1, "machine_key": None}),
        lines({"format": 1, "machine_key": 5}),
        lines({"format": 1, "machine_key": ""}),
        lines({"format": 1, "machine_key": KEY[:-1]}),
        lines({"format": 1, "machine_key": KEY + "\n"}),
        lines({"format": 1, "machine_key": KEY})[:-1],
        lines({"error": "the root reader was asked b'machine-key': upgrade agent and reader together"}),
    ],
)
def test_a_bad_answer_of_the_reader_is_refused(tmp_path: Path, answer: bytes) -> None:
    """And nothing of it is shown."""
    with scripted(tmp_path / "reader.sock", answer), pytest.raises(TailscaledError) as caught:
        fetch_machine_key(tmp_path / "reader.sock", 5)
    assert "89abcdef" not in str(caught.value)


def test_a_reader_that_hangs_is_given_up(tmp_path: Path) -> None:
    """The limit is for the whole."""
    with (
        scripted(tmp_path / "reader.sock", b'{"format":1,', hang=True),
        pytest.raises(TailscaledError, match="could not be read to its end"),
    ):
        fetch_machine_key(tmp_path / "reader.sock", 0.3)


def test_no_reader(tmp_path: Path) -> None:
    """The message names the unit to look at."""
    with pytest.raises(TailscaledError, match=r"pam-tailscale-reader\.socket"):
        fetch_machine_key(tmp_path / "reader.sock", 1)


def test_only_roots_reader_is_believed(tmp_path: Path) -> None:
    """With a key of their own somebody could answer our questions in place of the control plane."""
    with impostor(tmp_path / "reader.sock", uid=65534), pytest.raises(TailscaledNotRootError, match="uid 65534"):
        fetch_machine_key(tmp_path / "reader.sock", 1)
