"""The lines of passwd, shadow and group: what useradd would write, without starting a program. Pure text."""

import ctypes
import ctypes.util
import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Account:
    """One line of /etc/passwd, as far as tests need it."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    @property
    def passwd_line(self) -> str:
        return f"{self.name}:x:{self.uid}:{self.gid}::{self.home}:{self.shell}\n"


def parse_passwd(text: str) -> dict[str, Account]:
    """The accounts of a passwd file, by name."""
    fields = (line.split(":") for line in text.splitlines() if line.count(":") == 6)
    return {f[0]: Account(f[0], int(f[2]), int(f[3]), f[5], f[6]) for f in fields}


def groups_of(group_text: str, name: str) -> list[int]:
    """The supplementary groups of an account."""
    fields = (line.split(":") for line in group_text.splitlines() if line.count(":") == 3)
    return [int(f[2]) for f in fields if name in f[3].split(",")]


def free_uid(accounts: dict[str, Account]) -> int:
    """The uid that useradd would take next."""
    return max([999, *(account.uid for account in accounts.values() if 1000 <= account.uid < 60000)]) + 1


def shadow_field(password: str | None) -> str:
    """The password field of shadow: "*" for None (no password fits), empty for the empty password."""
    if not password:
        return "*" if password is None else ""
    libcrypt = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    hashed = libcrypt.crypt(password.encode(), f"$6$rounds=1000${secrets.token_hex(8)}$".encode())
    return str(hashed.decode())


def with_shadow(shadow_text: str, name: str, password: str | None) -> str:
    """A shadow file in which `name` has this password."""
    others = [line for line in shadow_text.splitlines() if not line.startswith(f"{name}:")]
    return "\n".join([*others, f"{name}:{shadow_field(password)}:20000:0:99999:7:::"]) + "\n"
