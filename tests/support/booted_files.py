"""What is on a machine's disk, and what became different; for tests that nothing was left behind."""

import fnmatch
import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.namespaces import CLONE_NEWNS
from tests.support.roots import PROJECT
from tests.support.sandbox import Sandbox

LEFT_BEHIND = PROJECT / "tests/data/left-behind.txt"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link. Times do not count."""

    mode: str
    """As ls(1) shows it, the type included."""
    owner: str
    content: str
    """A file's sha256, where a link leads; empty for everything else."""

    def __str__(self) -> str:
        return f"{self.mode} {self.owner} {self.content[:12]}"


def listing(box: Sandbox) -> dict[str, Entry]:
    """Everything on the disk of a host, by path; what is mounted on it is not looked at."""
    return box.inside(_walk, CLONE_NEWNS)


def _walk() -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    device = os.lstat("/").st_dev
    for directory, subdirectories, names in os.walk("/"):
        subdirectories[:] = [
            name
            for name in subdirectories
            if os.lstat(os.path.join(directory, name)).st_dev == device  # noqa: PTH118
        ]
        for name in (*subdirectories, *names):
            path = os.path.join(directory, name)  # noqa: PTH118
            found[path] = _entry(path)
    return found


def _entry(path: str) -> Entry:
    status = os.lstat(path)
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(path)  # noqa: PTH115
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:  # noqa: PTH123
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(stat.filemode(status.st_mode), f"{status.st_uid}:{status.st_gid}", content)


def differences(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> dict[str, str]:
    """What is not the same, by path: what it was and what it is."""
    return {
        path: f"{before.get(path, 'not there')} -> {after.get(path, 'not there')}"
        for path in sorted({*before, *after})
        if before.get(path) != after.get(path)
    }


def expected() -> dict[str, str]:
    """What may be different afterwards (patterns as of the shell, in which `*` also stands for `/`), and why."""
    lines = [line for line in LEFT_BEHIND.read_text().splitlines() if line and not line.startswith("#")]
    return {pattern: reason.strip() for pattern, _, reason in (line.partition("  ") for line in lines)}


def unexpected(different: Mapping[str, str]) -> dict[str, str]:
    """Those differences that no line of the list is about."""
    patterns = expected()
    return {
        path: what
        for path, what in different.items()
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)
    }
