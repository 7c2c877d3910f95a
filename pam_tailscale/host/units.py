"""systemd's units, where systemd runs: the agent, and the watch over the two halves."""

from pathlib import Path

from pam_tailscale.errors import HostError
from pam_tailscale.host import programs
from pam_tailscale.host.unitnames import AGENT, HALVES

_BOOTED = Path("/run/systemd/system")
"""sd_booted(3)."""
_SECONDS = 60.0
_CHANGING = frozenset({"activating", "deactivating", "reloading", "refreshing"})


def booted() -> bool:
    """Whether systemd is this host's process 1."""
    return _BOOTED.is_dir()


def main_pid(unit: str) -> int:
    """The main process of a unit; 0 where it has none, or there is no systemd."""
    if not booted():
        return 0
    text = _systemctl("show", "--property=MainPID", "--value", unit).stdout.strip()
    return int(text) if text.isdecimal() else 0


def properties(text: str) -> dict[str, str]:
    """What `systemctl show` has printed of one unit; the values of a property that comes several times together."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def reload(unit: str) -> None:
    """`systemctl reload`. Raises HostError."""
    _must("reload", unit)


def restart(unit: str) -> None:
    """`systemctl restart`, however often it was started lately. Raises HostError.

    Where systemd refuses to start a service that often, it gives up its socket as well.
    """
    _systemctl("reset-failed", unit)
    _must("restart", unit)


def is_changing(unit: str) -> bool:
    """Whether a unit is being started, stopped or reloaded."""
    return booted() and _systemctl("show", "--property=ActiveState", "--value", unit).stdout.strip() in _CHANGING


def is_active(unit: str) -> bool:
    """Whether systemd runs a unit now; False without systemd."""
    return booted() and _systemctl("is-active", "--quiet", unit).returncode == 0


def start_agent() -> None:
    """Start the agent where systemd runs it; nothing where it runs already. Raises HostError."""
    if booted():
        _must("start", AGENT)


def reload_agent() -> bool:
    """Have the agent read its configuration again; False without systemd, where somebody else has started it."""
    if booted():
        _must("reload-or-restart", AGENT)
    return booted()


def watches() -> bool:
    """Whether the watch over the halves is there now and after a reboot."""
    return booted() and all(_systemctl(verb, "--quiet", HALVES).returncode == 0 for verb in ("is-enabled", "is-active"))


def watch() -> None:
    """Start the watch, now and at each boot. Raises HostError."""
    if booted():
        _must("enable", "--quiet", "--now", HALVES)


def unwatch() -> None:
    """End the watch. Raises HostError."""
    if booted() and _systemctl("cat", HALVES).returncode == 0:
        _must("disable", "--quiet", "--now", HALVES)


def _must(*arguments: str) -> None:
    done = _systemctl(*arguments)
    if done.returncode != 0:
        complaint = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:300]
        raise HostError(f"'systemctl {' '.join(arguments)}' failed: {complaint}")


def _systemctl(*arguments: str) -> programs.Done:
    return programs.run(["systemctl", *arguments], _SECONDS)
