"""Finds out about PAM, the package's own parts, and the places of what is written. Judges nothing, changes nothing."""

import hashlib
import os
import re
import stat
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.host.arrangement import REFERENCE_OF, Present
from pam_tailscale.host.facts import HostFile, Pam, Program, Written
from pam_tailscale.host.programs import Run, attempt
from pam_tailscale.rootfile import only_root_writes

_MODULE = "pam_tailscale.so"
_NAMES_US = re.compile(rb"^[^#\n]*pam_tailscale\.so", re.MULTILINE)
_SYMBOLS = ("pam_sm_authenticate", "pam_sm_setcred", "pam_sm_acct_mgmt", "pam_sm_open_session", "pam_sm_close_session")
# In a process of its own: what a damaged library does when it is loaded is not to happen here.
_LOAD = """
import ctypes, os, sys
try:
    library = ctypes.CDLL(sys.argv[1], os.RTLD_NOW)
    for name in sys.argv[2:]:
        getattr(library, name)
except (OSError, AttributeError) as err:
    sys.exit(str(err))
"""


def look_at_pam(present: Present, base: Present, run: Run = attempt) -> Pam:
    """PAM. `present`: the files as they are; `base`: as they would be without ours."""
    path = str(paths.PAM_SSHD)
    service = None
    if path in present:
        service = HostFile(path, trouble(paths.PAM_SSHD), _lines_written(present))
    elif paths.PAM_SSHD.is_symlink() or paths.PAM_SSHD.exists():
        service = HostFile(path, trouble(paths.PAM_SSHD), Written.NOT_OURS)
    return Pam(service, _is_edited(path, base.get(path), run), _module_error(run))


def _lines_written(present: Present) -> Written:
    path = str(paths.PAM_SSHD)
    content, reference = present[path], present.get(REFERENCE_OF[path])
    if not _NAMES_US.search(content):
        return Written.NOT_OURS
    if reference is None:
        return Written.BY_OTHERS
    return Written.AS_WRITTEN if content.startswith(reference) else Written.ALTERED


def _is_edited(path: str, content: bytes | None, run: Run) -> bool | None:
    """Whether it differs from the package's own, which dpkg knows by its MD5."""
    listed = run(["dpkg-query", "--show", "--showformat=${Conffiles}", "openssh-server"])
    for line in listed.stdout.splitlines():
        name, _, digest = line.strip().partition(" ")
        if name == path and content is not None:
            return hashlib.md5(content, usedforsecurity=False).hexdigest() != digest.split(" ")[0]
    return None


def module_path() -> Path:
    """Where libpam looks for the module."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or ""
    return Path("/usr/lib") / multiarch / "security" / _MODULE


def _module_error(run: Run) -> str:
    path = module_path()
    if not path.exists():
        return f"{path} is missing"
    done = run([sys.executable, "-I", "-c", _LOAD, str(path), *_SYMBOLS])
    if done.returncode == 0:
        return ""
    why = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
    return f"{path} cannot be loaded: {why[:300]}"


def programs(
    candidates: Sequence[Path] = (paths.KEY_HELPER, paths.KEY_HELPER.with_name("check-halves")),
) -> tuple[Program, ...]:
    """The programs that sshd and systemd start."""
    return tuple(Program(str(path), _program_error(path)) for path in candidates)


def _program_error(path: Path) -> str:
    """As sshd asks (misc.c, safe_path): the file and every directory above it are root's alone."""
    try:
        status = path.stat()
        above = [parent.stat() for parent in path.resolve().parents]
    except OSError as err:
        return f"cannot be started ({err.strerror})"
    if not stat.S_ISREG(status.st_mode) or not status.st_mode & stat.S_IXUSR:
        return "is no program"
    if not all(map(only_root_writes, [status, *above])):
        return "can be changed by others than root"
    return ""


def host_files(present: Present) -> tuple[HostFile, ...]:
    """What lies at the places of ours."""
    return tuple(_host_files(present))


def _host_files(present: Present) -> Iterator[HostFile]:
    # Of PAM's own file for sshd only some lines are ours, which look_at_pam looks at.
    for path in (Path(one) for one in REFERENCE_OF if one != str(paths.PAM_SSHD)):
        if path.is_symlink() or path.exists():
            yield HostFile(str(path), trouble(path), _written(present, str(path)))
    if paths.CONFIG.is_symlink() or paths.CONFIG.exists():
        yield HostFile(str(paths.CONFIG), trouble(paths.CONFIG), Written.NOT_OURS)


def _written(present: Present, path: str) -> Written:
    expected = present.get(REFERENCE_OF[path])
    if expected is None:
        return Written.BY_OTHERS
    return Written.AS_WRITTEN if present.get(path) == expected else Written.ALTERED


def trouble(path: Path) -> str:
    """Why a file cannot be trusted or replaced; empty where it can."""
    try:
        status = path.lstat()
    except OSError as err:
        return f"cannot be looked at ({err.strerror})"
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if not stat.S_ISREG(status.st_mode):
        return "is no file"
    return "" if only_root_writes(status) else "can be changed by others than root"


def read_only(directories: Sequence[Path]) -> tuple[str, ...]:
    """Directories that cannot be written to; of one that is missing the one that it would be made in."""
    existing = dict.fromkeys(_existing(path) for path in directories)
    return tuple(str(path) for path in existing if not os.access(path, os.W_OK, effective_ids=True))


def _existing(path: Path) -> Path:
    return path if path.is_dir() or path == path.parent else _existing(path.parent)
