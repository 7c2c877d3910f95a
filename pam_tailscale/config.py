"""The configuration file: TOML text to a frozen record. A mistake is an error that names its line; nothing is guessed.

Pure: reading the file is its caller's business.
"""

import enum
import re
import tomllib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

from pam_tailscale import paths
from pam_tailscale.errors import ConfigError
from pam_tailscale.model import Mode

THREADS_MAX = 64
WAITING_MAX = 64
PERIOD_MIN, PERIOD_MAX = 60.0, 168 * 3600.0
"""Seconds: the bounds that a tailnet's policy has for a check period, too."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Signatures by a key that only the provider has; none by a secret that is shared, and never none at all."""
_TENANTLESS = frozenset({"common", "organizations", "consumers"})
"""Tenants of Microsoft's provider that stand for all of them."""


_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_CAPABILITY = re.compile(rf"({_LABEL}(?:\.{_LABEL})+)/[A-Za-z0-9._~/-]{{1,200}}", re.ASCII)


class Period(float):
    """For how long an authentication counts, in seconds; 0 is `always`: every login asks anew."""


PERIOD_DEFAULT = Period(12 * 3600)


class CheckBy(enum.Enum):
    """Who answers for checks: the control plane, as its rule asks, or the organisation's identity provider."""

    CONTROL = "control"
    OIDC = "oidc"


class WithoutAuthTime(enum.Enum):
    """What a token counts for that does not say when the person authenticated."""

    REFUSE = "refuse"
    TRUST_ISSUE_TIME = "trust issue time"


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
class CheckConfig:
    """Section [check]: rules that let a person in only if they have authenticated recently."""

    by: CheckBy = CheckBy.CONTROL
    """`oidc` also answers for rules that ask the control plane: that is what the administrator says with it."""
    period: Period = PERIOD_DEFAULT
    """Where a rule does not carry its own, as those of the tailnet's policy; for `oidc` alone."""
    waiting: int = 4
    """Connections that may wait for a person, 1 to 64. Each holds one of sshd's places for logins that are not
    complete: keep it below half of the first number of sshd's MaxStartups."""
    qr: bool = False
    """Whether the prompt shows the page's address as a QR code too."""
    store: Path = paths.CHECKS


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """Section [oidc]: the organisation's identity provider (OpenID Connect, RFC 8628)."""

    issuer: str = ""
    client_id: str = ""
    client_secret_file: Path | None = None
    """File with the client's secret, for providers that want one."""
    scopes: str = "openid email"
    prompt: str = "login"
    """Sent with each check, so that the provider asks for the person and not for their browser; empty: not sent."""
    domains: tuple[str, ...] = ()
    """Domains whose e-mail addresses this provider may vouch for."""
    subjects: Mapping[str, str] = field(default_factory=dict)
    """Login name in the tailnet to the provider's `sub`; whoever stands here is not known by e-mail."""
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    without_auth_time: WithoutAuthTime = WithoutAuthTime.REFUSE
    ca_file: Path | None = None
    """Authority that has signed the provider's certificate, where it is not one of the system's."""
    timeout: float = 3.0
    """Seconds to wait for one answer, more than 0 and at most 4: a login waits for two of them, and shims 10 s."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Section [store]: a Redis or Valkey that hosts share, so that one check counts on all of them (for `oidc`)."""

    address: str = ""
    """HOST:PORT, or the path of a socket; empty: none, each host asks on its own."""
    tls: bool = True
    ca_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    database: int = 0
    prefix: str = "pam-tailscale"


class Source(enum.Enum):
    """Where rules come from: the tailnet's SSH policy, what it grants a peer, or a policy file on this host."""

    NETMAP = "netmap"
    GRANTS = "grants"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole file."""

    mode: Mode = Mode.ENFORCE
    allow_root: bool = True
    """Whether root may log in over the tailnet where a rule says so; false where sshd has `PermitRootLogin no`."""
    trust_operator: bool = False
    """Whether tailscale's operator, who can put a policy of their own in place of the tailnet's, may be root."""
    sources: tuple[Source, ...] = (Source.NETMAP,)
    """Where rules come from, in this order: the first rule that matches decides, whichever source it is of."""
    capability: str = ""
    """App capability of the source `grants`, in the administrator's own domain: `acme.example/cap/ssh`."""
    agent: AgentConfig = AgentConfig()
    tailscaled: TailscaledConfig = TailscaledConfig()
    check: CheckConfig = CheckConfig()
    oidc: OidcConfig = OidcConfig()
    store: StoreConfig = StoreConfig()


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
    _source_bounds(config, place)
    if not 1 <= config.agent.threads <= THREADS_MAX:
        raise place.error("agent", "threads", f"must be from 1 to {THREADS_MAX}")
    if not 0 < config.tailscaled.timeout < 10:  # noqa: PLR2004 (the shims' own time-out, which it must stay below)
        raise place.error("tailscaled", "timeout", "must be more than 0 and less than 10 seconds")
    if not 1 <= config.check.waiting <= WAITING_MAX:
        raise place.error("check", "waiting", f"must be from 1 to {WAITING_MAX}")
    if config.check.period and not PERIOD_MIN <= config.check.period <= PERIOD_MAX:
        raise place.error("check", "period", 'must be "always", or from one minute ("1m") to a week ("168h")')
    if config.check.by is CheckBy.OIDC or config.oidc.issuer:
        _oidc_bounds(config.oidc, place)
    if config.store.address and config.check.by is not CheckBy.OIDC:
        raise place.error("store", "address", 'is of use only where [check] has by = "oidc"')
    if config.store.address and not re.fullmatch(
        r"/[^\0]+|(\[[^\]]+\]|[^:/]+):\d{1,5}", config.store.address, re.ASCII
    ):
        raise place.error("store", "address", "must be HOST:PORT, an IPv6 address in brackets, or a socket's path")


def _source_bounds(config: Config, place: "_Place") -> None:
    if not config.sources:
        raise place.error("", "sources", "is empty: name at least one, or leave it out")
    if len(set(config.sources)) != len(config.sources):
        raise place.error("", "sources", "names one twice")
    if Source.GRANTS in config.sources and not config.capability:
        raise place.error("", "sources", 'has "grants": set capability, as in capability = "acme.example/cap/ssh"')
    if config.capability and (problem := _capability_problem(config.capability)):
        raise place.error("", "capability", problem)


def _capability_problem(text: str) -> str:
    """Why this is no app capability of an administrator's (tailcfg, PeerCapability); empty where it is one."""
    match = _CAPABILITY.fullmatch(text)
    if match is None:
        return "must be {domain}/{path}, the domain your own and in lower case, as acme.example/cap/ssh"
    if f".{match[1]}".endswith(".tailscale.com"):
        return "is Tailscale's own domain: name one of yours"
    return ""


def _oidc_bounds(oidc: OidcConfig, place: "_Place") -> None:
    for domain in oidc.domains:
        if not domain.isascii() or domain != domain.lower() or "@" in domain or not domain.strip("."):
            raise place.error("oidc", "domains", f"has {domain!r}, which is no domain in lower case")
    unfit = sorted(set(oidc.algorithms) - ALGORITHMS)
    wanted = {
        "issuer": (not (problem := _issuer_problem(oidc.issuer)), problem),
        "client_id": (bool(oidc.client_id), "is missing: register this client with the provider"),
        "domains": (
            bool(oidc.domains or oidc.subjects),
            "is missing: name the domains the provider may vouch for, or the subjects",
        ),
        "algorithms": (bool(oidc.algorithms) and not unfit, f"must be of {', '.join(sorted(ALGORITHMS))}"),
        "scopes": ("openid" in oidc.scopes.split(), "must have openid among them"),
        "timeout": (0 < oidc.timeout <= 4, "must be more than 0 and at most 4 seconds"),  # noqa: PLR2004 (see above)
    }
    for key, (right, problem) in wanted.items():
        if not right:
            raise place.error("oidc", key, problem)


def _issuer_problem(text: str) -> str:
    try:
        issuer = urlsplit(text)
        host = issuer.hostname or ""
    except ValueError as err:
        return f"is no address: {err}"
    if issuer.scheme != "https" or not host or issuer.query or issuer.fragment or issuer.username is not None:
        return "must be the provider's https:// address, as its documentation gives it"
    if host.startswith("login.microsoftonline.") and _TENANTLESS & set(issuer.path.split("/")):
        return "stands for every organisation: name the tenant of yours"
    return ""


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
    if isinstance(kind, types.UnionType):  # something, or nothing where it is not given
        (kind,) = (one for one in get_args(kind) if one is not types.NoneType)
    if isinstance(kind, type) and is_dataclass(kind):
        if not isinstance(value, dict):
            raise place.error(section, key, "must be a section")
        return _section(kind, value, key, place)
    try:
        return _plain(kind, value)
    except ValueError as err:
        raise place.error(section, key, str(err)) from err


def _plain(kind: Any, value: object) -> Any:
    """A value that is no section. Raises ValueError with what it must be."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice(kind, value)
    if get_origin(kind) is tuple and issubclass(one := get_args(kind)[0], enum.Enum):
        return tuple(_choice(one, text) for text in _texts(value))
    reader = _READERS.get(get_origin(kind) or kind)
    if reader is not None:
        return reader(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ValueError(f"must be {_NAMES[kind]}")
    return value


def _choice(kind: type[enum.Enum], value: object) -> enum.Enum:
    if value not in [one.value for one in kind]:
        raise ValueError(f"must be one of {', '.join(str(one.value) for one in kind)}")
    return kind(value)


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError("must be an absolute path in quotes")
    return Path(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("must be a list of texts in quotes")
    return tuple(value)


def _mapping(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError("must be a section of texts in quotes")
    return dict(value)


def _period(value: object) -> Period:
    """`12h`, `90m`, `7d`, `always`."""
    if value == "always":
        return Period(0)
    match = re.fullmatch(r"([1-9]\d{0,6})([smhd])", value, re.ASCII) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be "always", or a number with s, m, h or d behind it, as "12h"')
    return Period(int(match[1]) * _UNITS[match[2]])


_READERS: dict[Any, Callable[[object], Any]] = {Path: _path, Period: _period, tuple: _texts, Mapping: _mapping}
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
