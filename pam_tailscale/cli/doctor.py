"""`pam-tailscale doctor`: everything that could be wrong, what it means, and what mends it."""

import sys
from typing import Any

import click

from pam_tailscale.cli.options import read_address
from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_pairs
from pam_tailscale.host.doctor import check
from pam_tailscale.host.doctor.check import Check, State
from pam_tailscale.host.doctor.examine import Report, Wish, examine, states
from pam_tailscale.host.doctor.halves import Switched
from pam_tailscale.host.doctor.login import LEFT_OUT, MADE_UP, Login
from pam_tailscale.model import IPAddress

ITEMS_SHOWN = 8
"""Of the things that one check is about; `--json` has all."""
_STYLES = {State.PROBLEM: "bold red", State.UNKNOWN: "bold yellow", State.WARNING: "yellow", State.OK: "green"}
_EXITS = {State.PROBLEM: ExitCode.DENY, State.UNKNOWN: ExitCode.CANNOT_TELL, State.OK: ExitCode.ALLOW}
_WORDS = {State.PROBLEM: "problems", State.UNKNOWN: "not seen", State.WARNING: "warnings", State.OK: "in order"}
_SWITCHED = {
    Switched.ON: "on: over the tailnet its policy is to decide",
    Switched.OFF: "off: sshd does not ask the tailnet's policy; what follows is what 'enable' would find",
    Switched.OUT_OF_FORCE: "switched on, but not in force: sshd does not ask the tailnet's policy",
    None: "not looked at",
}


def _read_client(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[IPAddress, int] | None:
    return None if value is None else read_address(ctx, param, value)


@click.command()
@click.argument("account", required=False)
@click.option("--from", "client", metavar="ADDR[:PORT]", callback=_read_client, help="Where the login comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(*, account: str | None, client: tuple[IPAddress, int] | None, as_json: bool) -> None:
    """Look for everything by which this host could let in whom the tailnet's policy does not, or keep out whom it does.

    Says what is wrong, what it means, and what mends it. With ACCOUNT and --from also what comes of that login: what
    the agent says to it, and what the real PAM does with it. Changes nothing, and starts no check. Run as root.

    Exits 0 where nothing is wrong, warnings aside, 1 where something is, 3 where something could not be looked at.
    """
    if (account is None) != (client is None):
        raise click.UsageError("ACCOUNT and --from belong together")
    wish = Wish(account, *client) if account is not None and client is not None else None
    report = examine(wish)
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
    sys.exit(_EXITS[check.worst(report.checks)])


def _document(report: Report) -> dict[str, Any]:
    return {
        "switched": report.switched.value if report.switched else None,
        "in_order": check.worst(report.checks) is State.OK,
        "checks": [check.document(one) for one in check.in_order_of_report(report.checks)],
        "login": report.login.document if report.login else None,
    }


def _print(report: Report) -> None:
    print_line(f"This host is {_SWITCHED[report.switched]}")
    for one in check.in_order_of_report(report.checks):
        if one.state is not State.OK:
            _print_check(one)
    if report.login is not None:
        _print_login(report.login)
    numbers = [f"{_WORDS[state]}: {number}" for state, number in states(report).items() if number]
    worst = check.worst(report.checks)
    print_line("")
    print_line(", ".join(numbers), _STYLES[worst])


def _print_check(one: Check) -> None:
    print_line("")
    print_line(f"{one.state.value}: {one.name}: {one.what}", _STYLES[one.state])
    for item in one.items[:ITEMS_SHOWN]:
        print_line(f"    - {item}")
    if len(one.items) > ITEMS_SHOWN:
        print_line(f"    - and {len(one.items) - ITEMS_SHOWN} more: see --json")
    if one.means:
        print_line(f"    means  {one.means}")
    if one.mend:
        print_line(f"    mend   {one.mend}")


def _print_login(login: Login) -> None:
    told, pairs = login.explanation, []
    if told is not None:
        pairs = [
            ("login", f"{told['user']} from {told['from']} {told['node']}".rstrip()),
            ("identity", told["identity"]),
            ("agent", f"{told['decision']}: {told['reason']}"),
            ("because", told["detail"]),
        ]
    if login.walked is None:
        pairs.append(("PAM", f"not asked: {login.why_not_walked}"))
    else:
        steps = ", ".join(f"{function} {result}" for function, result in login.walked.steps)
        pairs += [("PAM", steps), ("person reads", " / ".join(login.walked.said)), ("made up", MADE_UP)]
        pairs += [("left out", one) for one in LEFT_OUT]
    print_line("")
    print_pairs(pairs)
