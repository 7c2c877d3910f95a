"""Looks for somebody's own key, as that somebody: a program of its own, which is ended where a file system hangs.

Run by its path, so that it needs nothing but Python. It is told on standard input whom to look at, and answers with the
number of the first who has a key; with nothing where nobody has.
"""

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

LIMIT: Final = 1 << 20
"""Bytes. What is larger is not read."""
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def content(path: str) -> tuple[bytes, os.stat_result]:
    """A plain file, and what it is. Raises OSError, also for what is none or is too large; it waits for nobody."""
    descriptor = os.open(path, _FLAGS)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no plain file")
        data = b""
        # Not by st_size: a file may grow, and those of /proc say 0.
        while len(data) <= LIMIT and (part := os.read(descriptor, LIMIT + 1 - len(data))):
            data += part
        if len(data) > LIMIT:
            raise OSError(f"{path} is too large")
        return data, status
    finally:
        os.close(descriptor)


@contextmanager
def acting_as(account: Mapping[str, Any]) -> Iterator[None]:
    """As sshd looks at keys (uidswap.c, temporarily_use_uid). Raises OSError where this is not root."""
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups(account["groups"])
        os.setegid(account["gid"])
        os.seteuid(account["uid"])
        yield
    finally:
        os.seteuid(os.getuid())
        os.setegid(gid)
        os.setgroups(groups)


def has_key(path: str, account: Mapping[str, Any], *, strict: bool) -> bool:
    """Whether a file holds a key that sshd would look at. `strict`: as StrictModes asks."""
    try:
        data, status = content(path)
        if strict and not _is_own(path, status, account):
            return False
    except OSError:
        return False
    return any(line.strip() and not line.strip().startswith(b"#") for line in data.splitlines())


def _is_own(path: str, status: os.stat_result, account: Mapping[str, Any]) -> bool:
    """Whether nobody else may write to it or above it, up to the home (misc.c, safe_path). Raises OSError."""
    home = Path(os.path.realpath(account["home"]))
    checked = [status]
    for directory in Path(os.path.realpath(path)).parents:
        checked.append(directory.stat())
        if directory == home:
            break
    return all(one.st_uid in (0, account["uid"]) and not one.st_mode & _OTHERS for one in checked)


def main() -> None:
    """Look at one after the other."""
    asked = json.load(sys.stdin)
    for number, account in enumerate(asked["accounts"]):
        with suppress(OSError), acting_as(account):
            if any(has_key(path, account, strict=asked["strict"]) for path in account["files"]):
                sys.stdout.write(str(number))
                return


if __name__ == "__main__":
    main()
