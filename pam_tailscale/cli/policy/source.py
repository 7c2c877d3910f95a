"""What the commands about a policy file read: the file, and who and what is in the tailnet."""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from pam_tailscale import paths
from pam_tailscale.cli.policy.doubts import say_doubts
from pam_tailscale.errors import ConfigError, PolicyFileError, TailscaledError
from pam_tailscale.policy import document, hujson, roster
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.selectors import ROLES
from pam_tailscale.policy.validate import validate
from pam_tailscale.tailnet import parse
from pam_tailscale.tailnet import roster as status_roster
from pam_tailscale.tailnet.localapi import LocalAPI

STANDARD_INPUT: Final = "-"
STATUS_BYTES_MAX: Final = 256 << 20
"""Of a tailnet of some hundred thousand nodes."""
_RUNNING: Final = "Running"

Function = TypeVar("Function", bound=Callable[..., Any])

file_argument = click.argument("file", type=click.Path(path_type=Path))


@dataclass(frozen=True, slots=True)
class Given:
    """What the options say of the tailnet."""

    status: Path | None = None
    """A file; None to ask tailscaled."""
    domains: tuple[str, ...] = ()
    roles: tuple[tuple[str, str], ...] = ()
    """Role and login name."""


def tailnet_options(function: Function) -> Callable[..., Any]:
    """`--tailnet`, `--domain` and `--role`, which the command gets as `given`."""

    @functools.wraps(function)
    def command(
        *, status: Path | None, domains: tuple[str, ...], roles: tuple[tuple[str, str], ...], **others: Any
    ) -> Any:
        return function(given=Given(status, domains, roles), **others)

    of_file = click.option(
        "--tailnet",
        "status",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Who is in the tailnet: what `tailscale status --json` prints. Without it tailscaled here is asked.",
    )
    domain = click.option(
        "--domain",
        "domains",
        metavar="DOMAIN",
        multiple=True,
        callback=domains_given,
        help="A domain of the tailnet's, of which user:*@DOMAIN and localpart:*@DOMAIN may speak. "
        "Without it the one that the tailnet's name says.",
    )
    role = click.option(
        "--role",
        "roles",
        metavar="ROLE=LOGIN",
        multiple=True,
        callback=_roles,
        help="Somebody's role in the tailnet, such as admin=alice@example.com, which no status tells: "
        "of whom autogroup:admin speaks.",
    )
    return of_file(domain(role(command)))


def domains_given(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """What `--domain` says, in small letters. Raises click.BadParameter for nothing."""
    del context
    if "" in (found := tuple(text.strip().lower() for text in texts)):
        raise click.BadParameter("a domain cannot be empty", param=option)
    return found


def _roles(context: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    del context
    found = []
    for text in texts:
        role, _, login = text.partition("=")
        if role not in ROLES.values() or not login:
            raise click.BadParameter(f"{text!r} is not ROLE=LOGIN; roles are {', '.join(ROLES.values())}", param=option)
        found.append((role, login))
    return tuple(found)


def policy_file(path: Path) -> document.PolicyFile:
    """Read a policy file. Raises PolicyFileError, and ConfigError where it cannot be read at all."""
    name = _name(path)
    try:
        data = _read(path, hujson.BYTES_MAX)
    except OSError as err:
        raise ConfigError(f"{name} cannot be read: {err.strerror}") from err
    except _TooLargeError:
        raise PolicyFileError(f"the file has more than {hujson.BYTES_MAX} bytes, and no policy has", name) from None
    return document.read(data, name)


def tailnet(given: Given) -> roster.Tailnet:
    """Who and what is in the tailnet. Raises TailscaledError, and click.BadParameter for a role of nobody there."""
    found = _asked() if given.status is None else _written(given.status)
    for _, login in given.roles:
        if login not in found.person:
            raise click.BadParameter(f"{login!r} is nobody in this tailnet", param_hint="--role")
    people = tuple(
        dataclasses.replace(person, roles=frozenset(role for role, login in given.roles if login == person.login))
        for person in found.people
    )
    return roster.Tailnet(people, found.nodes, frozenset(given.domains) or found.domains)


def compiler(path: Path, given: Given) -> Compiler:
    """A policy file, valid, and the tailnet it is for. Raises PolicyFileError and TailscaledError."""
    read_once(path, given.status)
    policy = policy_file(path)
    return compiled_for(policy, tailnet(given))


def compiled_for(policy: document.PolicyFile, found: roster.Tailnet) -> Compiler:
    """The same of what has been read. Raises PolicyFileError."""
    try:
        validate(policy, found.domains)
    except PolicyFileError as err:
        raise _about_domains(policy, err) from None
    say_doubts(policy, found)
    return Compiler(policy, found)


def _about_domains(policy: document.PolicyFile, found: PolicyFileError) -> PolicyFileError:
    """The error, and what to do where it is one only because a domain is not the tailnet's.

    That cannot be guessed: whoever is invited has a login name of a domain that is not the tailnet's, and a server of
    one's own may call the tailnet after itself.
    """
    try:
        validate(policy, None)
    except PolicyFileError:
        return found
    hints = (found.hint, "where the tailnet's name does not tell its domains, give each with --domain")
    return found.hinted("; ".join(filter(None, hints)))


def error_document(error: PolicyFileError) -> dict[str, Any]:
    """What a policy file is refused for, as values of JSON; `line` and `column` are 0 where no line is to blame."""
    return {
        "file": error.file,
        "line": error.line,
        "column": error.column,
        "message": error.message,
        "hint": error.hint,
    }


def read_once(*given: Path | None) -> None:
    """Raise click.UsageError where more than one of them is standard input."""
    if sum(str(path) == STANDARD_INPUT for path in given) > 1:
        raise click.UsageError("standard input can be read once: give - for one file")


def _asked() -> roster.Tailnet:
    try:
        found = status_roster.roster(raw := LocalAPI(paths.TAILSCALED_SOCKET).status_document())
    except TailscaledError as err:
        raise TailscaledError(
            f"{err}. Elsewhere than on a node give --tailnet FILE, what `tailscale status --json` prints on one"
        ) from err
    if not _shows_a_tailnet(raw, found):
        raise TailscaledError("tailscaled is not running in a tailnet: see `tailscale status`")
    return found


def _written(path: Path) -> roster.Tailnet:
    name, wrong = _name(path), "is not what `tailscale status --json` prints"
    try:
        value = json.loads(_read(path, STATUS_BYTES_MAX))
    except OSError as err:
        raise TailscaledError(f"{name} cannot be read: {err.strerror}") from err
    except _TooLargeError:
        raise TailscaledError(f"{name} {wrong}: it has more than {STATUS_BYTES_MAX} bytes") from None
    except (ValueError, RecursionError) as err:
        raise TailscaledError(f"{name} {wrong}: {err}") from err
    if not isinstance(value, dict):
        raise TailscaledError(f"{name} {wrong}: it is no JSON object")
    try:
        found = status_roster.roster(value)
    except TailscaledError as err:  # which blames the version of tailscaled, as of an answer of its own
        raise TailscaledError(f"{name} {wrong}") from err
    if not _shows_a_tailnet(value, found):
        raise TailscaledError(f"{name} shows no tailnet: was it made while tailscaled was not running?")
    return found


def _shows_a_tailnet(raw: parse.Object, found: roster.Tailnet) -> bool:
    return bool(found.nodes) and parse.status(raw).backend_state == _RUNNING


class _TooLargeError(Exception):
    """A file has more bytes than it may have."""


def _read(path: Path, most: int) -> bytes:
    """At most so many bytes. Raises OSError, _TooLargeError, and ConfigError where standard input is closed."""
    if str(path) != STANDARD_INPUT:
        with path.open("rb") as file:
            data = file.read(most + 1)
    elif sys.stdin is None:
        raise ConfigError("standard input is closed: nothing can be read from it")
    else:
        data = sys.stdin.buffer.read(most + 1)
    if len(data) > most:
        raise _TooLargeError
    return data


def _name(path: Path) -> str:
    return "standard input" if str(path) == STANDARD_INPUT else str(path)
