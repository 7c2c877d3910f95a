"""Which OpenSSH it is, and what follows from that. Runs nothing."""

import re
from dataclasses import dataclass

_VERSION = re.compile(r"OpenSSH_(\d{1,3})\.(\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class OpenSSH:
    """A version of OpenSSH, without the patch level: nothing here depends on that."""

    major: int
    minor: int

    @property
    def has_service_names(self) -> bool:
        """Whether sshd knows `PAMServiceName` and `PerSourcePenalties` (both from 9.8: its release notes)."""
        return (self.major, self.minor) >= (9, 8)

    @property
    def is_supported(self) -> bool:
        """Whether it is one that this was tried with: 9.2 (Debian 12) and later."""
        return (self.major, self.minor) >= (9, 2)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def parse(text: str) -> OpenSSH | None:
    """The version in what `sshd -V` or `ssh -V` prints, or None where it names none."""
    match = _VERSION.search(text)
    return OpenSSH(int(match[1]), int(match[2])) if match else None
