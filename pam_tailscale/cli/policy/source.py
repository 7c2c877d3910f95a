"""What the commands about a policy file read: the file, and who and what is in the tailnet."""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from pam_tailscale import paths
from pam_tailscale.cli.output import complain
from pam_tailscale.errors import ConfigError, TailscaledError
from pam_tailscale.policy import document, roster
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.selectors import ROLES
from pam_tailscale.policy.validate import validate
from pam_tailscale.tailnet import parse
from pam_tailscale.tailnet import roster as status_roster
from pam_tailscale.tailnet.localapi import LocalAPI

STANDARD_INPUT = "-"

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
    if str(path) == STANDARD_INPUT:
        return document.read(sys.stdin.buffer.read(), "standard input")
    try:
        return document.read(path.read_bytes(), str(path))
    except OSError as err:
        raise ConfigError(f"{path} cannot be read: {err.strerror}") from err


def tailnet(given: Given) -> roster.Tailnet:
    """Who and what is in the tailnet. Raises TailscaledError, and click.BadParameter for a role of nobody there."""
    found = status_roster.roster(_status(given.status))
    for _, login in given.roles:
        if login not in found.person:
            raise click.BadParameter(f"{login!r} has no node in this tailnet", param_hint="--role")
    people = tuple(
        dataclasses.replace(person, roles=frozenset(role for role, login in given.roles if login == person.login))
        for person in found.people
    )
    return roster.Tailnet(people, found.nodes, frozenset(given.domains) or found.domains)


def compiler(path: Path, given: Given) -> Compiler:
    """A policy file, valid, and the tailnet it is for. Raises PolicyFileError and TailscaledError."""
    policy = policy_file(path)
    return compiled_for(policy, tailnet(given))


def compiled_for(policy: document.PolicyFile, found: roster.Tailnet) -> Compiler:
    """The same of what has been read. Raises PolicyFileError."""
    validate(policy, found.domains)
    _say_which_roles_are_nobodys(policy, found)
    return Compiler(policy, found)


def _say_which_roles_are_nobodys(policy: document.PolicyFile, found: roster.Tailnet) -> None:
    """Or a review would miss what an entry gives that is about them."""
    named = {source.text for entry in policy.ssh for source in entry.sources if source.text in ROLES}
    known = {role for person in found.people for role in person.roles}
    if missing := [text for text in ROLES if text in named and ROLES[text] not in known]:
        complain(
            f"{policy.document.name}: {', '.join(missing)} counts for nobody here: say who has the role, with "
            f"--role {ROLES[missing[0]]}=LOGIN"
        )


def _status(path: Path | None) -> parse.Object:
    if path is None:
        try:
            return LocalAPI(paths.TAILSCALED_SOCKET).status_document()
        except TailscaledError as err:
            raise TailscaledError(
                f"{err}. Elsewhere than on a node give --tailnet FILE, what `tailscale status --json` prints on one"
            ) from err
    try:
        text = sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else path.read_bytes()
        value = json.loads(text)
    except OSError as err:
        raise TailscaledError(f"{path} cannot be read: {err.strerror}") from err
    except (ValueError, RecursionError) as err:
        raise TailscaledError(f"{path} is not what `tailscale status --json` prints: {err}") from err
    if not isinstance(value, dict):
        raise TailscaledError(f"{path} is not what `tailscale status --json` prints: it is no JSON object")
    return value
