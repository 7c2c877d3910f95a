"""Namespaces and mounts: what is seen from inside, what is not seen from outside, and what cannot be written to."""

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_tailscale.host.proving import namespaces
from tests.support.waiting import wait_until
from tests.unit.host.proving import on_stage

_WRITES = """
import errno
def refused(path):
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError as err:
        return err.errno == errno.EROFS
    os.unlink(path)
    return False
places = sys.argv[1:]
namespaces.own_read_only_mounts()
found["refused"] = [refused(f"{place}/pam-tailscale-test") for place in places]
namespaces.mount("tmpfs", places[0], "mode=755")
found["tmpfs"] = refused(f"{places[0]}/pam-tailscale-test")
os.mkdir(f"{places[0]}/below")
namespaces.bind(places[0], "/mnt")
found["bound"] = os.listdir("/mnt")
"""
_IN_A_CHROOT = """
namespaces.unshare(namespaces.CLONE_NEWNS)
os.chroot(sys.argv[1])
os.chdir("/")
namespaces.own_read_only_mounts()
found["root"] = sorted(os.listdir("/"))
try:
    os.mkdir("/made")
except OSError as err:
    found["error"] = os.strerror(err.errno)
namespaces.mount("tmpfs", "/tmp")
os.mkdir("/tmp/made")
found["tmp"] = os.listdir("/tmp")
"""
_ORPHAN = """
import os, time
from pam_tailscale.host.proving import namespaces
reading, writing = os.pipe()
if os.fork() == 0:
    namespaces.die_with_parent()
    os.write(writing, b"x")
    print(os.getpid(), flush=True)
    time.sleep(60)
os.read(reading, 1)
time.sleep(60)
"""


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file system of its own; whatever is mounted there is seen by all who share it."""
    subprocess.run(["mount", "-t", "tmpfs", "--make-shared", "tmpfs", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_the_host_is_read_only_and_what_is_mounted_is_ones_own(
    mounted: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every file system of it; and outside nothing of that is to be seen."""
    other = tmp_path_factory.mktemp("other")
    # Other tests mount as well, meanwhile, in directories of their own.
    others = tmp_path_factory.getbasetemp().parent

    def seen() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        own = (str(mounted), str(other))
        return [line for line in lines if str(others) not in line or any(path in line for path in own)]

    before = seen()
    found = on_stage.run(_WRITES, str(mounted), str(other), "/etc", "/dev", "/run")
    assert found == {"refused": [True] * 5, "tmpfs": False, "bound": ["below"]}
    assert seen() == before
    assert list(mounted.iterdir()) == list(other.iterdir()) == []


def test_a_root_that_is_only_a_directory(tmp_path: Path) -> None:
    """In a chroot the mounts that the root lies on are out of sight, and might be shared with the host."""
    for name in ("proc", "tmp"):
        (tmp_path / name).mkdir()
    subprocess.run(["mount", "--bind", "/proc", tmp_path / "proc"], check=True)
    try:
        found = on_stage.run(_IN_A_CHROOT, str(tmp_path))
    finally:
        subprocess.run(["umount", tmp_path / "proc"], check=True)
    assert found == {"root": ["proc", "tmp"], "error": "Read-only file system", "tmp": ["made"]}
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_child_ends_with_its_parent() -> None:
    """Also where the parent had no time to say so."""
    with subprocess.Popen([sys.executable, "-c", _ORPHAN], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        # Readable once it has ended, also while whoever adopted it has not collected it (pidfd_open(2)).
        wait_until(lambda: select.select([child], [], [], 0)[0], 10, "the child has ended")
    finally:
        os.close(child)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: namespaces.enter(-1, namespaces.CLONE_NEWNET), "setns"),
        (lambda: namespaces.mount("tmpfs", "/nonexistent/place"), "mount tmpfs on /nonexistent/place"),
        (lambda: namespaces.bind("/nonexistent/one", "/nonexistent/two"), "bind /nonexistent/one"),
        (lambda: namespaces.unshare(0x1), "unshare"),
    ],
)
def test_a_failure_names_the_call(call: Callable[[], None], names: str) -> None:
    """And the kernel's reason."""
    with pytest.raises(OSError, match=names) as raised:
        call()
    assert os.strerror(raised.value.errno or 0) in str(raised.value)
