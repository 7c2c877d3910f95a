"""The accounts that play in the proof, as lines of passwd, shadow and group. Text in, text out, but for the hash.

No secret of the host is needed: passwords are made for the occasion and stand in copies of these files alone.
"""

import ctypes
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_UIDS: Final = range(59999, 999, -1)
"""An ordinary person's (login.defs(5), UID_MAX); from the far end, where fewest are taken."""
_COST: Final = "$6$rounds=1000$"
"""Passwords that live for a second need no more."""


@dataclass(frozen=True, slots=True)
class Actor:
    """An account that exists on the stage alone, with a group of the same name."""

    name: str
    uid: int
    home: str


def cast(passwd: str, names: Iterable[str], homes: str) -> tuple[Actor, ...]:
    """Actors with these names and uids that no line of a passwd has, and homes below a directory."""
    taken = {line.split(":")[2] for line in passwd.splitlines() if line.count(":") > 1}
    free = (uid for uid in _UIDS if str(uid) not in taken)
    return tuple(Actor(name, uid, f"{homes}/{name}") for name, uid in zip(names, free, strict=False))


def passwd_with(text: str, actors: Iterable[Actor]) -> str:
    """A passwd in which the actors have accounts, in front: below a line of NIS nothing would be looked at."""
    lines = (f"{actor.name}:x:{actor.uid}:{actor.uid}::{actor.home}:/bin/sh" for actor in actors)
    return _with(text, lines)


def group_with(text: str, actors: Iterable[Actor]) -> str:
    """A group file in which they have their groups."""
    return _with(text, (f"{actor.name}:x:{actor.uid}:" for actor in actors))


def shadow_with(text: str, fields: Iterable[tuple[str, str]]) -> str:
    """A shadow in which these names have these password fields; those that are new to it are in front.

    What it says about the age of a password goes: an old one would have to be changed first.
    """
    lines = {name: f"{name}:{field}:::::::" for name, field in fields}
    kept = []
    for line in text.splitlines():
        name = line.partition(":")[0]
        if name in lines:
            expiry = line.split(":")[7:8]  # when the account ends, which is not about the password
            kept.append(f"{lines.pop(name)[:-1]}{''.join(expiry)}:")
        else:
            kept.append(line)
    return "".join(f"{line}\n" for line in (*lines.values(), *kept))


def hashed(password: str) -> str:
    """The field of shadow for a password (crypt(3)). Raises OSError."""
    library = ctypes.CDLL("libcrypt.so.1", use_errno=True)
    library.crypt.restype = ctypes.c_char_p
    found = library.crypt(password.encode(), f"{_COST}{secrets.token_hex(8)}$".encode())
    if not found or found.startswith(b"*"):
        raise OSError(ctypes.get_errno(), "crypt(3) failed")
    return str(found.decode("ascii"))


def _with(text: str, lines: Iterable[str]) -> str:
    def merged() -> Iterator[str]:
        ours = list(lines)
        names = {line.partition(":")[0] for line in ours}
        yield from ours
        yield from (line for line in text.splitlines() if line.partition(":")[0] not in names)

    return "".join(f"{line}\n" for line in merged())
