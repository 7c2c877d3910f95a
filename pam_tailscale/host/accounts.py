"""The local accounts, by the lines of passwd(5) and shadow(5). Pure: lines of files in; what it means others judge."""

from collections.abc import Iterable
from dataclasses import dataclass

_FIELDS = 7
"""Of a line of passwd(5)."""
_IN_SHADOW = "x"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of passwd(5)."""

    name: str
    password: str
    uid: int
    gid: int
    home: str
    shell: str


def parse_passwd(text: str) -> tuple[Entry, ...]:
    """The accounts of /etc/passwd; lines that are none are passed over, as getpwent(3) does."""
    found = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) == _FIELDS and fields[0] and fields[2].isdecimal() and fields[3].isdecimal():
            found.append(Entry(fields[0], fields[1], int(fields[2]), int(fields[3]), fields[5], fields[6]))
    return tuple(found)


def empty_passwords(accounts: Iterable[Entry], shadow: str) -> tuple[str, ...]:
    """Accounts whose password is the empty one: in shadow(5), or in passwd(5) where that has it."""
    in_shadow = {fields[0]: fields[1] for line in shadow.splitlines() if len(fields := line.split(":")) > 1}
    return tuple(
        account.name
        for account in accounts
        if not (in_shadow.get(account.name, account.password) if account.password == _IN_SHADOW else account.password)
    )
