"""`pam-tailscale policy explain`: what a login would come to under a policy file, and why."""

import sys
from pathlib import Path
from typing import Any

import click

from pam_tailscale.cli.output import ExitCode, print_json, print_line, print_table
from pam_tailscale.cli.policy.nodes import one_node
from pam_tailscale.cli.policy.source import Given, compiler, file_argument, tailnet_options
from pam_tailscale.cli.rules import rule_rows
from pam_tailscale.model import Reason
from pam_tailscale.policy import trace
from pam_tailscale.policy.evaluate import Outcome, Query, evaluate
from pam_tailscale.policy.roster import Node

_VERDICTS = {Reason.ACCEPTED: ("accept", ExitCode.ALLOW), Reason.CHECK_NEEDED: ("check", ExitCode.CHECK_NEEDED)}
_DENIED = ("deny", ExitCode.DENY)


@click.command()
@file_argument
@click.argument("account")
@click.option(
    "--from",
    "source",
    metavar="WHO",
    required=True,
    help="Where the login comes from: a node's name or address, or a person's login name.",
)
@click.option("--to", "target", metavar="NODE", required=True, help="The node to log in on: its name or address.")
@tailnet_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def explain(
    *,
    file: Path,
    account: str,
    source: str,
    target: str,
    given: Given,
    as_json: bool,
) -> None:
    """Decide a login as ACCOUNT under FILE and say why: the rule that decides, and for every other why it does not.

    A node's name may be its first part alone. What a host itself refuses (system accounts, no such account) is not
    known here. Exits 0 where it would be accepted, 1 denied, 3 cannot tell, 4 a check is needed.
    """
    compiled = compiler(file, given)
    client, node = one_node(compiled.tailnet, source, "--from"), one_node(compiled.tailnet, target, "--to")
    query = Query(client.addresses[0], client.stable_id, client.owner, account, None, tagged=bool(client.tags))
    outcome = evaluate([compiled.policy_for(node)], query, 0.0, trace=True)
    verdict, status_code = _VERDICTS.get(outcome.reason, _DENIED)
    if as_json:
        print_json(_document(client, node, account, verdict, outcome))
    else:
        _print(client, node, account, verdict, outcome)
    sys.exit(status_code)


def _document(client: Node, node: Node, account: str, verdict: str, outcome: Outcome) -> dict[str, Any]:
    return {
        "user": account,
        "from": client.name,
        "identity": client.identity,
        "to": node.name,
        "decision": verdict,
        "reason": outcome.reason.value,
        "rule": outcome.rule.number if outcome.rule is not None else None,
        "rules": [trace.document(*one) for one in outcome.trace],
    }


def _print(client: Node, node: Node, account: str, verdict: str, outcome: Outcome) -> None:
    by_rule = f", by ssh rule {outcome.rule.number}" if outcome.rule is not None else ""
    print_line(f"{verdict}: {client.identity} from {client.name} as {account} on {node.name}{by_rule}")
    rules = [trace.document(*one) for one in outcome.trace]
    if rules:
        print_table(["rule", "action", "accounts", ""], rule_rows(rules))
    else:
        print_line(f"{node.name} receives no rule at all")
