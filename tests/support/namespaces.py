"""Running a function of the test process inside other namespaces, in a thread of its own. Knows nothing of sandboxes.

setns(2) and unshare(2) change the calling thread alone, so a throw-away thread may enter, act, and end. A process that
it starts is a direct child of the test process: its pid is the host's, and no helper stands between.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_ALL = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET

_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429  # the same on every architecture
_OPEN_TREE_CLONE, _AT_RECURSIVE, _MOVE_MOUNT_F_EMPTY_PATH, _AT_FDCWD = 1, 0x8000, 4, -100
_MS_RDONLY, _MS_REMOUNT, _MS_BIND = 1, 32, 4096

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def in_new_namespaces(function: Callable[[], T]) -> T:
    """Calls `function` in a thread with fresh mount, pid, net, uts and ipc namespaces (pid: of its children)."""
    return _in_thread(lambda: _checked(_libc.unshare(CLONE_FS | CLONE_ALL), "unshare"), function)


def in_namespaces_of(pidfd: int, function: Callable[[], T], kinds: int = CLONE_ALL) -> T:
    """Calls `function` in a thread inside the namespaces (`kinds`, CLONE_NEW...) of a process; its result is ours.

    The function should import nothing: inside a mount namespace the interpreter's own files are not there.
    """

    def enter() -> None:
        # A thread that shares its root and working directory with others may not change mount namespaces.
        _checked(_libc.unshare(CLONE_FS), "unshare")
        _checked(_libc.setns(pidfd, kinds), "setns")

    return _in_thread(enter, function)


def _in_thread(enter: Callable[[], object], function: Callable[[], T]) -> T:
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            enter()
            results.append(function())
        except BaseException as err:  # noqa: BLE001 - raised again in the caller's thread
            errors.append(err)

    thread = threading.Thread(target=body, name="namespaces")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def bind_into(pidfd: int, source: Path, inside: str, *, writable: bool) -> None:
    """Makes the host's `source` appear at `inside` in the mount namespace of a process (the target must exist)."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    number = ctypes.c_long(_SYS_OPEN_TREE)
    tree = _checked(_libc.syscall(number, _AT_FDCWD, os.fsencode(source), ctypes.c_uint(flags)), f"open_tree {source}")
    try:
        in_namespaces_of(pidfd, lambda: _attach(tree, inside.encode(), writable=writable), CLONE_NEWNS)
    finally:
        os.close(tree)


def _attach(tree: int, target: bytes, *, writable: bool) -> None:
    number = ctypes.c_long(_SYS_MOVE_MOUNT)
    flags = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)
    _checked(_libc.syscall(number, tree, b"", _AT_FDCWD, target, flags), f"move_mount {target!r}")
    if not writable:
        remount = ctypes.c_ulong(_MS_REMOUNT | _MS_BIND | _MS_RDONLY)
        _checked(_libc.mount(None, target, None, remount, None), f"remount {target!r}")
