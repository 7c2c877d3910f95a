"""Judges what the package runs: sockets, systemd's units, and who may ask the agent about others. Pure."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pam_tailscale.host.doctor.check import Check, ok, problem, unknown, warning
from pam_tailscale.host.doctor.places import Place
from pam_tailscale.host.unitnames import AGENT, AGENT_SOCKET, HALVES, READER_SOCKET, SSH

UNITS = (AGENT, AGENT_SOCKET, READER_SOCKET, HALVES, SSH)
PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload", "ExecStartPre", "ExecReload")
_GUARD = "/usr/libexec/pam-tailscale/check-halves"
_WHAT_FOR = {
    AGENT: "nobody decides: every login over the tailnet is refused",
    AGENT_SOCKET: "nobody decides: every login over the tailnet is refused",
    READER_SOCKET: "from tailscaled 1.103 the agent cannot read the policy: every login over the tailnet is refused",
    HALVES: "nobody sees it when one half of the configuration is altered, and the drop-in then opens the tailnet",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """What `systemctl show` prints of a unit."""

    name: str
    values: Mapping[str, str]

    def says(self, name: str) -> str:
        """A property; empty where it has none."""
        return self.values.get(name, "")


def judge_sockets(directory: Place, agent: Place, reader: Place, agent_uid: int | None) -> list[Check]:
    """The directory that both sockets lie in, and the sockets."""
    return [_directory(directory), _agent_socket(agent), _reader_socket(reader, agent_uid)]


def _directory(place: Place) -> Check:
    name = "run-directory"
    if not place.exists or not stat.S_ISDIR(place.mode):
        means = "there is nowhere to ask: every login over the tailnet is refused"
        return problem(name, f"{place.path} is missing", means, f"systemctl restart {AGENT_SOCKET} {READER_SOCKET}")
    if place.others_write:
        seen = f"{place.path} has {place.permissions}"
        means = "others than root can put a socket in the agent's place; the module checks who listens and then refuses"
        return problem(name, seen, means, f"chown root:root {place.path} && chmod 0755 {place.path}")
    return ok(name, f"{place.path} is root's alone")


def _agent_socket(place: Place) -> Check:
    name, restart = "agent-socket", f"systemctl restart {AGENT_SOCKET} {AGENT}"
    if not place.exists or not stat.S_ISSOCK(place.mode):
        return problem(name, f"{place.path} is no socket, or missing", _WHAT_FOR[AGENT_SOCKET], restart)
    if place.uid != 0 or stat.S_IMODE(place.mode) != 0o666:  # noqa: PLR2004 (as the unit has it)
        seen = f"{place.path} has {place.permissions}, not 0666 of root"
        return problem(name, seen, "the key helper, or people who ask 'status', may not reach the agent", restart)
    return ok(name, f"{place.path} is where it belongs")


def _reader_socket(place: Place, agent_uid: int | None) -> Check:
    name, restart = "reader-socket", f"systemctl restart {READER_SOCKET}"
    if not place.exists or not stat.S_ISSOCK(place.mode):
        return problem(name, f"{place.path} is no socket, or missing", _WHAT_FOR[READER_SOCKET], restart)
    if stat.S_IMODE(place.mode) & 0o077 or (agent_uid is not None and place.uid not in (0, agent_uid)):
        seen = f"{place.path} has {place.permissions}"
        means = "others than the agent can read the whole policy, and the node's machine key, which is the node"
        return problem(name, seen, means, restart)
    return ok(name, f"{place.path} is the agent's alone")


def judge_state(directory: Place, agent_uid: int | None) -> Check:
    """The directory in which the agent remembers checks."""
    name = "state-directory"
    if not directory.exists:
        return ok(name, f"{directory.path} is made when the agent starts")
    if stat.S_IMODE(directory.mode) & 0o077 or (agent_uid is not None and directory.uid != agent_uid):
        seen = f"{directory.path} has {directory.permissions}"
        means = "others than the agent can read who passed which check, or put old evidence back; it does not start so"
        mend = f"chown pam-tailscale {directory.path} && chmod 0700 {directory.path}"
        return problem(name, seen, means, mend)
    return ok(name, f"{directory.path} is the agent's alone")


def judge_secrets(files: Sequence[Place]) -> Check:
    """Files that hold secrets of the agent's, as its configuration names them."""
    name = "secret-files"
    for file in files:
        if not file.exists:
            return problem(
                name, f"{file.path} is missing", "no check can be passed", f"put the secret into {file.path}"
            )
        if file.mode & stat.S_IRWXO:
            means = "others than the agent can read the secret, and be this host for whoever it is shared with"
            mend = f"chown pam-tailscale {file.path} && chmod 0400 {file.path}"
            return problem(name, f"{file.path} has {file.permissions}", means, mend)
    return ok(name, "nobody but the agent reads its secrets" if files else "the agent is given no secret")


def judge_units(units: Sequence[Unit], *, booted: bool) -> list[Check]:
    """The units that a host needs which is switched on. `booted`: systemd is its process 1."""
    name = "units"
    if not booted:
        seen = "systemd is not this host's process 1: who starts the agent, and watches the halves, cannot be seen"
        return [unknown(name, seen, "see that whatever starts services here starts pam-tailscale-agent")]
    found = {unit.name: unit for unit in units}
    wanted = [found.get(unit, Unit(unit, {})) for unit in _WHAT_FOR]
    wrong = [_unit(unit, name) for unit in wanted]
    return [*filter(None, wrong)] or [ok(name, "the package's units are enabled and run")]


def _unit(unit: Unit, check: str) -> Check | None:
    name, means, start = unit.name, _WHAT_FOR[unit.name], f"systemctl enable --now {unit.name}"
    if unit.says("LoadState") != "loaded":
        state = unit.says("LoadState") or "unknown"
        mend = f"systemctl unmask {name} && {start}" if state == "masked" else f"systemctl daemon-reload && {start}"
        return problem(check, f"{name} is {state}", means, mend)
    if unit.says("ActiveState") != "active":
        return problem(check, f"{name} is {unit.says('ActiveState')}", means, start)
    if unit.says("UnitFileState") not in ("enabled", "enabled-runtime", "static"):
        seen = f"{name} runs, and is not started at the next boot"
        return problem(check, seen, f"from then on {means}", f"systemctl enable {name}")
    return None


def judge_guard(ssh: Unit | None, *, booted: bool) -> Check:
    """Whether ssh.service checks both halves before sshd reads the drop-in."""
    name, show = "ssh-unit", "systemctl cat ssh.service"
    if not booted or ssh is None:
        return unknown(name, "systemd is not this host's process 1: what starts sshd cannot be seen", show)
    if ssh.says("NeedDaemonReload") == "yes":
        means = "sshd may be started or reloaded without the check that its PAM half is there"
        return problem(name, "ssh.service has changed on disk since systemd read it", means, "systemctl daemon-reload")
    unguarded = [step for step in ("ExecStartPre", "ExecReload") if _GUARD not in ssh.says(step)]
    if unguarded:
        seen = f"{' and '.join(unguarded)} of ssh.service does not run check-halves"
        means = "after something changed while nothing watched, sshd may read a drop-in without its PAM half"
        return problem(name, seen, means, f"{show}; remove what overrides it, then run 'systemctl daemon-reload'")
    return ok(name, "ssh.service checks both halves before sshd reads them")


def judge_group(name_of_group: str, members: Sequence[str] | None) -> Check:
    """Who besides root may ask about everybody."""
    name = "admin-group"
    if members is None:
        return warning(
            name,
            f"there is no group {name_of_group}",
            "root alone may ask the agent about others",
            f"addgroup --system {name_of_group}",
        )
    if not members:
        return ok(name, f"nobody but root may ask about others: {name_of_group} is empty")
    seen = f"members of {name_of_group}, who may ask about others"
    means = "they see who is who and what the policy says, and may have people asked for a check again"
    return warning(name, seen, means, f"gpasswd --delete {members[0]} {name_of_group}", members)
