"""`pam-tailscale policy test`: does the policy do what its own tests say?"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_table, print_text
from pam_tailscale.cli.policy import junit
from pam_tailscale.cli.policy.source import Given, compiler, error_document, file_argument, tailnet_options
from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy import acltests, sshtests
from pam_tailscale.policy.sshtests import Result, Wanted

_PASSED, _FAILED = "pass", "FAIL"


@click.command()
@file_argument
@tailnet_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--junit", "as_junit", is_flag=True, help="Print JUnit XML, as CI systems read it.")
def test(*, file: Path, given: Given, as_json: bool, as_junit: bool) -> None:
    """Run the sshTests of FILE, and of its tests what is about port 22: what the policy does, and which rule decided.

    Exits 0 where all pass, 1 where one fails, 3 where the file is refused, or it or the tailnet cannot be read.
    """
    if as_json and as_junit:
        raise click.UsageError("--json and --junit are two answers to one question: give one of them")
    try:
        compiled = compiler(file, given)
    except PolicyFileError as err:
        if as_json:
            print_json({"passed": False, "tests": [], "refused": error_document(err)})
        elif as_junit:
            refused = Result(0, err.file, "", "", None, str(err), section="policy")
            print_text(junit.document([refused], str(file)))
        raise
    results = (*sshtests.run(compiled), *acltests.run(compiled))
    if as_json:
        print_json({"passed": _all(results), "tests": [_document(result) for result in results]})
    elif as_junit:
        print_text(junit.document(results, str(file)))
    else:
        _print(results)
    sys.exit(ExitCode.ALLOW if _all(results) else ExitCode.DENY)


def _all(results: Sequence[Result]) -> bool:
    return all(result.passed for result in results)


def _print(results: Sequence[Result]) -> None:
    if not results:
        print_line("the file has no sshTests, and no tests about port 22")
        return
    print_table(
        ["test", "", "who", "where", "account", "wanted", "found", "rule"],
        [
            [
                f"{result.section} {result.test}",
                _PASSED if result.passed else _FAILED,
                result.source,
                result.destination,
                result.user,
                _word(result.wanted),
                result.found,
                _rule(result),
            ]
            for result in results
        ],
    )
    failed = sum(not result.passed for result in results)
    print_line(f"{len(results) - failed} passed, {failed} failed", "bold red" if failed else "green")


def _word(wanted: Wanted | None) -> str:
    return wanted.value if wanted is not None else ""


def _rule(result: Result) -> str:
    return result.by if result.rule is None else f"ssh {result.rule}"


def _document(result: Result) -> dict[str, Any]:
    return {
        "section": result.section,
        "test": result.test,
        "passed": result.passed,
        "src": result.source,
        "dst": result.destination,
        "user": result.user,
        "wanted": _word(result.wanted),
        "found": result.found,
        "rule": _rule(result),
    }
