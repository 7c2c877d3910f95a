"""From which connection a command is run: the processes above it say, whatever sudo has made of the environment."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pam_tailscale.host.facts import Session
from pam_tailscale.host.looking.gather_session import at_console, own_session

TAILNET, LAN = "100.64.0.2 50000 100.64.0.1 22", "192.0.2.2 50001 192.0.2.1 22"
NO_LOGIN_UID = 2**32 - 1


def process(
    proc: Path,
    pid: int,
    parent: int,
    connection: str = "",
    login: int | None = None,
    name: str = "sh",
    terminal: int = 0,
) -> None:
    """A process of a made-up /proc."""
    directory = proc / str(pid)
    directory.mkdir()
    (directory / "stat").write_text(f"{pid} ({name}) S {parent} {pid} {pid} {terminal} -1 0 0")
    environment = ["PATH=/bin", *([f"SSH_CONNECTION={connection}"] if connection else [])]
    (directory / "environ").write_bytes("\0".join(environment).encode())
    if login is not None:
        (directory / "loginuid").write_text(str(login))


def connected(session: Session | None) -> tuple[str, int, str, int]:
    """Both ends of a session."""
    assert session is not None
    return str(session.client), session.client_port, str(session.server), session.server_port


def test_no_process_of_ssh_is_no_session(tmp_path: Path) -> None:
    """A console, a timer, a package's script."""
    process(tmp_path, 1, 0)
    process(tmp_path, 10, 1)
    assert own_session(10, tmp_path) is None


def test_the_session_of_a_process_above(tmp_path: Path) -> None:
    """Sudo has stripped the environment of this one."""
    process(tmp_path, 1, 0)
    process(tmp_path, 5, 1, TAILNET, login=0)
    process(tmp_path, 6, 5)
    process(tmp_path, 7, 6)
    session = own_session(7, tmp_path)
    assert connected(session) == ("100.64.0.2", 50000, "100.64.0.1", 22)
    assert session is not None
    assert session.account == "root"
    assert session.answer is None


def test_the_account_is_whose_login_it_was(tmp_path: Path) -> None:
    """By the audit login id, and where there is none by who the outermost process of the connection is."""
    process(tmp_path, 5, 1, TAILNET, login=NO_LOGIN_UID)
    process(tmp_path, 6, 5, TAILNET, login=NO_LOGIN_UID)
    os.chown(tmp_path / "5", 65534, 65534)
    os.chown(tmp_path / "6", 0, 0)
    session = own_session(6, tmp_path)
    assert session is not None
    assert session.account == "nobody"
    process(tmp_path, 7, 6, login=0)
    process(tmp_path, 8, 7, LAN, login=1)
    session = own_session(8, tmp_path)
    assert session is not None
    assert session.account == "daemon"


def test_an_account_without_a_name_is_its_number(tmp_path: Path) -> None:
    """It cannot be explained then, which is an answer as well."""
    process(tmp_path, 5, 1, TAILNET, login=3_000_000)
    session = own_session(5, tmp_path)
    assert session is not None
    assert session.account == "3000000"


def test_the_innermost_connection_counts(tmp_path: Path) -> None:
    """Somebody who came from the LAN and went on by ssh to this host itself."""
    process(tmp_path, 4, 1, LAN)
    process(tmp_path, 5, 4)
    process(tmp_path, 6, 5, TAILNET)
    process(tmp_path, 7, 6)
    assert connected(own_session(7, tmp_path))[0] == "100.64.0.2"


def test_addresses_are_as_the_agent_has_them(tmp_path: Path) -> None:
    """A v4-mapped one is its IPv4 address."""
    process(tmp_path, 5, 1, "::ffff:100.64.0.2 50000 ::ffff:100.64.0.1 22")
    session = own_session(5, tmp_path)
    assert session is not None
    assert session.client == ipaddress.ip_address("100.64.0.2")
    assert session.over_tailnet


@pytest.mark.parametrize(
    "text", ["", "nonsense", "1.2.3.4 5", "a 1 b 2", "1.2.3.4 x 1.2.3.5 22", "UNKNOWN 0 UNKNOWN 0"]
)
def test_what_is_no_connection_is_passed_over(tmp_path: Path, text: str) -> None:
    """Anybody may have set the variable; the process above may have a real one."""
    process(tmp_path, 4, 1, LAN)
    process(tmp_path, 5, 4, text)
    assert connected(own_session(5, tmp_path))[0] == "192.0.2.2"


def test_a_name_with_a_parenthesis_does_not_mislead(tmp_path: Path) -> None:
    """Programs choose their own names."""
    process(tmp_path, 4, 1, LAN)
    process(tmp_path, 5, 4, name="a) S 99 (b")
    assert connected(own_session(5, tmp_path))[0] == "192.0.2.2"


def test_a_circle_of_processes_ends(tmp_path: Path) -> None:
    """It cannot be, and it must not hang."""
    process(tmp_path, 5, 6)
    process(tmp_path, 6, 5)
    assert own_session(5, tmp_path) is None


LINE = "   0: {} {} {} 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1\n"


def network(proc: Path, state: str) -> None:
    """A list of connections with the one of TAILNET in it, as a little-endian machine has it."""
    (proc / "self/net").mkdir(parents=True)
    listed = LINE.format("01004064:0016", "02004064:C350", state)
    (proc / "self/net/tcp").write_text(f"  sl  local_address rem_address   st\n{listed}")


@pytest.mark.parametrize(("state", "is_open"), [("01", True), ("08", False), ("06", False)])
def test_a_session_is_open_while_the_kernel_has_its_connection(tmp_path: Path, state: str, is_open: bool) -> None:  # noqa: FBT001
    """Not by the environment alone, which a terminal multiplexer keeps for ever."""
    process(tmp_path, 5, 1, TAILNET)
    network(tmp_path, state)
    session = own_session(5, tmp_path)
    assert session is not None
    assert session.is_open is is_open
    process(tmp_path, 6, 1, TAILNET.replace("50000", "50009"))
    other = own_session(6, tmp_path)
    assert other is not None
    assert not other.is_open


def test_a_real_process_is_read() -> None:
    """A child whose own environment has nothing any more."""
    program = "from pam_tailscale.host.looking.gather_session import own_session; print(own_session())"
    outer = ["sh", "-c", f'env -u SSH_CONNECTION {sys.executable} -c "{program}"; true']
    done = subprocess.run(
        outer, env={**os.environ, "SSH_CONNECTION": TAILNET}, capture_output=True, text=True, check=True
    )
    assert "client=IPv4Address('100.64.0.2'), client_port=50000" in done.stdout, done.stderr
    assert "is_open=False" in done.stdout


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        (os.makedev(4, 1), True),  # tty1
        (os.makedev(4, 64), True),  # ttyS0
        (os.makedev(204, 64), True),  # ttyAMA0
        (os.makedev(229, 0), True),  # hvc0
        (os.makedev(5, 1), True),  # console
        (os.makedev(5, 0), False),  # tty: whatever terminal it is
        (os.makedev(136, 0), False),  # pts/0
        (0, False),
    ],
)
def test_a_console(tmp_path: Path, device: int, expected: bool) -> None:  # noqa: FBT001
    """A pseudo-terminal can be anybody's; a virtual console or a serial line is the host's."""
    process(tmp_path, 5, 1, terminal=device)
    assert at_console(5, tmp_path) is expected


def test_a_process_that_is_gone_is_at_no_console(tmp_path: Path) -> None:
    """Nor does it raise."""
    assert not at_console(5, tmp_path)
    assert own_session(5, tmp_path) is None
