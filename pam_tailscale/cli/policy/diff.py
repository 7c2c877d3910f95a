"""`pam-tailscale policy diff`: what a change of the policy changes for whom."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_table
from pam_tailscale.cli.policy.names import accounts_text, action_text, where_text, who_text
from pam_tailscale.cli.policy.source import Given, compiled_for, policy_file, tailnet, tailnet_options
from pam_tailscale.policy import diff as changes_of
from pam_tailscale.policy.diff import Change, Kind
from pam_tailscale.policy.document import SSHEntry

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
    help="Exit with 1 for any change, for access that is gained, or only for what is grave.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def diff(*, old: Path, new: Path, given: Given, fail_on: str, as_json: bool) -> None:
    """Show what changes for whom from the policy file OLD to NEW: access gained and lost, checks gained and lost.

    What comes of the files is compared, not their text. Root access that is gained and checks that are lost are marked
    and come first. Exits 0 where nothing changes, 1 where something does, 3 where a file cannot be read.
    """
    found = tailnet(given)
    changes = changes_of.diff(compiled_for(policy_file(old), found), compiled_for(policy_file(new), found))
    if as_json:
        print_json({"changes": changes_of.document(changes)})
    else:
        _print(changes)
    sys.exit(ExitCode.DENY if any(_FAILS[fail_on](change) for change in changes) else ExitCode.ALLOW)


def _print(changes: Sequence[Change]) -> None:
    if not changes:
        print_line("nobody's access changes", "green")
        return
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
