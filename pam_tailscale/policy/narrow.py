"""The narrowing policy of a host, narrow.hujson, as a record: what it takes from what the tailnet's policy gives. Pure.

It can only take away: a login needs the policy's yes and this file's. All of it is optional, and what is absent takes
nothing away.

    {
        // In the language of the policy file. `dst` is this host. Whom no entry lets in stays out; a check asks for one
        // where the policy does not, and without checkPeriod lets an authentication count as long as the rule does.
        "groups": {"group:ops": ["alice@example.com", "bob@example.com"]},
        "ssh": [
            {"action": "check", "src": ["group:ops"], "users": ["root"], "checkPeriod": "1h"},
            {"action": "accept", "src": ["autogroup:member"], "users": ["autogroup:nonroot"]}
        ],

        // A login may use only these accounts. Somebody's own line counts, else that of their domain; without any, all.
        "accounts": {
            "user:*@example.com": ["localpart:*@example.com"],
            "bob@example.com": ["bob", "deploy"]
        },

        // Each is true unless it is set to false here.
        "allowRoutingNodes": false,           // nodes that route for others: subnet routers, exit nodes, app connectors
        "allowSystemAccounts": true,          // by their name in the policy's rule; false: not even then
        "allowAgentForwarding": true,         // as the policy's rule has it; false: withheld
        "allowLocalPortForwarding": true,
        "allowRemotePortForwarding": true
    }

That system accounts need their name in the rule holds without this file, and no switch takes it back: it would add.
"""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pam_tailscale.policy import document
from pam_tailscale.policy.document import PolicyFile, SSHEntry
from pam_tailscale.policy.godurations import quote
from pam_tailscale.policy.hujson import Path
from pam_tailscale.policy.onepeer import PeerCompiler, login_key, unfit_member
from pam_tailscale.policy.reading import Field, Reader
from pam_tailscale.policy.roster import Node, Person
from pam_tailscale.policy.selectors import DOMAIN_PREFIX, MEMBER, TAGGED, Kind, Selector
from pam_tailscale.policy.selectors import parse as selector

AS_THE_RULE: Final = math.inf
"""Period of a check that says none: it is no shorter than any other."""
THIS_HOST: Final = Node(name="", addresses=(), tags=("tag:this-host",))
"""What the entries are compiled for. The name is in no file."""
_HERE: Final = Selector(Kind.TAG, "tag:this-host")

_ENTRY_FIELDS: Final = frozenset({"action", "src", "users", "checkperiod"})
_SWITCHES: Final = {
    "allowroutingnodes": "routing_nodes",
    "allowsystemaccounts": "system_accounts",
    "allowagentforwarding": "agent_forwarding",
    "allowlocalportforwarding": "local_forwarding",
    "allowremoteportforwarding": "remote_forwarding",
}
_FIELDS: Final = frozenset({"groups", "ssh", "accounts", *_SWITCHES})
_KINDS: Final = frozenset({Kind.PERSON, Kind.DOMAIN, Kind.GROUP, Kind.TAG})
_WORD: Final = re.compile(r"[^\s@*]+")


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What the file says. The default takes nothing away."""

    rules: PeerCompiler | None = None
    """Of its `ssh` section; None where there is none."""
    accounts: Mapping[str, SSHEntry] = field(default_factory=dict)
    """Login name, or `user:*@domain`, as login_key compares them, to an entry with the accounts that may be used."""
    routing_nodes: bool = True
    system_accounts: bool = True
    agent_forwarding: bool = True
    local_forwarding: bool = True
    remote_forwarding: bool = True

    def accounts_of(self, login: str) -> SSHEntry | None:
        """The line of `accounts` about a person; None where they may use all."""
        own = self.accounts.get(login_key(login))
        domain = Person(login_key(login)).domain
        return own if own is not None else self.accounts.get(f"{DOMAIN_PREFIX}{domain}")


def read(data: bytes, name: str) -> Narrowing:
    """Read the file's content. Raises PolicyFileError with file, line and column."""
    policy = document.read(data, name)
    reader = Reader(policy.document, null_is_absent=False)
    top = reader.fields(policy.document.value, (), _FIELDS)
    return Narrowing(
        rules=_rules(reader, policy, top["ssh"]) if "ssh" in top else None,
        accounts=_accounts(reader, top.get("accounts")),
        **{attribute: reader.flag(top, key) for key, attribute in _SWITCHES.items()},
    )


def _rules(reader: Reader, policy: PolicyFile, section: Field) -> PeerCompiler:
    entries = tuple(_entry(reader, policy, *item) for item in reader.items(section))
    return PeerCompiler(dataclasses.replace(policy, ssh=entries))


def _entry(reader: Reader, policy: PolicyFile, number: int, value: object, path: Path) -> SSHEntry:
    entry = document.read_entry(reader, number, value, path, _ENTRY_FIELDS)
    for position, source in enumerate(entry.sources):
        if problem := _unfit(policy, source):
            raise reader.document.error((*path, "src", position), problem)
    if not entry.sources:
        raise reader.document.error(path, "src must be specified: whom this entry lets in")
    said = reader.fields(value, path).get("checkperiod")
    if said is not None and entry.action != "check":
        raise reader.document.error(said.path, f"only a check has one, and the action is {quote(entry.action)}")
    return dataclasses.replace(entry, destinations=(_HERE,), period=entry.period if said else AS_THE_RULE)


def _unfit(policy: PolicyFile, source: Selector) -> str:
    """Why this host cannot tell whether somebody is meant; empty where it can."""
    text = quote(source.text)
    if source.kind is Kind.AUTOGROUP and source.text not in (MEMBER, TAGGED):
        return f"{text} is not known on a host: name people, groups, tags, {MEMBER} or {TAGGED}"
    if source.kind is Kind.GROUP and source.text not in policy.groups:
        return f"src=group not found: {text}: name it in groups of this file"
    if source.kind is Kind.GROUP and (problem := unfit_member(policy, source)):
        return problem
    return "" if source.kind is Kind.AUTOGROUP or source.kind in _KINDS else f"invalid src {text}"


def _accounts(reader: Reader, section: Field | None) -> dict[str, SSHEntry]:
    found: dict[str, SSHEntry] = {}
    for number, (key, value, path) in enumerate(reader.members(section), 1):
        who = selector(key)
        if not _is_login(who):
            raise reader.document.error(path, f"{quote(key)} is neither a login name nor user:*@domain")
        if login_key(key) in found:
            raise reader.document.error(path, f"this is {quote(key)} once more, in another spelling: keep one of them")
        found[login_key(key)] = _line(reader, number, value, path)
    return found


def _is_login(who: Selector) -> bool:
    """A name without @ is a login name, too: headscale has such."""
    if who.kind is Kind.DOMAIN:
        return bool(_WORD.fullmatch(who.domain))
    return who.kind is Kind.PERSON or (who.kind is Kind.NAME and bool(_WORD.fullmatch(who.text)))


def _line(reader: Reader, number: int, value: object, path: Path) -> SSHEntry:
    users = reader.texts(value, path)
    if not users:
        raise reader.document.error(path, "no account stands here: name one, or leave the line out")
    for position, user in enumerate(users):
        if user in ("", "*"):
            raise reader.document.error((*path, position), f"user {quote(user)} is not valid")
    return SSHEntry(number, "accept", (), (), users, 0.0, (), path)
