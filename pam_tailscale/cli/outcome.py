"""How `enable` and `disable` end: what they came to is printed, or why they failed, and the exit status says which."""

import sys
from collections.abc import Callable
from typing import NoReturn

from pam_tailscale.cli.output import ExitCode, complain, print_json, print_line
from pam_tailscale.errors import PamTailscaleError
from pam_tailscale.host.report import Report


def conclude(run: Callable[[], Report], show: Callable[[Report], None], *, as_json: bool) -> NoReturn:
    """Run it, print what it came to, and exit: 0 where that is what was asked for, 1 where it is not.

    `show` prints the report for people. With `as_json` there is a document in its place, also where `run` raises
    PamTailscaleError: what the host is then is not known, and the document's `on` is null.
    """
    try:
        report = run()
    except PamTailscaleError as err:
        if as_json:
            print_json({**Report(on=False, changed=False).document, "on": None, "problem": str(err)})
        complain(str(err))
        sys.exit(ExitCode.DENY)
    if as_json:
        print_json(report.document)
    else:
        show(report)
    if report.problem:
        complain(report.problem)
    sys.exit(ExitCode.DENY if report.problem else ExitCode.ALLOW)


def print_diff(report: Report, *, dry_run: bool) -> None:
    """The differences that were not made: those of a dry run, and those that came to nothing."""
    if dry_run or report.problem:
        for line in report.diff.splitlines():
            print_line(line)
