"""Process 1 of a sandbox: builds its root file system, says "ready", and lives until the test process is gone.

Run by tests/support/sandbox.py in fresh namespaces as `sandbox_init.py ROOT HOSTNAME`. It imports nothing of ours and
nothing late: once the root is changed the Python it came from is out of reach.
"""

# Plain system calls on well-known places.
# ruff: noqa: PTH102, PTH103, PTH108, PTH110, PTH120, PTH211, S108

import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct
import sys

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")
STAGE = "/tmp"  # covered by a tmpfs of our own, in our mount namespace only

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    """Raises OSError with `what` when a C call answered -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mounts a file system, making the target directory when it is missing."""
    os.makedirs(target, exist_ok=True)
    arguments = [text.encode() for text in (source, target, kind)]
    checked(libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def overlay(root: str) -> str:
    """Stacks a writable layer in memory on `root`; answers where the result is."""
    # By descriptor: the stage may hide the path.
    lower = os.open(root, os.O_PATH | os.O_DIRECTORY)
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES if os.path.exists(f"/dev/{name}")}
    mount("tmpfs", STAGE, "tmpfs", 0, "mode=755")
    for name in ("upper", "work", "root"):
        os.mkdir(f"{STAGE}/{name}")
    new = f"{STAGE}/root"
    mount("overlay", new, "overlay", 0, f"lowerdir=/proc/self/fd/{lower},upperdir={STAGE}/upper,workdir={STAGE}/work")
    mount("tmpfs", f"{new}/dev", "tmpfs", MS_NOSUID, "mode=755")
    for name, descriptor in devices.items():
        bind_device(descriptor, f"{new}/dev/{name}")
    return new


def bind_device(descriptor: int, target: str) -> None:
    """Binds one device of the host; mknod would need a privilege that containers lack."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o666))
    source = f"/proc/self/fd/{descriptor}".encode()
    checked(libc.mount(source, target.encode(), None, ctypes.c_ulong(MS_BIND), None), f"bind {target}")
    os.close(descriptor)


def file_systems(new: str) -> None:
    """Mounts what every system has beside its root."""
    mount("proc", f"{new}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", f"{new}/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("devpts", f"{new}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", f"{new}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("tmpfs", f"{new}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("tmpfs", f"{new}/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for link, target in {"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0"}.items():
        os.symlink(target, f"{new}/dev/{link}")
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{new}/dev/{name}")


def enter(new: str) -> None:
    """Makes `new` the root and lets go of the host's files."""
    os.chdir(new)
    checked(libc.syscall(ctypes.c_long(SYS_PIVOT_ROOT[platform.machine()]), b".", b"."), "pivot_root")
    checked(libc.umount2(b".", MNT_DETACH), "umount of the host's root")
    os.chdir("/")


def identity(hostname: str) -> None:
    """Names the host and brings its loopback up."""
    socket.sethostname(hostname)
    hosts = f"127.0.0.1 localhost\n127.0.1.1 {hostname}\n::1 localhost ip6-localhost ip6-loopback\n"
    for name, text in {"hostname": f"{hostname}\n", "hosts": hosts, "resolv.conf": ""}.items():
        path = f"/etc/{name}"
        if os.path.lexists(path):
            os.unlink(path)
        # Not open(): a text file would want an encoding's module, which is out of reach by now.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(descriptor, text.encode())
        os.close(descriptor)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def main(root: str, hostname: str) -> None:
    """Sets up, then waits for the end of the pipe that only the test process holds open."""
    os.umask(0o022)
    checked(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "make mounts private")
    new = overlay(root)
    file_systems(new)
    enter(new)
    identity(hostname)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then reaps whatever is left to process 1
    os.write(1, b"ready\n")
    os.read(0, 1)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
