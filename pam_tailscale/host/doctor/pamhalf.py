"""Judges the PAM half: whether nobody but our module can answer for a connection from the tailnet. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pam_tailscale.host.doctor.check import Check, State, ok, problem, unknown, warning
from pam_tailscale.host.doctor.pamstack import TYPES, Line, Stack
from pam_tailscale.model import Mode

MODULE = "pam_tailscale.so"
_WRITE_ANEW = "pam-tailscale enable --replace-edits"
_WHAT_IS_FREE = frozenset({"pam_permit.so", "pam_warn.so", "pam_env.so", "pam_debug.so", "pam_echo.so"})
"""Modules that let anybody in, or say nothing about who it is."""
_NOT_ABOUT_THE_LINES = ("pam-other", "pam-mode")
_DECIDING = ("auth", "account", "session")
"""The types in which a line of ours has to stand."""


@dataclass(frozen=True, slots=True)
class Pam:
    """What libpam would read on this host for a connection from the tailnet."""

    service: str
    """The service that sshd names: `sshd-tailscale`, or `sshd` before OpenSSH 9.8."""
    stack: Stack
    other: Stack
    module_error: str
    """Why libpam cannot load pam_tailscale.so; empty where it can."""


def judge(pam: Pam, addresses: Sequence[str], agent_mode: str) -> list[Check]:
    """All checks of the PAM half, for a drop-in that is there.

    `addresses`: what the drop-in takes for the tailnet. `agent_mode`: as the agent says; empty where it says nothing.
    """
    lines = [_first(pam), _arguments(pam, addresses)] if pam.stack.exists else []
    return [_service(pam), *lines, _module(pam), _mode(agent_mode), _other(pam)]


def whole(checks: Sequence[Check]) -> bool:
    """Whether a question to this PAM is one to our module and ends there: then asking it counts as nobody's failure."""
    return all(check.state is State.OK or check.name in _NOT_ABOUT_THE_LINES for check in checks)


def _service(pam: Pam) -> Check:
    name, path = "pam-service", f"/etc/pam.d/{pam.service}"
    stands_in = "libpam takes what is missing from the service 'other', where " + (
        "anybody gets in" if lets_in_anybody(pam.other) else "a password opens the door"
    )
    if not pam.stack.exists:
        return problem(name, f"{path} is missing", stands_in, _WRITE_ANEW)
    lacking = [kind for kind in TYPES if not pam.stack.of(kind)]
    if lacking:
        return problem(name, f"{path} has no line of type {', '.join(lacking)}", stands_in, _WRITE_ANEW)
    if pam.stack.missing:
        named = ", ".join(f"/etc/pam.d/{one}" for one in pam.stack.missing)
        means = "libpam refuses the whole service: nobody gets in over the tailnet"
        return problem(name, f"{path} includes {named}, missing", means, "pam-auth-update --package")
    return ok(name, f"{path} has all four types")


def _first(pam: Pam) -> Check:
    """Before 9.8 our lines stand in a file of somebody else's, where others may have been put above them."""
    name = "pam-order"
    for kind in ("auth", "account"):
        lines = pam.stack.of(kind)
        at = next((at for at, line in enumerate(lines) if line.asks == MODULE), None)
        if at is None:
            means = "nobody asks the tailnet's policy: an empty password, or root's, opens the door"
            return problem(name, f"no {kind} line of {pam.service} asks {MODULE}", means, _WRITE_ANEW)
        if at > 0:
            seen = f"{lines[0]} asks {lines[0].asks} before {MODULE} is asked"
            means = (
                "it answers for connections from the tailnet, too: it may let in or keep out whom the policy does not"
            )
            return problem(name, seen, means, _WRITE_ANEW)
        if not _ends_there(lines[0].control):
            seen = f"{lines[0]} has the control [{lines[0].control}], which does not end with a no of {MODULE}"
            return problem(name, seen, "whoever the policy refuses is asked for a password", _WRITE_ANEW)
    return ok(name, f"{MODULE} is asked first, and its no ends it")


def _ends_there(control: str) -> bool:
    """Whether a no of this line cannot be turned into a yes by a later one (pam.conf(5))."""
    return control in ("required", "requisite") or "default=die" in control.split()


def _module(pam: Pam) -> Check:
    name = "pam-module"
    if pam.module_error:
        means = "every login over the tailnet is refused; others are as always"
        return problem(
            name,
            f"{MODULE} cannot be loaded: {pam.module_error}",
            means,
            "apt-get install --reinstall libpam-tailscale",
        )
    return ok(name, f"{MODULE} can be loaded")


def _ours(pam: Pam) -> Iterator[Line]:
    return (line for kind in _DECIDING for line in pam.stack.of(kind) if line.asks == MODULE)


def _arguments(pam: Pam, addresses: Sequence[str]) -> Check:
    name = "pam-arguments"
    for line in _ours(pam):
        given = value_of(line, "addresses")
        taken = set(given.split(",")) if given else set(addresses)
        if taken != set(addresses):
            seen = f"{line} says addresses={given}, the drop-in {','.join(addresses)}"
            means = (
                "for the module another part of the network is the tailnet than for sshd: some would not be asked about"
            )
            return problem(name, seen, means, _WRITE_ANEW)
        if value_of(line, "mode") not in ("", Mode.ENFORCE.value):
            seen = f"{line} says mode={value_of(line, 'mode')}, with a drop-in that hands the decision to it"
            means = "the module lets PAM go on as if it were not there: an empty password, or root's, opens the door"
            return problem(name, seen, means, _WRITE_ANEW)
    return ok(name, "the module's lines say what the drop-in says")


def _mode(agent_mode: str) -> Check:
    name = "pam-mode"
    if not agent_mode:
        return unknown(name, "the agent does not say in which mode it runs", "systemctl status pam-tailscale-agent")
    if agent_mode != Mode.ENFORCE.value:
        means = "the module enforces: every login over the tailnet is refused"
        mend = 'set mode = "enforce" in /etc/pam-tailscale/agent.toml, then run: systemctl reload pam-tailscale-agent'
        return problem(name, f"the agent runs in mode {agent_mode}", means, mend)
    return ok(name, "agent and module enforce")


def _other(pam: Pam) -> Check:
    name = "pam-other"
    if lets_in_anybody(pam.other):
        means = "a program whose PAM service is missing lets in anybody; ours is not, and so does not ask it"
        mend = "put 'auth required pam_deny.so' first in /etc/pam.d/other"
        return warning(name, "/etc/pam.d/other lets in whoever comes", means, mend)
    return ok(
        name, "/etc/pam.d/other asks for something" if pam.other.of("auth") else "/etc/pam.d/other lets nobody in"
    )


def lets_in_anybody(other: Stack) -> bool:
    """Whether no line of `other` finds out who somebody is, and one lets them in."""
    asked = [line.asks for line in other.of("auth")]
    return "pam_permit.so" in asked and set(asked) <= _WHAT_IS_FREE


def value_of(line: Line, key: str) -> str:
    """The value of the module's argument `key=`; empty where it has none."""
    return next((one.partition("=")[2] for one in line.arguments if one.partition("=")[0] == key), "")
