"""Which files make the host ask the tailnet's policy, and what is in them. Pure: bytes in, bytes out."""

import enum
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pam_tailscale import paths
from pam_tailscale.errors import ConfigError
from pam_tailscale.host import dropin, pamfiles
from pam_tailscale.host.dropin import Wanted

__all__ = ["PATHS", "REFERENCE_OF", "File", "Part", "Present", "Wanted", "applied", "arrange", "removed", "without"]


class Part(enum.Enum):
    """What a file is for. The order here is the order of switching on; switching off goes the other way round."""

    REFERENCE = "reference"
    """What check-halves compares with; read by nobody else."""
    AGENT = "agent"
    """The agent's configuration."""
    PAM = "pam"
    """The PAM half."""
    DROP_IN = "drop-in"
    """sshd's half: from the next reload of sshd it is in force."""


@dataclass(frozen=True, slots=True)
class File:
    """A file as it shall be."""

    path: str
    content: bytes | None
    """None: it shall not be there."""
    part: Part
    mode: int = 0o644
    """For a file that is not there yet; one that is keeps its own mode and owner."""


Present = Mapping[str, bytes]
"""Path to content, of those of `PATHS` that exist."""

_DROP_IN = str(paths.DROP_IN)
_DISABLED = str(paths.DROP_IN_DISABLED)
_SERVICE = str(paths.PAM_SERVICE)
_SSHD = str(paths.PAM_SSHD)
_ACCESS = str(paths.NOT_TAILNET)
_CONFIG = str(paths.CONFIG)

REFERENCE_OF: Mapping[str, str] = {
    _DROP_IN: str(paths.HALVES_DIR / "drop-in"),
    _SERVICE: str(paths.HALVES_DIR / paths.PAM_SERVICE.name),
    _SSHD: str(paths.HALVES_DIR / "pam.d-sshd.lines"),
    _ACCESS: str(paths.HALVES_DIR / paths.NOT_TAILNET.name),
}
"""By a file's path: where that is kept which was written to it; of /etc/pam.d/sshd only our lines at its top."""
PATHS: tuple[str, ...] = (*REFERENCE_OF.values(), _CONFIG, _SERVICE, _ACCESS, _SSHD, _DISABLED, _DROP_IN)
"""Every file that is looked at here."""


def arrange(wanted: Wanted, present: Present) -> tuple[File, ...]:
    """The files as they shall be, in the order of switching on.

    What is there of ours in `present`, from this or another arrangement, does not count. Raises ConfigError for an
    agent.toml or a sshd_config that cannot be used, and where there is no /etc/pam.d/sshd to go on with.
    """
    base = without(present)
    if _SSHD not in base:
        raise ConfigError(
            f"{_SSHD} is missing, so that PAM would not know what to ask of a login: reinstall openssh-server"
        )
    drop_in = dropin.text(wanted).encode()
    if wanted.openssh.has_service_names:
        references = {_SERVICE: pamfiles.SERVICE}
        half = {_SERVICE: pamfiles.SERVICE}
    else:
        references = {_SSHD: pamfiles.BLOCK, _ACCESS: pamfiles.ACCESS}
        # In this order: lines that name an access list that is not there refuse every login.
        half = {_ACCESS: pamfiles.ACCESS, _SSHD: pamfiles.insert(base[_SSHD])}
    return (
        File(REFERENCE_OF[_DROP_IN], drop_in, Part.REFERENCE),
        *(File(REFERENCE_OF[path], content, Part.REFERENCE) for path, content in references.items()),
        *_agent_config(wanted, base.get(_CONFIG)),
        *(File(path, content, Part.PAM) for path, content in half.items()),
        File(_DROP_IN, drop_in, Part.DROP_IN),
    )


def removed(present: Present) -> tuple[File, ...]:
    """What becomes of the files that are ours or hold something of ours, in the order of switching off.

    Nothing where nothing is ours. Raises ConfigError where it cannot be told what is.
    """
    return tuple(file for file in _all_removed(present) if file.content != present.get(file.path))


def _all_removed(present: Present) -> Iterator[File]:
    yield File(_DROP_IN, None, Part.DROP_IN)
    yield File(_DISABLED, None, Part.DROP_IN)
    yield File(_SERVICE, None, Part.PAM)
    if _SSHD in present:
        yield File(_SSHD, pamfiles.remove(present[_SSHD], present.get(REFERENCE_OF[_SSHD])), Part.PAM)
    # After the lines that name it: without it they refuse every login.
    yield File(_ACCESS, None, Part.PAM)
    if _CONFIG in present:
        yield File(_CONFIG, _without_setting(present[_CONFIG]), Part.AGENT)
    yield from (File(path, None, Part.REFERENCE) for path in REFERENCE_OF.values())


def without(present: Present) -> Present:
    """What the host has when everything of ours is gone. Raises ConfigError as `removed`."""
    return applied(removed(present), present)


def applied(files: Iterable[File], present: Present) -> Present:
    """What the host has once these files are as they shall be."""
    after = dict(present)
    for file in files:
        if file.content is None:
            after.pop(file.path, None)
        else:
            after[file.path] = file.content
    return after


# The agent's configuration

_SETTING = b"""\
# by pam-tailscale enable: sshd_config says `PermitRootLogin no`; without this the drop-in would let the policy decide
allow_root = false
"""
_MADE = b"# by pam-tailscale enable, which made this file; disable takes these three lines out again\n"
_WRITTEN = re.compile(
    rb"^(# by pam-tailscale enable, .*\n)?# by pam-tailscale enable: .*\nallow_root = false\r?\n", re.MULTILINE
)


def _agent_config(wanted: Wanted, content: bytes | None) -> Iterator[File]:
    if wanted.allow_root:
        return
    if content is None:
        yield File(_CONFIG, _MADE + _SETTING, Part.AGENT)
    elif not _sets_root(content):
        yield File(_CONFIG, _SETTING + content, Part.AGENT)


def _sets_root(content: bytes) -> bool:
    """Whether the administrator has decided about root, one way or the other."""
    try:
        return "allow_root" in tomllib.loads(content.decode())
    except (ValueError, RecursionError) as err:
        raise ConfigError(f"{_CONFIG}: {err}") from err


def _without_setting(content: bytes) -> bytes | None:
    """None: the file was made for the setting alone, and holds nothing else."""
    match = _WRITTEN.search(content)
    if match is None:
        return content
    rest = content[: match.start()] + content[match.end() :]
    return None if match[1] and not rest else rest
