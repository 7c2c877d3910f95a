"""One run at a time, and the second says that it waits."""

import threading
import time
from pathlib import Path

import pytest

from pam_tailscale.errors import HostError
from pam_tailscale.host.lock import locked


def test_a_second_run_waits_and_says_so_once(tmp_path: Path) -> None:
    """Then it goes on."""
    said: list[str] = []
    order: list[str] = []
    waiting = threading.Event()

    def note(text: str) -> None:
        said.append(text)
        waiting.set()

    def second() -> None:
        with locked(note, tmp_path / "lock"):
            order.append("second")

    other = threading.Thread(target=second)
    with locked(said.append, tmp_path / "lock"):
        other.start()
        assert waiting.wait(10)
        order.append("first")
    other.join(10)
    assert order == ["first", "second"]
    assert said == ["another run is under way: waiting for it"]


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    """And then has changed nothing."""
    with locked(lambda _: None, tmp_path / "lock"):
        began = time.monotonic()
        with (
            pytest.raises(HostError, match="another run holds the lock: nothing was changed"),
            locked(lambda _: None, tmp_path / "lock", wait=0.2),
        ):
            raise AssertionError("two hold it")
        assert time.monotonic() - began > 0.1


def test_a_run_that_fails_frees_it(tmp_path: Path) -> None:
    """So that the next can mend it."""
    with pytest.raises(HostError, match="failed"), locked(lambda _: None, tmp_path / "lock"):
        raise HostError("failed")
    with locked(lambda _: None, tmp_path / "lock", wait=0):
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """The directory is everybody's on some hosts."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="cannot be opened"), locked(lambda _: None, tmp_path / "lock"):
        pass
    assert not (tmp_path / "elsewhere").exists()
