"""The agent as a process: where it listens, as whom it runs, how it shows life."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import pam_tailscale
from pam_tailscale.agent import process
from pam_tailscale.errors import ConfigError

ROOT = Path(pam_tailscale.__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As /run/pam-tailscale is."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture(autouse=True)
def _no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)


def test_everybody_may_connect(folder: Path) -> None:
    """With the right kind of socket; what an agent before it left is replaced."""
    for _ in range(2):
        with process.listener(folder / "agent.sock") as bound:
            assert (folder / "agent.sock").stat().st_mode & 0o777 == 0o666
            assert bound.type == socket.SOCK_SEQPACKET
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
                client.connect(str(folder / "agent.sock"))


def test_its_folder_is_made(tmp_path: Path) -> None:
    """And only its own."""
    process.listener(tmp_path / "new" / "agent.sock").close()
    with pytest.raises(ConfigError, match="cannot listen"):
        process.listener(tmp_path / "none" / "new" / "agent.sock")


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_that_others_may_write_is_refused(folder: Path, mode: int) -> None:
    """They could put a socket of theirs in its place."""
    folder.chmod(mode)
    with pytest.raises(ConfigError, match="nobody else may write"):
        process.listener(folder / "agent.sock")
    assert not (folder / "agent.sock").exists()


def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    """For the same reason."""
    os.chown(folder, 65534, -1)
    with pytest.raises(ConfigError, match="must be a directory of root"):
        process.listener(folder / "agent.sock")


def test_a_path_that_is_too_long_says_so(folder: Path) -> None:
    """108 bytes is all a socket address has."""
    with pytest.raises(ConfigError, match="path too long"):
        process.listener(folder / ("a" * 120))


def run(program: str, *arguments: str, **environment: str) -> str:
    """What a program prints, that has this package and these variables."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={"PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd="/",
    )
    return done.stdout + done.stderr


_PASSED = """
import os, socket, sys
from pathlib import Path
from pam_tailscale.agent import process
from pam_tailscale.errors import ConfigError
kind, count, pid, path = sys.argv[1:]
held = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if kind == "seqpacket" else socket.SOCK_STREAM)
held.bind(path)
held.listen()
os.dup2(held.fileno(), 3)
os.environ |= {"LISTEN_FDS": count, "LISTEN_PID": pid or str(os.getpid())}
try:
    found = process.listener(Path(path).with_name("own.sock"))
    print(found.fileno() == 3, found.getsockname() == path, "LISTEN_FDS" in os.environ and not pid)
except ConfigError as err:
    print(err)
"""


def test_the_socket_that_systemd_passes_is_used(folder: Path) -> None:
    """And its variables do not reach children."""
    assert run(_PASSED, "seqpacket", "1", "", str(folder / "passed.sock")) == "True True False\n"


def test_a_socket_of_another_kind_is_refused(folder: Path) -> None:
    """The protocol relies on the kernel keeping boundaries."""
    assert "use ListenSequentialPacket=" in run(_PASSED, "stream", "1", "", str(folder / "passed.sock"))


def test_what_is_passed_to_another_process_is_not_ours(folder: Path) -> None:
    """sd_listen_fds(3)."""
    assert run(_PASSED, "seqpacket", "1", "1", str(folder / "passed.sock")).startswith("False False")


_BECOME = """
import os, sys
from pam_tailscale.agent import process
from pam_tailscale.errors import ConfigError
try:
    process.become(sys.argv[1])
    print(os.getresuid(), os.getresgid(), os.getgroups() == [os.getgid()])
    process.become("root")
    os.setuid(0)
except ConfigError as err:
    print(err)
except PermissionError:
    print("no way back")
"""


def test_root_is_given_up_for_good() -> None:
    """All three ids, and root's groups."""
    assert run(_BECOME, "nobody") == "(65534, 65534, 65534) (65534, 65534, 65534) True\nno way back\n"


@pytest.mark.parametrize(("user", "text"), [("root", "'root' is root"), ("nobody-here", "adduser --system")])
def test_an_account_that_will_not_do(user: str, text: str) -> None:
    """The error says what to do."""
    assert text in run(_BECOME, user)


def test_accounts_and_groups() -> None:
    """Of the configuration."""
    assert process.account("root").pw_uid == 0
    assert process.has_group("root")
    assert not process.has_group("nobody-here")
    with pytest.raises(ConfigError, match="adduser --system --group nobody-here"):
        process.account("nobody-here")


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        (None, None, None),
        ("30000000", None, 15.0),
        ("30000000", "own", 15.0),
        ("30000000", "1", None),
        ("", None, None),
        ("0", None, None),
        ("-1", None, None),
        ("soon", None, None),
        ("\u0661", None, None),
    ],
)
def test_the_watchdog(
    monkeypatch: pytest.MonkeyPatch, microseconds: str | None, pid: str | None, seconds: float | None
) -> None:
    """Half of systemd's patience; none where it is not for us."""
    if microseconds is not None:
        monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert process.watchdog_interval() == seconds


def test_its_own_directory_is_closed_to_others(tmp_path: Path) -> None:
    """Made once; the folder above stays root's."""
    place = tmp_path / "state" / "agent"
    for _ in range(2):
        process.own_directory(place, "nobody")
        status = place.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (process.account("nobody").pw_uid, 0o700)
    assert place.parent.stat().st_uid == 0


@pytest.mark.parametrize("kind", ["of somebody else", "open to others", "a link"])
def test_a_directory_that_is_there_is_never_changed(tmp_path: Path, kind: str) -> None:
    """It may be the pin's, or /etc."""
    place = tmp_path / "state"
    place.mkdir(mode=0o755 if kind == "open to others" else 0o700)
    if kind != "of somebody else":
        os.chown(place, process.account("nobody").pw_uid, -1)
    if kind == "a link":
        (tmp_path / "link").symlink_to(place)
    before = place.stat()
    with pytest.raises(ConfigError, match="that nobody else may enter"):
        process.own_directory(tmp_path / "link" if kind == "a link" else place, "nobody")
    after = place.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """It says whose setting it is."""
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match=r"\[check\] store needs a directory"):
        process.own_directory(tmp_path / "state" / "agent", "nobody")
