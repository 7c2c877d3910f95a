"""Judges whether sshd's half and PAM's half are both there and as `enable` wrote them. Pure: contents in.

It is compared as check-halves compares it, byte for byte. Here it is said as well where check-halves did not act: where
nothing watches.
"""

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pam_tailscale import paths
from pam_tailscale.host.arrangement import REFERENCE_OF
from pam_tailscale.host.doctor.check import Check, ok, problem, unknown, warning
from pam_tailscale.host.doctor.places import Place
from pam_tailscale.host.version import OpenSSH
from pam_tailscale.model import Mode

DROP_IN, DISABLED = str(paths.DROP_IN), str(paths.DROP_IN_DISABLED)
SERVICE, SSHD, ACCESS = str(paths.PAM_SERVICE), str(paths.PAM_SSHD), str(paths.NOT_TAILNET)
MARKER, CHANGE, REFERENCES = str(paths.ENABLED), str(paths.CHANGE), str(paths.HALVES_DIR)
ANEW, ON, OFF = "pam-tailscale enable --replace-edits", "pam-tailscale enable", "pam-tailscale disable"
OFF_AND_ON = f"{OFF} && {ON}"
"""Where nothing says any more what `enable` has written, so that it would take it for somebody else's."""
_FALLS_OPEN = "the drop-in hands logins without a password to PAM, where then nobody asks the tailnet's policy"
_NOT_ASKED = "sshd does not ask the tailnet's policy: over the tailnet logins go by sshd's own settings"
_SERVICE_NAME = re.compile(r"^\s*PAMServiceName", re.MULTILINE)
_GOAL_OFF = re.compile(r'"goal":\s*"off"')
_NAMES_US = re.compile(r"^[^#\n]*pam_tailscale\.so.*$", re.MULTILINE)
_OBSERVES = f"mode={Mode.OBSERVE.value}"


class Switched(enum.Enum):
    """What the host is meant to be, by what lies there."""

    ON = "on"
    OFF = "off"
    OUT_OF_FORCE = "out of force"
    """Switched on, and the drop-in is not where sshd reads it."""


@dataclass(frozen=True, slots=True)
class Halves:
    """What lies at the places of both halves."""

    openssh: OpenSSH | None
    """None: it is not known which sshd this is."""
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """By path: what could be read."""
    places: Mapping[str, Place] = field(default_factory=dict)
    """By path: what was looked at, also what is not there."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """By path: why something that is there could not be read."""
    locked: bool = False
    """A run of enable or disable holds the lock at this moment."""

    def text(self, path: str) -> str | None:
        """A file's text; None where there is none, or it could not be read."""
        content = self.contents.get(path)
        return None if content is None else content.decode(errors="replace")

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        return path in self.contents or path in self.unreadable or self.places.get(path, Place(path)).exists

    @property
    def switched(self) -> Switched:
        """Whether the host is on."""
        if self.exists(DROP_IN):
            return Switched.ON
        return Switched.OUT_OF_FORCE if self.exists(MARKER) or self.exists(DISABLED) else Switched.OFF


def judge(halves: Halves) -> list[Check]:
    """All checks of what lies there."""
    checks = [_unreadable(path, why) for path, why in sorted(halves.unreadable.items())]
    checks.append(_change(halves))
    if halves.switched is Switched.ON:
        return [*checks, _marker(halves), _drop_in(halves), _pam_half(halves), _references(halves), _disabled(halves)]
    if halves.switched is Switched.OUT_OF_FORCE:
        return [*checks, _out_of_force(halves), _left_over(halves)]
    return [*checks, _left_over(halves)]


def addresses(drop_in: str) -> tuple[str, ...]:
    """What the drop-in's Match block takes for the tailnet; the two lists must be one."""
    found = [words for line in drop_in.splitlines() if (words := line.split())[:1] == ["Match"]]
    lists = {
        words[at + 1]
        for words in found
        for at, word in enumerate(words[:-1])
        if word.lower() in ("localaddress", "address")
    }
    return tuple(lists.pop().split(",")) if len(lists) == 1 else ()


def _unreadable(path: str, why: str) -> Check:
    return problem(
        "unreadable",
        f"{path}: {why}",
        "neither this nor enable, disable or check-halves can tell what is in it",
        f"ls -ld {path}; make it a file of root's own",
    )


def _change(halves: Halves) -> Check:
    name = "interrupted-change"
    if not halves.exists(CHANGE):
        return ok(name, "no change was interrupted")
    if halves.locked:
        return warning(
            name, "a change is under way", "what is seen here may be half of it", "run this again in a minute"
        )
    means = "some of the host's files may be as before and some as after; the next enable or disable sees to that first"
    switching_off = _GOAL_OFF.search(halves.text(CHANGE) or "") is not None
    return problem(name, f"a change was interrupted: {CHANGE} is there", means, OFF if switching_off else ON)


def _marker(halves: Halves) -> Check:
    name, content = "marker", halves.contents.get(MARKER)
    if content is not None and not _is_json(content):
        means = "what was answered to enable is not known any more, and it does not run"
        return problem(name, f"{MARKER} is damaged", means, OFF_AND_ON)
    if content is not None:
        return ok(name, "switched on by 'pam-tailscale enable'")
    means = "an upgrade of sshd or of this package does not write the files anew: they stay those of the version before"
    return problem(name, f"the drop-in is there, but no {MARKER}", means, ON)


def _is_json(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content), dict)
    except (ValueError, RecursionError):
        return False


def _is_of_98(drop_in: str) -> bool:
    return _SERVICE_NAME.search(drop_in) is not None


def _pam_files(drop_in: str) -> tuple[str, ...]:
    """What PAM's half of it consists of."""
    return (SERVICE,) if _is_of_98(drop_in) else (SSHD, ACCESS)


def _drop_in(halves: Halves) -> Check:
    name, text = "drop-in", halves.text(DROP_IN)
    if text is None:
        return unknown(name, f"{DROP_IN} could not be read", OFF)
    if halves.openssh is not None and _is_of_98(text) != halves.openssh.has_service_names:
        other = "before 9.8" if halves.openssh.has_service_names else "9.8 and later"
        means = "sshd refuses it, or asks the wrong service of PAM"
        return problem(
            name, f"{DROP_IN} is for OpenSSH {other}, this is {halves.openssh}", means, "pam-tailscale enable --refresh"
        )
    written = halves.contents.get(REFERENCE_OF[DROP_IN])
    if written is None:
        return unknown(name, "what enable has written is not there to compare with", OFF_AND_ON)
    if halves.contents[DROP_IN] != written:
        return problem(
            name, f"{DROP_IN} is not as enable wrote it", "what sshd does with the tailnet is not what was proved", ANEW
        )
    return ok(name, f"{DROP_IN} is as enable wrote it")


def _pam_half(halves: Halves) -> Check:
    name, text = "pam-half", halves.text(DROP_IN)
    if text is None:
        return unknown(name, "which half belongs to the drop-in is not known", OFF)
    for path in _pam_files(text):
        found, written = halves.contents.get(path), halves.contents.get(REFERENCE_OF[path])
        if found is None:
            return problem(name, f"{path} is missing, or could not be read", _FALLS_OPEN, ANEW)
        if written is None:
            return unknown(name, f"what enable wrote to {path} is not there to compare with", OFF_AND_ON)
        if not written or not (found.startswith(written) if path == SSHD else found == written):
            where = "the lines at its top are" if path == SSHD else "it is"
            return problem(name, f"{path}: {where} not as enable wrote", _FALLS_OPEN, ANEW)
    return ok(name, f"{' and '.join(_pam_files(text))} as enable wrote")


def _references(halves: Halves) -> Check:
    name, text = "references", halves.text(DROP_IN)
    if text is None:
        return unknown(name, "which references belong to the drop-in is not known", OFF)
    references = [REFERENCE_OF[path] for path in (DROP_IN, *_pam_files(text))]
    missing = [path for path in references if not halves.exists(path)]
    if missing:
        means = "check-halves cannot tell whether the halves were altered, and takes the drop-in out of force"
        return problem(name, f"missing: {', '.join(missing)}", means, OFF_AND_ON)
    all_of_them = [str(paths.HALVES_DIR.parent), REFERENCES, *references]
    open_ones = [one for path in all_of_them if (one := halves.places.get(path)) and one.others_write]
    if open_ones:
        seen = ", ".join(f"{one.path} ({one.permissions})" for one in open_ones)
        means = "whoever can write there can alter both halves without check-halves seeing it"
        chmod = " && ".join(f"chown root:root {one.path} && chmod go-w {one.path}" for one in open_ones)
        return problem(name, f"others than root may write to {seen}", means, chmod)
    return ok(name, "what check-halves compares with is there, and root's alone")


def _disabled(halves: Halves) -> Check:
    name = "drop-in-disabled"
    if not halves.exists(DISABLED):
        return ok(name, "check-halves has not taken a drop-in out of force")
    means = "check-halves once found a half missing or altered; it was put right since"
    return warning(name, f"{DISABLED} lies there", means, f"rm {DISABLED}")


def _out_of_force(halves: Halves) -> Check:
    name = "drop-in"
    if halves.exists(DISABLED):
        seen = f"check-halves has taken the drop-in out of force: it is {DISABLED} now"
        return problem(name, seen, f"a half was missing or altered. {_NOT_ASKED}", ANEW)
    return problem(name, f"this host is switched on, but {DROP_IN} is not there", _NOT_ASKED, ON)


def _left_over(halves: Halves) -> Check:
    """Something of the PAM half without the drop-in."""
    name = "left-over-half"
    found = [path for path in (SERVICE, ACCESS) if halves.exists(path)]
    ours = _NAMES_US.findall(halves.text(SSHD) or "")
    if ours and not found and all(_OBSERVES in line.split() for line in ours):
        return ok(name, f"{SSHD} observes: logins over the tailnet are decided and logged, and let in as ever")
    if ours:
        found.append(SSHD)
    if not found or halves.switched is Switched.OUT_OF_FORCE:
        return ok(
            name, "nothing of the PAM half lies there without the drop-in" if not found else "the PAM half is there"
        )
    means = "without the drop-in it opens nothing, but logins over the tailnet may be refused by it"
    return warning(name, f"of the PAM half there is {', '.join(found)}", means, OFF)
