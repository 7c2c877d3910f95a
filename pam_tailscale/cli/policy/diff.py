"""`pam-tailscale policy diff`: what a change of the policy changes for whom."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_table
from pam_tailscale.cli.policy.names import accounts_text, action_text, where_text, who_text
from pam_tailscale.cli.policy.source import Given, compiled_for, policy_file, read_once, tailnet, tailnet_options
from pam_tailscale.policy import diff as changes_of
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.diff import Change, Kind
from pam_tailscale.policy.document import SSHEntry
from pam_tailscale.policy.newcomers import unknown_roles, with_newcomers
from pam_tailscale.policy.uncompared import not_compared

_WORDS = {
    Kind.GAINED: "gained",
    Kind.LOST: "lost",
    Kind.CHECK_LOST: "check lost",
    Kind.CHECK_GAINED: "check gained",
    Kind.PERIOD_LONGER: "period longer",
    Kind.PERIOD_SHORTER: "period shorter",
    Kind.NAMED: "named",
    Kind.UNNAMED: "no longer named",
}
_WIDER = frozenset({Kind.GAINED, Kind.NAMED, Kind.PERIOD_LONGER, Kind.CHECK_LOST})
_FAILS: dict[str, Callable[[Change], bool]] = {
    "any": lambda _: True,
    "gained": lambda change: change.kind in _WIDER,
    "grave": lambda change: change.grave,
}


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@tailnet_options
@click.option(
    "--fail-on",
    type=click.Choice(sorted(_FAILS)),
    default="any",
    show_default=True,
    help="Exit with 1 for any change, for whatever is wider (access, periods, checks lost), or only for what is grave.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def diff(*, old: Path, new: Path, given: Given, fail_on: str, as_json: bool) -> None:
    """Show what changes for whom from the policy file OLD to NEW: access gained and lost, checks gained and lost.

    What comes of the files is compared, not their text. Root access that is gained and checks that are lost are marked
    and come first. Who and what a file names and the tailnet is not known to have is compared by that name. What cannot
    be compared, since it hangs on who has a role or what a device is like, is named, and fails whatever --fail-on says.

    Exits 0 where nothing changes, 1 where something does, 3 where a file is refused or cannot be read.
    """
    read_once(old, new, given.status)
    found = tailnet(given)
    policies = [compiled_for(policy_file(path), found).policy for path in (old, new)]
    everybody = with_newcomers(found, *policies)
    before, after = (Compiler(policy, everybody) for policy in policies)
    changes = changes_of.diff(before, after)
    unknown = not_compared(before, after, changes, unknown_roles(found, *policies))
    if as_json:
        print_json({"changes": changes_of.document(changes), "not_compared": list(unknown)})
    else:
        _print(changes, unknown)
    fails = unknown or any(_FAILS[fail_on](change) for change in changes)
    sys.exit(ExitCode.DENY if fails else ExitCode.ALLOW)


def _print(changes: Sequence[Change], unknown: Sequence[str]) -> None:
    if changes:
        _print_table(changes)
    for name in unknown:
        print_line(f"not compared: what hangs on {name}", "bold red")
    if not changes and not unknown:
        print_line("nobody's access changes", "green")


def _print_table(changes: Sequence[Change]) -> None:
    print_table(
        ["", "change", "who", "where", "as", "old", "new"],
        (
            [
                "!" if change.grave else "",
                _WORDS[change.kind],
                who_text(change.who),
                where_text(change.where),
                accounts_text(change.accounts) + (f" but {accounts_text(change.but)}" if change.but else ""),
                _side(change.old),
                _side(change.new),
            ]
            for change in changes
        ),
    )
    grave = sum(change.grave for change in changes)
    if grave:
        print_line(f"{grave} grave: root access gained, or a check lost", "bold red")


def _side(entry: SSHEntry | None) -> str:
    return "" if entry is None else f"{action_text(entry)} (ssh {entry.number})"
