"""What gather itself makes of files; all of it on real hosts is in tests/integration/test_fault_matrix.py."""

import os
from pathlib import Path

import pytest

from pam_tailscale import paths
from pam_tailscale import pin as pins
from pam_tailscale.config import Config
from pam_tailscale.host import pamfiles
from pam_tailscale.host.facts import Unknown, User
from pam_tailscale.host.looking import gather, gather_session, gather_tailnet
from pam_tailscale.host.looking.gather import read_config, read_pin
from pam_tailscale.model import Pin
from tests.support.host_facts import config, healthy, with_session, with_sshd

CONFIG = str(paths.CONFIG)


def test_no_configuration_is_the_default(tmp_path: Path) -> None:
    """As for the agent."""
    assert read_config(tmp_path / "agent.toml") == (Config(), "")


def test_a_configuration_is_read(tmp_path: Path) -> None:
    """As the agent reads it."""
    path = tmp_path / "agent.toml"
    path.write_text("allow_root = false\n")
    assert read_config(path) == (Config(allow_root=False), "")


@pytest.mark.parametrize(("content", "says"), [(b"mood = 1\n", "line 1: mood is unknown"), (b"\xff", "cannot be read")])
def test_a_damaged_configuration_is_a_problem(tmp_path: Path, content: bytes, says: str) -> None:
    """With the file's name; the defaults stand in its place."""
    path = tmp_path / "agent.toml"
    path.write_bytes(content)
    config, problem = read_config(path)
    assert config == Config()
    assert says in problem
    assert str(path) in problem


def test_a_pin_is_read(tmp_path: Path) -> None:
    """None, one, or one that is damaged."""
    path = tmp_path / "pin.json"
    assert read_pin(path) == (None, "")
    pin = Pin("https://control.tailnet.example", "n1", "")
    path.write_bytes(pins.encode(pin))
    path.chmod(0o644)
    assert read_pin(path) == (pin, "")
    path.write_text("{}")
    assert read_pin(path)[0] is None
    assert "damaged" in read_pin(path)[1]
    path.chmod(0o666)
    assert "root" in read_pin(path)[1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, None),
        (b"", None),
        (b"allow_root = true\n", True),
        (b"allow_root = false\n", False),
        (b"allow_root = 'no'\n", None),
        (b"allow_root = \n", None),
        (b"\xff", None),
    ],
)
def test_what_the_administrator_says_about_root(content: bytes | None, said: bool | None) -> None:  # noqa: FBT001
    """Only a yes or a no is one; a damaged file is judged elsewhere."""
    assert gather._allow_root({CONFIG: content} if content is not None else {}) is said


def test_our_own_setting_is_not_the_administrators() -> None:
    """What enable has put at the top for `PermitRootLogin no` is taken out before it is looked at."""
    unknown: list[Unknown] = []
    ours = b"# by pam-tailscale enable: sshd_config says so\nallow_root = false\n"
    base = gather._base({CONFIG: ours + b"[check]\nwaiting = 2\n"}, unknown)
    assert gather._allow_root(base) is None
    assert unknown == []


def test_lines_that_nobody_can_tell_apart_are_unknown() -> None:
    """They are not guessed to be ours or not."""
    unknown: list[Unknown] = []
    one_of_ours = next(line for line in pamfiles.BLOCK.splitlines(keepends=True) if line.startswith(b"auth"))
    service = {str(paths.PAM_SSHD): one_of_ours + b"account required pam_tailscale.so\n"}
    base = gather._base(service, unknown)
    assert base == service
    ((what, why),) = [(one.what, one.why) for one in unknown]
    assert what == "what of the host's files is ours"
    assert f"{paths.PAM_SSHD}: line 2" in why


@pytest.mark.parametrize(("complaint", "unknown"), [("", 1), ("line 1: bad quotes", 0)])
def test_what_was_not_understood_of_sshd_config_is_unknown(complaint: str, unknown: int) -> None:
    """Unless sshd does not understand it either, which it says itself."""
    facts = with_sshd(healthy(), config=config('Banner "\n'), complaint=complaint)
    found = list(gather._unread(facts.sshd))
    assert [one.why for one in found] == ["/etc/ssh/sshd_config:1: invalid quotes"] * unknown


@pytest.mark.parametrize("client", ["100.64.0.2", "192.0.2.7"])
def test_of_a_closed_connection_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, client: str) -> None:
    """Whoever had it may have come by another one since."""
    session = with_session(healthy(), client, is_open=False).own_session
    monkeypatch.setattr(gather_session, "own_session", lambda: session)
    monkeypatch.setattr(gather_tailnet, "answer", lambda *_: pytest.fail("it was asked"))
    found = gather._session(Config())
    assert found is not None
    assert isinstance(found.answer, Unknown)


def test_an_account_with_its_numbers() -> None:
    """Or none."""
    assert gather._user("root") == User("root", 0, 0)
    assert gather._user("no-such-account") is None


def test_what_is_no_file_at_our_places_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link is never followed: what it leads to is not ours to read."""
    path, link, gone = tmp_path / "a", tmp_path / "b", tmp_path / "c"
    path.write_bytes(b"a")
    os.symlink("a", link)  # noqa: PTH211 (a name in the same directory)
    monkeypatch.setattr(gather, "PATHS", (str(path), str(link), str(gone)))
    assert gather._present() == {str(path): b"a"}
