"""The configuration file: TOML text to a frozen record. A mistake is an error that names its line; nothing is guessed.

Pure: reading the file is its caller's business.
"""

import re
import tomllib
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pam_tailscale import paths
from pam_tailscale.errors import ConfigError
from pam_tailscale.model import Mode

THREADS_MAX = 64


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Section [agent]: the process itself."""

    user: str = "pam-tailscale"
    """Account the agent runs as; it needs no privilege at all."""
    keys_user: str = "pam-tailscale-keys"
    """Account of the key helper: besides root the only one that may ask about connections."""
    admin_group: str = "pam-tailscale-admin"
    """Members may ask about others (explain, whois)."""
    socket: Path = paths.AGENT_SOCKET
    reader_socket: Path = paths.READER_SOCKET
    pin: Path = paths.PIN
    threads: int = 4
    """Requests worked on at the same time, 1 to 64. More only help where accounts come from a slow directory server."""


@dataclass(frozen=True, slots=True)
class TailscaledConfig:
    """Section [tailscaled]: where its LocalAPI is."""

    socket: Path = paths.TAILSCALED_SOCKET
    timeout: float = 3.0
    """Seconds to wait for one answer, more than 0 and below 10, the time a login waits."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    mode: Mode = Mode.ENFORCE
    allow_root: bool = True
    """Whether root may log in over the tailnet where a rule says so; false where sshd has `PermitRootLogin no`."""
    trust_operator: bool = False
    """Whether tailscale's operator, who can put a policy of their own in place of the tailnet's, may be root."""
    agent: AgentConfig = AgentConfig()
    tailscaled: TailscaledConfig = TailscaledConfig()


Section = TypeVar("Section")


def parse(text: str, name: str) -> Config:
    """Read the text of the file `name`. Raises ConfigError, whose text names the file and the line."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as err:  # TOMLDecodeError, and numbers or nesting beyond all reason
        raise ConfigError(f"{name}: {err}") from err
    config = _section(Config, raw, "", _Place(text, name))
    _bounds(config, _Place(text, name))
    return config


def _bounds(config: Config, place: "_Place") -> None:
    if not 1 <= config.agent.threads <= THREADS_MAX:
        raise place.error("agent", "threads", f"must be from 1 to {THREADS_MAX}")
    if not 0 < config.tailscaled.timeout < 10:  # noqa: PLR2004 (the shims' own time-out, which it must stay below)
        raise place.error("tailscaled", "timeout", "must be more than 0 and less than 10 seconds")


def _section(kind: type[Section], raw: dict[str, Any], section: str, place: "_Place") -> Section:
    if not is_dataclass(kind):
        raise TypeError(kind)
    known = {item.name: item for item in fields(kind)}
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in known:
            raise place.error(section, key, f"is unknown here; known: {', '.join(sorted(known))}")
        values[key] = _value(known[key].type, value, section, key, place)
    return kind(**values)


def _value(kind: Any, value: object, section: str, key: str, place: "_Place") -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, dict):
            raise place.error(section, key, "must be a section")
        return _section(kind, value, key, place)
    if kind is Path:
        if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
            raise place.error(section, key, "must be an absolute path in quotes")
        return Path(value)
    if kind is Mode:
        if value not in [mode.value for mode in Mode]:
            raise place.error(section, key, f"must be one of {', '.join(mode.value for mode in Mode)}")
        return Mode(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise place.error(section, key, f"must be {_NAMES[kind]}")
    return value


_NAMES = {str: "text in quotes", bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class _Place:
    """Finds the line of a key, which tomllib does not keep."""

    text: str
    name: str

    def error(self, section: str, key: str, problem: str) -> ConfigError:
        full = f"{section}.{key}" if section else key
        return ConfigError(f"{self.name}: line {self._line(section, key)}: {full} {problem}")

    def _line(self, section: str, key: str) -> int:
        current = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[\s*\"?([^\]\"]+?)\"?\s*\]", line):
                current = header[1]
                if not section and current == key:
                    return number
            elif current == section and re.match(rf"\s*\"?{re.escape(key)}\"?\s*[.=]", line):
                return number
        return 1
