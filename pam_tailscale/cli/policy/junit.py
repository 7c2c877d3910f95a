"""Results of a policy's tests as JUnit XML, which CI systems read. Pure."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from pam_tailscale.cli.output import shown
from pam_tailscale.policy.sshtests import Result


def document(results: Sequence[Result], suite: str) -> str:
    """The whole document; each result is a test case."""
    failed = sum(not result.passed for result in results)
    head = f'<testsuite name={_attribute(suite)} tests="{len(results)}" failures="{failed}">'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', head, *(_case(result) for result in results), "</testsuite>"]
    return "\n".join(lines) + "\n"


def _case(result: Result) -> str:
    wanted = result.wanted.value if result.wanted is not None else "valid"
    account = f" as {result.user}" if result.user else ""
    name = f"{result.source}{account} on {result.destination}: {wanted}"
    start = f"  <testcase classname={_attribute(f'{result.section}.{result.test}')} name={_attribute(name)}"
    if result.passed:
        return f"{start}/>"
    rule = f"ssh {result.rule}" if result.rule is not None else result.by
    text = f"wanted {wanted}, found {result.found}" + (f", by {rule}" if rule else "")
    return f"{start}>\n    <failure message={_attribute(text)}>{escape(shown(text))}</failure>\n  </testcase>"


def _attribute(text: str) -> str:
    return quoteattr(shown(text))
