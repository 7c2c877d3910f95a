"""The PAM half: a service of our own from OpenSSH 9.8 on, before that a block at the top of /etc/pam.d/sshd. Pure.

Putting the block in and taking it out leaves every other byte of that file alone: it is the administrator's.
"""

import re

from pam_tailscale import paths
from pam_tailscale.errors import ConfigError
from pam_tailscale.host.dropin import TAILNET

_MODULE = f"pam_tailscale.so mode=enforce addresses={TAILNET}"
_ACCESS = f"pam_access.so noaudit accessfile={paths.NOT_TAILNET}"

SERVICE = f"""\
# Made by `pam-tailscale enable` for OpenSSH 9.8 and later; `pam-tailscale disable` takes it away. Do not edit it: once
# it is altered, {paths.DROP_IN.name}, which names this service to sshd, is taken out of force.
#
# All four types are needed: for one that is missing libpam takes the service `other`, where a password opens the door.

# Anything but a yes ends here. try_again means that a later method of the same connection may still succeed.
auth     [success=done try_again=done default=die] {_MODULE}
# Reached only when the line above answers "not from the tailnet", which must not happen under this service.
auth     requisite  pam_deny.so
# The same question again for every method, keys included.
account  requisite  {_MODULE}
# What the administrator asks of every account: nologin, expiry, pam_access.
account  include    sshd
# No password changes over the tailnet: nobody has proved to know the old one.
password requisite  pam_deny.so
# Before our own line, so that the session has its audit id when it is counted.
session  required   pam_loginuid.so
session  required   {_MODULE}
# Limits, motd, environment: as for every other login.
session  include    sshd
""".encode()

_FIRST = b"# pam-tailscale: written by `pam-tailscale enable` for OpenSSH before 9.8"
_LAST = b"# pam-tailscale: end of what it wrote"
BLOCK = f"""\
{_FIRST.decode()}; `pam-tailscale disable` takes it out.
# Do not edit it, and put nothing above it: its other half, {paths.DROP_IN.name}, would be taken out of force.
#
# From the tailnet, our module alone decides who gets in. From elsewhere it answers "ignore" and the rest of the file
# goes on as if these lines were not there: ignore=1 steps over the pam_access line. Those are reached only when the
# module's file is missing or cannot be loaded: then they refuse the tailnet and let everything else pass.
#
# try_again means that a later method of the same connection may still succeed.
auth    [success=done try_again=done ignore=1 module_unknown=ignore open_err=ignore default=die] {_MODULE}
auth    [success=ignore default=die] {_ACCESS}
# The same question again for every method, keys included; then what the administrator asks of every account.
account [success=1 ignore=1 module_unknown=ignore open_err=ignore default=die] {_MODULE}
account [success=ignore default=die] {_ACCESS}
# The session gets its audit id before it is counted. What this line answers is left to the same line further down.
session [default=ignore] pam_loginuid.so
session [success=1 ignore=1 module_unknown=ignore open_err=ignore default=die] {_MODULE}
session [success=ignore default=die] {_ACCESS}
{_LAST.decode()}
""".encode()

ACCESS = f"""\
# Made by `pam-tailscale enable`; `pam-tailscale disable` takes it away. For pam_access: from the tailnet nobody, from
# elsewhere everybody. It stays as long as {paths.PAM_SSHD} names it: without it those lines refuse every login.
-:ALL:{TAILNET.replace(",", " ")}
+:ALL:ALL
""".encode()

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_NAMES_US = re.compile(rb"[^#]*(?:pam_tailscale\.so|" + re.escape(str(paths.NOT_TAILNET).encode()) + rb")")


def insert(content: bytes) -> bytes:
    """/etc/pam.d/sshd with our block at its top."""
    return BLOCK + content


def remove(content: bytes, written: bytes | None) -> bytes:
    """/etc/pam.d/sshd without our block; where there is none, as it is.

    `written` is the block as it was put in, maybe by another version; None where that is not known. A block that was
    altered is found line by line: the lines that were written, wherever they stand now, and between our first and last
    comment also those that name our module. Raises ConfigError where that leaves lines that may be ours and may be the
    administrator's.
    """
    blocks = [block for block in (written, BLOCK) if block and block.startswith(_FIRST)]
    for block in blocks:
        content = _without_exactly(content, block)
    ours = {line.strip() for block in blocks for line in _LINE.findall(block)} - {b""}
    return _without_lines(content, ours)


def _without_exactly(content: bytes, block: bytes) -> bytes:
    """Cut out wherever it begins a line."""
    while (shorter := content.removeprefix(block).replace(b"\n" + block, b"\n")) != content:
        content = shorter
    return content


def _without_lines(content: bytes, ours: set[bytes]) -> bytes:
    lines = _LINE.findall(content)
    stripped = [line.strip() for line in lines]
    between = _between(stripped)
    if not between and not any(line in ours and _NAMES_US.match(line) for line in stripped):
        return content
    kept, unclear = [], []
    for number, line in enumerate(stripped):
        if line in ours and (len(line) > 1 or number in between):  # a bare `#` may be anybody's
            continue
        if _NAMES_US.match(line):
            if number in between:
                continue
            unclear.append(number + 1)
        kept.append(lines[number])
    if unclear and not between:
        raise ConfigError(_UNCLEAR.format(", ".join(map(str, unclear))))
    return b"".join(kept)


def _between(lines: list[bytes]) -> range:
    """Where our block lies, if its first and its last line are still there and in order; else empty."""
    first = [number for number, line in enumerate(lines) if line.startswith(_FIRST)]
    last = [number for number, line in enumerate(lines) if line == _LAST]
    return range(first[0], last[-1] + 1) if first and last else range(0)


_UNCLEAR = (
    f"{paths.PAM_SSHD}: line {{}}: names pam_tailscale, but neither as enable wrote it nor between enable's comments, "
    "so it may be yours: delete it if it is not, else the lines that enable did write, and run this again"
)
