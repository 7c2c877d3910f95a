"""Rules in an app capability: what the tailnet's policy grants a peer, as whois on this host shows it. Pure.

App capabilities are the interface that Tailscale documents for other programs. In the tailnet's policy file:

    "grants": [{
        "src": ["group:ops"],
        "dst": ["tag:server"],
        "ip":  ["tcp:22"],
        "app": {"acme.example/cap/ssh": [
            {"users": ["autogroup:nonroot"], "action": "accept", "allowAgentForwarding": false},
            {"users": ["root"], "action": "check", "checkPeriod": "1h"},
            {"users": ["backup"], "action": "accept", "pty": false, "command": "/usr/bin/rrsync /srv"}
        ]}
    }]

Who and where is the grant's own `src` and `dst`. The rest is as in an entry of the `ssh` section:

| field | is | where it is absent |
|---|---|---|
| `users` | accounts, `root`, `autogroup:nonroot`, `localpart:*@domain` | an error |
| `action` | `accept`, `check` | an error |
| `checkPeriod` | of a check: for how long an authentication counts; `always` | 12 h |
| `acceptEnv` | as in an entry of the `ssh` section | none |
| `allowAgentForwarding`, `allowLocalPortForwarding`, `allowRemotePortForwarding` | false withholds it | true |
| `pty` | false withholds the terminal | true |
| `command` | the one command that is run | any |

Rules have their numbers in the order in which whois lists them, which is the control plane's. As in the `ssh` section,
checks come before all others: nobody is let in by one rule whom another one wants checked. What is not understood
refuses the peer, for it may have been meant to withhold something.
"""

from typing import Final

from pam_tailscale.errors import PolicyFileError, PolicyShapeError
from pam_tailscale.policy.compile import HOLD
from pam_tailscale.policy.document import ENTRY_FIELDS, SSHEntry, read_entry
from pam_tailscale.policy.godurations import quote
from pam_tailscale.policy.hujson import Document, Path
from pam_tailscale.policy.onepeer import users_with_localpart
from pam_tailscale.policy.reading import Field, Reader
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Action, Policy, Principal, Rule

SOURCE: Final = "grants"
RULES_MAX: Final = 1000
"""Of one peer; a whois answer has at most 1 MiB."""
_AGENT, _LOCAL, _REMOTE = "allowagentforwarding", "allowlocalportforwarding", "allowremoteportforwarding"
_OWN_FIELDS: Final = frozenset({_AGENT, _LOCAL, _REMOTE, "pty", "command"})
_FIELDS: Final = (ENTRY_FIELDS - {"src", "dst"}) | _OWN_FIELDS
_THIS_PEER: Final = (Principal(any=True),)


class _Granted(Document):
    """A capability's value. Its place in an error is the rule and the field: there is no file."""

    def error(self, path: Path, message: str) -> PolicyFileError:
        rule = f"rule {int(path[0]) + 1}" if path else "its value"
        where = ", ".join([rule, *(str(step) if isinstance(step, str) else f"item {step + 1}" for step in path[1:])])
        return PolicyFileError(f"{where}: {message}", self.name)


def compile_grants(capability: str, value: object, peer: Node) -> Policy:
    """The rules that a peer's capability holds. Absent or empty is a policy that lets nobody in.

    Raises PolicyShapeError, which says what is wrong.
    """
    try:
        return Policy(SOURCE, _rules(Reader(_Granted(capability, value, ""), null_is_absent=False), value, peer))
    except PolicyFileError as err:
        raise PolicyShapeError(
            f"{peer.name} is granted {err} (this version of pam-tailscale may be older than that grant)"
        ) from err


def _rules(reader: Reader, value: object, peer: Node) -> tuple[Rule, ...]:
    if value is None:
        return ()
    listed = list(reader.items(Field(value, ())))
    if len(listed) > RULES_MAX:
        raise reader.document.error((), f"{len(listed)} rules: there may be at most {RULES_MAX} for one peer")
    rules = [_rule(reader, number, item, path, peer) for number, item, path in listed]
    return tuple(sorted(rules, key=lambda rule: (not rule.asks_for_check, rule.number)))


def _rule(reader: Reader, number: int, item: object, path: Path, peer: Node) -> Rule:
    entry = read_entry(reader, number, item, path, _FIELDS)
    fields = reader.fields(item, path)
    if entry.action != "check" and (said := fields.get("checkperiod")):
        raise reader.document.error(said.path, f"only a check has one, and the action is {quote(entry.action)}")
    users, localpart = users_with_localpart(entry, peer.owner)
    return Rule(
        number=number,
        principals=_THIS_PEER,
        users=users,
        action=_action(reader, entry, fields),
        accept_env=entry.accept_env,
        localpart=localpart,
    )


def _action(reader: Reader, entry: SSHEntry, fields: dict[str, Field]) -> Action:
    checks = entry.action == "check"
    command = fields.get("command")
    return Action(
        accept=not checks,
        hold_and_delegate=HOLD if checks else "",
        period=entry.period if checks else None,
        allow_agent_forwarding=reader.flag(fields, _AGENT),
        allow_local_port_forwarding=reader.flag(fields, _LOCAL),
        allow_remote_port_forwarding=reader.flag(fields, _REMOTE),
        forwarding_said=True,
        pty=None if reader.flag(fields, "pty") else False,
        command="" if command is None else _command(reader, command),
    )


def _command(reader: Reader, found: Field) -> str:
    text = reader.text(found.value, found.path)
    if not text:  # a limit that limits nothing was meant otherwise
        raise reader.document.error(found.path, "the command is empty: leave it out where any may be run")
    return text
