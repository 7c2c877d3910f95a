"""Finds out everything that preconditions look at. It changes nothing and raises nothing that is expected."""

import dataclasses
import pwd
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pam_tailscale import config as configs
from pam_tailscale import paths
from pam_tailscale import pin as pins
from pam_tailscale.config import Config
from pam_tailscale.errors import ConfigError, HostError, TailscaledError
from pam_tailscale.host.arrangement import PATHS, Present, without
from pam_tailscale.host.facts import Facts, Host, HostAddress, Session, Sshd, Unknown, User
from pam_tailscale.host.files import Files
from pam_tailscale.host.looking import gather_files, gather_people, gather_session, gather_sshd, gather_tailnet
from pam_tailscale.model import Pin

_DIRECTORIES = (
    paths.DROP_IN.parent,
    paths.PAM_SSHD.parent,
    paths.NOT_TAILNET.parent,
    paths.CONFIG.parent,
    paths.HALVES_DIR,
)


def look(path: Path = paths.CONFIG) -> Facts:
    """The host as it is, by its own configuration and pin."""
    config, config_problem = read_config(path)
    pin, pin_problem = read_pin(config.agent.pin)
    return gather(config, pin, config_problem=config_problem, pin_problem=pin_problem)


def read_config(path: Path) -> tuple[Config, str]:
    """The agent's configuration, and what is wrong with it: the defaults are then given in its place."""
    try:
        return configs.parse(path.read_text(), str(path)), ""
    except FileNotFoundError:
        return Config(), ""
    except ConfigError as err:
        return Config(), str(err)
    except (OSError, UnicodeDecodeError) as err:
        return Config(), f"{path}: cannot be read ({err})"


def read_pin(path: Path) -> tuple[Pin | None, str]:
    """The pin, and what is wrong with it."""
    try:
        return pins.load(path), ""
    except ConfigError as err:
        return None, str(err)


def gather(config: Config, pin: Pin | None, *, config_problem: str = "", pin_problem: str = "") -> Facts:
    """Everything. `config_problem` and `pin_problem`: why what stands in their place cannot be used."""
    unknown: list[Unknown] = []
    present = _present()
    base = _base(present, unknown)
    addresses = _addresses(unknown)
    sshd = gather_sshd.look()
    unknown += _unread(sshd)
    return Facts(
        config=config,
        config_problem=config_problem,
        allow_root=_allow_root(base),
        pin=pin,
        pin_problem=pin_problem,
        sshd=sshd,
        pam=gather_files.look_at_pam(present, base),
        programs=gather_files.programs(),
        files=gather_files.host_files(present),
        is_guarded_off=str(paths.DROP_IN_DISABLED) in present,
        tailscaled=gather_tailnet.tailscaled(config.tailscaled, addresses),
        agent=gather_tailnet.agent(config),
        host=Host(
            addresses=addresses,
            read_only=gather_files.read_only(_DIRECTORIES),
            keys_user=_user(config.agent.keys_user),
            agent_user=_user(config.agent.user),
            ways_in=gather_people.ways_in(sshd.effective),
            console=gather_session.at_console(),
        ),
        own_session=_session(config),
        unknown=tuple(unknown),
    )


def _unread(sshd: Sshd) -> Iterator[Unknown]:
    """What sshd takes of its configuration, and was not understood here; what it does not take it says itself."""
    if not sshd.complaint:
        yield from (Unknown("what sshd_config says", problem) for problem in sshd.config.problems)


def _present() -> Present:
    """What is at the places of ours; what is no plain file there is left out, and judged by its kind."""
    files, found = Files(), {}
    for path in PATHS:
        try:
            content = files.read(path)
        except HostError:
            continue
        if content is not None:
            found[path] = content
    return found


def _base(present: Present, unknown: list[Unknown]) -> Present:
    try:
        return without(present)
    except ConfigError as err:
        unknown.append(Unknown("what of the host's files is ours", str(err)))
        return present


def _addresses(unknown: list[Unknown]) -> tuple[HostAddress, ...]:
    try:
        return gather_tailnet.addresses()
    except TailscaledError as err:
        unknown.append(Unknown("this host's addresses", str(err)))
        return ()


def _allow_root(base: Present) -> bool | None:
    """What the administrator has said in the agent's configuration about root; a damaged one says nothing."""
    try:
        said = tomllib.loads(base.get(str(paths.CONFIG), b"").decode()).get("allow_root")
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, bool) else None


def _user(name: str) -> User | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return User(name, found.pw_uid, found.pw_gid)


def _session(config: Config) -> Session | None:
    session = gather_session.own_session()
    if session is not None and not session.is_open:
        return dataclasses.replace(session, answer=Unknown("how you come in", "the connection is closed"))
    if session is None or not session.over_tailnet:
        return session
    return dataclasses.replace(session, answer=gather_tailnet.answer(session, config))
