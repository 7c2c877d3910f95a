"""Namespaces and mounts: the system calls that Python 3.11 lacks, and the two things that are made of them.

Whoever calls these must have one thread, because namespaces belong to threads. Every failure is an OSError that names
the call.
"""

import ctypes
import os
import signal
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18

# The same on every architecture that Debian has: numbers from 424 on are common to all.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE, _AT_EMPTY_PATH, _AT_RECURSIVE = 1, 0x1000, 0x8000
_MOVE_MOUNT_EMPTY_PATHS = 0x4 | 0x40
_MOUNT_ATTR_RDONLY = 1
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttr(ctypes.Structure):
    """As mount_setattr(2) takes it."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _checked(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(kinds: int) -> None:
    """Give this process namespaces of its own; CLONE_NEWPID is for the children it will have."""
    _checked(_libc.unshare(kinds), f"unshare({kinds:#x})")


def enter(descriptor: int, kind: int) -> None:
    """Move this process into the namespace that a descriptor stands for."""
    _checked(_libc.setns(descriptor, kind), "setns")


def die_with_parent() -> None:
    """Be killed when the parent ends, however that happens. Look at getppid() afterwards: it may have ended already."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def mount(kind: str, target: str, options: str = "", flags: int = 0) -> None:
    """Mount a file system without a device, such as tmpfs or proc."""
    arguments = [text.encode() for text in (kind, target, kind)]
    _checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount {kind} on {target}")


def bind(source: str, target: str) -> None:
    """Make a file or directory, with whatever is mounted below it, appear at another place as well."""
    flags = ctypes.c_ulong(_MS_BIND | _MS_REC)
    _checked(_libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None), f"bind {source} on {target}")


def own_read_only_mounts() -> None:
    """Move to a mount namespace in which all that this process sees of the file system is read-only.

    What is mounted here afterwards is seen nowhere else, and can be written to. This process's root counts, also where
    that is no mount of its own but a directory (chroot). Needs /proc, and Linux 5.12.
    """
    unshare(CLONE_NEWNS)
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    # setns(2) leads to the namespace's own root, out of a chroot: only a mount can be made private.
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    enter(namespace, CLONE_NEWNS)
    os.close(namespace)
    private = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    _checked(_libc.mount(None, b"/", None, private, None), "make mounts private")
    tree = _clone(root)
    _set_read_only(tree)
    number, flags = ctypes.c_long(_SYS_MOVE_MOUNT), ctypes.c_uint(_MOVE_MOUNT_EMPTY_PATHS)
    _checked(_libc.syscall(number, tree, b"", root, b"", flags), "move_mount")
    os.fchdir(tree)
    os.chroot(".")
    os.chdir("/")
    os.close(tree)
    os.close(root)


def _clone(directory: int) -> int:
    """A copy of the mounts from a directory down, which is nowhere yet."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE)
    number = ctypes.c_long(_SYS_OPEN_TREE)
    return _checked(_libc.syscall(number, directory, b"", flags), "open_tree")


def _set_read_only(tree: int) -> None:
    attributes = _MountAttr(attr_set=_MOUNT_ATTR_RDONLY)
    number, flags = ctypes.c_long(_SYS_MOUNT_SETATTR), ctypes.c_uint(_AT_EMPTY_PATH | _AT_RECURSIVE)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _checked(_libc.syscall(number, tree, b"", flags, ctypes.byref(attributes), size), "mount_setattr")
