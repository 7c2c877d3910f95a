"""The promises of the test hosts themselves: what happens in a sandbox stays there and ends with it."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import namespaces
from tests.support.roots import PROJECT, Suite, debian_root
from tests.support.sandbox import CommandFailed, Sandbox, connect
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def root(request: pytest.FixtureRequest) -> Path:
    """Each of the Debian roots in turn."""
    suite: Suite = request.param
    return debian_root(suite)


@pytest.fixture
def box(root: Path) -> Iterator[Sandbox]:
    """A sandbox for one test."""
    with Sandbox(root, "lab") as sandbox:
        yield sandbox


def namespace(kind: str, process: int | str) -> str:
    """The identity of a process's namespace."""
    return str(Path(f"/proc/{process}/ns/{kind}").readlink())


def in_namespace(kind: str, link: str) -> list[int]:
    """The processes of this machine that are in a namespace."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if namespace(kind, process.name) == link:
                found.append(int(process.name))
        except OSError:  # it ended meanwhile
            continue
    return found


def test_files_written_inside_stay_inside(box: Sandbox, root: Path) -> None:
    """A change to /etc in a sandbox reaches neither the machine nor the root that all sandboxes share."""
    box.write("/etc/pam.d/only-inside", "auth required pam_deny.so\n")
    assert box.run(["cat", "/etc/pam.d/only-inside"]).stdout == "auth required pam_deny.so\n"
    assert not (root / "etc/pam.d/only-inside").exists()
    assert not Path("/etc/pam.d/only-inside").exists()


def test_absolute_links_are_followed_inside(box: Sandbox) -> None:
    """A link to an absolute path, such as /var/run, leads to the sandbox's own file and not to the machine's."""
    box.run(["ln", "-s", "/run", "/to-run"])
    box.write("/to-run/sandbox-test/file", "x")
    assert box.read("/run/sandbox-test/file") == "x"
    assert box.path("/to-run/sandbox-test/file").read_text() == "x"
    assert not Path("/run/sandbox-test").exists()


def test_the_network_is_its_own(box: Sandbox) -> None:
    """Only loopback is there, and it is up."""
    assert box.run(["ls", "/sys/class/net"]).stdout.split() == ["lo"]
    listener = box.inside(lambda: socket.create_server(("127.0.0.1", 0)))
    with listener:
        port = listener.getsockname()[1]
        with box.inside(lambda: socket.create_connection(("127.0.0.1", port), 5)):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 5)


def test_two_sandboxes_can_be_joined(root: Path, box: Sandbox) -> None:
    """A cable carries IPv4 and IPv6 between two sandboxes at once, without waiting for address detection."""
    with Sandbox(root, "other") as other:
        connect(box, other, "eth0", "192.0.2.1/24", "eth0", "192.0.2.2/24")
        box.address("eth0", "2001:db8::1/64")
        other.address("eth0", "2001:db8::2/64")
        for address, family in (("192.0.2.2", socket.AF_INET), ("2001:db8::2", socket.AF_INET6)):
            listener = other.inside(lambda a=address, f=family: socket.create_server((a, 0), family=f))  # type: ignore[misc]
            with listener:
                port = listener.getsockname()[1]
                box.inside(lambda a=address, p=port: socket.create_connection((a, p), 5)).close()  # type: ignore[misc]


def test_nothing_is_left(root: Path) -> None:
    """After the end no process is in its namespaces, even one that detached and ignores signals."""
    with Sandbox(root) as sandbox:
        sandbox.popen(["sh", "-c", "trap '' TERM HUP; setsid sleep 1000 & setsid sleep 1000"], "/tmp/log")  # noqa: S108
        links = {kind: namespace(kind, sandbox.pid) for kind in ("mnt", "pid", "net")}
        wait_until(lambda: len(in_namespace("mnt", links["mnt"])) >= 4, 5, "init, the shell and both sleepers")
    assert {kind: in_namespace(kind, link) for kind, link in links.items()} == {"mnt": [], "pid": [], "net": []}


def test_nothing_is_left_when_the_test_process_is_killed(root: Path) -> None:
    """SIGKILL of the test process takes the sandbox and its daemons along."""
    program = f"""
import os, time
from pathlib import Path
from tests.support.sandbox import Sandbox
box = Sandbox(Path({str(root)!r}))
box.start()
box.popen(["sleep", "1000"], "/tmp/log")
print(os.readlink(f"/proc/{{box.pid}}/ns/mnt"), flush=True)
time.sleep(1000)
"""
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        link = child.stdout.readline().strip()
        assert len(in_namespace("mnt", link)) == 2
        child.send_signal(signal.SIGKILL)
    wait_until(lambda: not in_namespace("mnt", link), 5, "the sandbox's processes are gone")


def test_a_popen_pid_is_the_hosts(box: Sandbox) -> None:
    """The pid that popen gives can be signalled from the test process, and the child is collected by it."""
    child = box.popen(["sleep", "1000"], "/tmp/log")  # noqa: S108
    assert namespace("pid", child.pid) == namespace("pid", box.pid)
    child.terminate()
    assert child.wait(5) == -signal.SIGTERM


def test_commands_run_as_the_user_they_are_asked_for(box: Sandbox) -> None:
    """`user` sets uid, gid, groups and HOME; root's groups do not remain."""
    alice = box.add_user("alice")
    box.write("/etc/group", box.read("/etc/group") + "lab:x:4242:alice\n")
    shown = box.run(["sh", "-c", "id -u; id -g; id -G; echo $HOME"], user="alice").stdout.split("\n")
    assert shown[:4] == [str(alice.uid), str(alice.gid), f"{alice.gid} 4242", "/home/alice"]


@pytest.mark.parametrize(("password", "status"), [(None, "L"), ("", "NP"), ("secret", "P")])
def test_passwords_are_what_the_system_thinks(box: Sandbox, password: str | None, status: str) -> None:
    """None is an account that no password opens, "" one with the empty password."""
    box.add_user("alice", password=password)
    assert box.run(["passwd", "-S", "alice"]).stdout.split()[1] == status


def test_a_failing_command_says_what_it_said(box: Sandbox) -> None:
    """CommandFailed carries status and stderr."""
    with pytest.raises(CommandFailed, match="complaint") as caught:
        box.run(["sh", "-c", "echo complaint >&2; exit 3"])
    assert caught.value.returncode == 3


def test_a_hanging_command_is_killed(box: Sandbox) -> None:
    """A command that outlives its time is ended, and the caller told what it had printed."""
    with pytest.raises(subprocess.TimeoutExpired):
        box.run(["sleep", "1000"], timeout=0.1)
    assert "sleep" not in box.run(["ps", "-A", "-o", "comm"]).stdout


def test_a_bind_is_read_only_unless_asked(box: Sandbox, tmp_path: Path) -> None:
    """The sandbox sees a file of the machine and cannot change it; a writable one it can."""
    for name in ("fixed", "open"):
        (tmp_path / name).write_text(name)
    box.bind(tmp_path / "fixed", "/srv/fixed")
    box.bind(tmp_path / "open", "/srv/open", writable=True)
    assert box.read("/srv/fixed") == "fixed"
    refused = box.run(["sh", "-c", "echo x > /srv/fixed"], check=False)
    assert refused.returncode != 0
    box.run(["sh", "-c", "echo x > /srv/open"])
    assert (tmp_path / "open").read_text() == "x\n"


def test_the_test_process_itself_stays_where_it_was(box: Sandbox) -> None:
    """Acting inside changes only a thread that ends."""
    before = {kind: namespace(kind, "self") for kind in ("mnt", "net", "pid", "pid_for_children")}
    box.inside(lambda: None)
    box.inside(lambda: None, namespaces.CLONE_NEWNET)
    assert {kind: namespace(kind, "self") for kind in before} == before


def test_the_machines_own_root_can_be_the_lower_layer() -> None:
    """`/` serves as a root too: for machines that are Debian themselves."""
    with Sandbox(Path("/"), "same") as sandbox:
        assert sandbox.run(["hostname"]).stdout == "same\n"
        sandbox.write("/etc/sandbox-test", "x")
    assert not Path("/etc/sandbox-test").exists()
