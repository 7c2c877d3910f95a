"""`pam-tailscale policy explain`: what a login would come to under a policy file, and why."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pam_tailscale.cli.output import ExitCode, complain, print_json, print_line, print_table
from pam_tailscale.cli.policy.nodes import one_node
from pam_tailscale.cli.policy.source import Given, compiler, file_argument, tailnet_options
from pam_tailscale.cli.rules import rule_rows
from pam_tailscale.model import Reason
from pam_tailscale.policy import trace
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.evaluate import Mismatch, Outcome, Query, evaluate, match
from pam_tailscale.policy.newcomers import if_everybody_had, unknown_roles
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
    """Decide a login as ACCOUNT under FILE and say why: the rule that decides, and why others about the peer do not.

    A node's name may be its first part alone. What a host itself refuses (system accounts, no such account) is not
    known here. Exits 0 where it would be accepted, 1 denied, 3 cannot tell, 4 a check is needed.
    """
    compiled = compiler(file, given)
    node = one_node(compiled.tailnet, target, "--to")
    login = Login(one_node(compiled.tailnet, source, "--from", but=node), node, account)
    outcome = _decide(compiled, login)
    supposed = tuple(_if_they_had_a_role(compiled, login, outcome))
    if as_json:
        print_json(_document(login, outcome, supposed))
    else:
        _print(login, outcome)
        for role, other in supposed:
            complain(f"with the role of {role} it is {_verdict(other)}{_by(other)}")
    sys.exit(_VERDICTS.get(outcome.reason, _DENIED)[1])


@dataclass(frozen=True, slots=True)
class Login:
    """Who would log in where, as which account."""

    client: Node
    node: Node
    account: str

    @property
    def query(self) -> Query:
        """It as a node's rules are asked."""
        client = self.client
        return Query(client.addresses[0], client.stable_id, client.owner, self.account, None, tagged=bool(client.tags))


def _decide(compiled: Compiler, login: Login) -> Outcome:
    outcome = evaluate([compiled.policy_for(login.node)], login.query, 0.0, trace=True)
    if login.client is login.node:  # every host refuses it, whatever its rules say
        return Outcome(Reason.PEER_IS_SELF, trace=outcome.trace)
    return outcome


def _if_they_had_a_role(compiled: Compiler, login: Login, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
    """Roles that nobody is known to have, with which the answer would be another."""
    for role in () if login.client.tags else unknown_roles(compiled.tailnet, compiled.policy):
        other = _decide(Compiler(compiled.policy, if_everybody_had(compiled.tailnet, (role,))), login)
        if _verdict(other) != _verdict(outcome):
            yield role, other


def _verdict(outcome: Outcome) -> str:
    return _VERDICTS.get(outcome.reason, _DENIED)[0]


def _by(outcome: Outcome) -> str:
    return f", by ssh rule {outcome.rule.number}" if outcome.rule is not None else ""


def _document(login: Login, outcome: Outcome, supposed: Iterable[tuple[str, Outcome]]) -> dict[str, Any]:
    return {
        "user": login.account,
        "from": login.client.name,
        "identity": login.client.identity,
        "to": login.node.name,
        "decision": _verdict(outcome),
        "reason": outcome.reason.value,
        "rule": outcome.rule.number if outcome.rule is not None else None,
        "with_role": {role: _verdict(other) for role, other in supposed},
        "rules": [trace.document(*one) for one in outcome.trace],
    }


def _print(login: Login, outcome: Outcome) -> None:
    client, node = login.client, login.node
    print_line(
        f"{_verdict(outcome)}: {client.identity} from {client.name} as {login.account} on {node.name}{_by(outcome)}"
    )
    if outcome.reason is Reason.PEER_IS_SELF:
        print_line(f"{node.name} would log in on itself, which every host refuses")
    if not outcome.trace:
        print_line(f"{node.name} receives no rule at all")
        return
    # A node can have a rule or two for every person: what is about others is in the document for programs alone.
    about = [
        trace.document(source, rule, mismatch)
        for source, rule, mismatch in outcome.trace
        if match(rule, login.query, 0.0) is not Mismatch.PRINCIPAL
    ]
    if about:
        print_table(["rule", "action", "accounts", ""], rule_rows(about))
    if not about:
        print_line(f"none of the {len(outcome.trace)} rules of {node.name} is about this peer")
    elif others := len(outcome.trace) - len(about):
        print_line(f"{others} {'other is' if others == 1 else 'others are'} not about this peer")
