"""Who listens, from a /proc laid out by the tests and from the real one."""

import ipaddress
import os
import socket
from pathlib import Path

import pytest

from pam_tailscale.host import listeners
from pam_tailscale.host.listeners import Endpoint

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(local: str, state: str, inode: int) -> str:
    """A socket, as /proc/net/tcp has it."""
    return (
        f"   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 100\n"
    )


class Proc:
    """A /proc in which processes can be put."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process("self", "/usr/bin/python3", "python3", ())
        (path / "self/net").mkdir()
        self.tables("", "")

    def process(self, pid: str, program: str, title: str, inodes: tuple[int, ...], namespace: str = "net:[1]") -> Path:
        process = self.path / pid
        (process / "fd").mkdir(parents=True)
        (process / "ns").mkdir()
        (process / "exe").symlink_to(program)
        (process / "ns/net").symlink_to(namespace)
        (process / "cmdline").write_bytes(title.replace(" ", "\0").encode() + b"\0\0")
        (process / "fd/0").symlink_to("/dev/null")
        self.status(process, "0 0 0 0")
        for number, inode in enumerate(inodes):
            (process / f"fd/{number + 3}").symlink_to(f"socket:[{inode}]")
        return process

    def status(self, process: Path, uids: str, nspid: str = "1", parent: int = 1) -> None:
        text = f"Name:\tsshd\nPPid:\t{parent}\nUid:\t{uids.replace(' ', chr(9))}\nNSpid:\t{nspid}\n"
        (process / "status").write_text(text)

    def tables(self, four: str, six: str) -> None:
        (self.path / "self/net/tcp").write_text(HEADING + four)
        (self.path / "self/net/tcp6").write_text(HEADING + six)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    """A kernel with four sockets that listen and three connections."""
    made = Proc(tmp_path)
    made.tables(
        line("00000000:0016", "0A", 10) + line("0100007F:0016", "01", 11) + line("01004064:08AE", "0A", 12),
        line("00000000000000000000000000000000:0016", "0A", 20)
        + line("0000000000000000FFFF00000100007F:0016", "01", 21),
    )
    return made


def test_a_listener_and_where_it_listens(proc: Proc) -> None:
    """Its connections are not where it listens."""
    title = "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"
    proc.process("700", "/usr/sbin/sshd", title, (10, 11, 20))
    (found,) = listeners.find(proc.path)
    assert (found.pid, found.program, found.command) == (700, "/usr/sbin/sshd", title)
    assert found.endpoints == (
        Endpoint(ipaddress.ip_address("0.0.0.0"), 22, 10),
        Endpoint(ipaddress.ip_address("::"), 22, 20),
    )


def test_who_is_no_listener(proc: Proc) -> None:
    """A session's process, another program, one in a container."""
    proc.process("701", "/usr/sbin/sshd", "sshd: alice [priv]", (11,))
    proc.process("702", "/usr/sbin/nginx", "nginx", (10,))
    proc.process("703", "/usr/sbin/sshd", "sshd: [listener]", (10,), "net:[2]")
    proc.process("704", "/usr/bin/notsshd", "sshd", (10,))
    (proc.path / "705").mkdir()
    assert listeners.find(proc.path) == ()


@pytest.mark.parametrize(
    ("uids", "nspid"),
    [("1000 1000 1000 1000", "7"), ("1000 0 0 0", "7"), ("0 1000 0 0", "7"), ("0 0 0 1000", "7"), ("0 0 0 0", "7\t1")],
)
def test_only_roots_counts(proc: Proc, uids: str, nspid: str) -> None:
    """Anybody can start sshd on a port of theirs, with options that root would then go by."""
    process = proc.process("700", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D -o ForceCommand=/tmp/x [listener]", (10,))
    assert len(listeners.find(proc.path)) == 1
    proc.status(process, uids, nspid)
    assert listeners.find(proc.path) == ()


@pytest.mark.parametrize(
    "title",
    [
        "sshd: root@pts/0",
        "sshd: root [priv]",
        "/usr/sbin/sshd -D -R",
        "/usr/sbin/sshd -i",
        "/usr/sbin/sshd -t -f /etc/ssh/sshd_config",
        "/usr/sbin/sshd -4T",
    ],
)
def test_what_is_no_listener(proc: Proc, title: str) -> None:
    """Root's session listens where root has a port forwarded (-R), and a signal would end it."""
    proc.process("700", "/usr/sbin/sshd", title, (10,))
    assert listeners.find(proc.path) == ()
    proc.process("701", "/usr/sbin/sshd", title, ())
    assert not listeners.is_starting(proc.path)


@pytest.mark.parametrize("title", ["/usr/sbin/sshd -D", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups"])
def test_one_that_is_about_to_listen(proc: Proc, title: str) -> None:
    """It has its files in memory already; that it does not listen does not mean that none runs."""
    process = proc.process("700", "/usr/sbin/sshd", title, ())
    assert listeners.find(proc.path) == ()
    assert listeners.is_starting(proc.path)
    proc.status(process, "1000 1000 1000 1000")
    assert not listeners.is_starting(proc.path)


def test_a_child_of_a_listener_is_not_about_to_listen(proc: Proc) -> None:
    """It has its parent's title until it is another program."""
    proc.process("700", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener]", (10,))
    child = proc.process("701", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener]", (11,))
    assert listeners.is_starting(proc.path)
    proc.status(child, "0 0 0 0", parent=700)
    assert not listeners.is_starting(proc.path)


def test_one_whose_program_was_upgraded_is_found(proc: Proc) -> None:
    """It runs on until it is restarted."""
    proc.process("710", "/usr/sbin/sshd (deleted)", "sshd: [listener]", (12,))
    proc.process("72", "/opt/ssh/sbin/sshd", "sshd -f /etc/other", (20,))
    assert [(one.pid, one.program) for one in listeners.find(proc.path)] == [
        (72, "/opt/ssh/sbin/sshd"),
        (710, "/usr/sbin/sshd (deleted)"),
    ]
    assert listeners.find(proc.path)[1].endpoints == (Endpoint(ipaddress.ip_address("100.64.0.1"), 2222, 12),)


def test_connections_too_where_asked(proc: Proc) -> None:
    """A v4-mapped address is its IPv4 address."""
    all_of_them = list(listeners.endpoints(proc.path, state=None))
    assert Endpoint(ipaddress.ip_address("127.0.0.1"), 22, 11) in all_of_them
    assert Endpoint(ipaddress.ip_address("127.0.0.1"), 22, 21) in all_of_them
    assert len(all_of_them) == 5


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_real_proc(address: str) -> None:
    """As this kernel writes it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as server:
        server.bind((address, 0))
        server.listen(1)
        inode = os.fstat(server.fileno()).st_ino
        port = server.getsockname()[1]
        assert inode in listeners.inodes(Path("/proc/self"))
        assert Endpoint(ipaddress.ip_address(address), port, inode) in list(listeners.endpoints())
    assert inode not in listeners.inodes(Path("/proc/self"))


def test_processes_that_end_meanwhile(proc: Proc) -> None:
    """They are left out."""
    assert listeners.title(proc.path / "999") == ""
    assert listeners.inodes(proc.path / "999") == frozenset()
