"""What must hold for any bytes: a value, or a refusal with its place, and never another exception."""

import ipaddress
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy import acltests, document, hujson, sshtests
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policy.validate import validate

RECORDED: Final = Path(__file__).parents[1] / "data" / "conformance"
MESSAGE_MAX: Final = 2000
"""Characters of an error: somebody has to read it."""


def _node(number: int, *tags: str, owner: str = "") -> Node:
    addresses = ipaddress.ip_address(f"100.64.0.{number}"), ipaddress.ip_address(f"fd7a:115c:a1e0::{number}")
    return Node(f"node{number}", addresses, tags, owner, f"n{number}")


_LOGINS: Final = ("odin@example.com", "thor@example.org", "freya@example.com")  # those of the recorded policies
TAILNET: Final = Tailnet(
    tuple(Person(login, frozenset({"admin"})) for login in _LOGINS),
    (
        *(_node(number, owner=login) for number, login in enumerate(_LOGINS, 1)),
        _node(4, "tag:server"),
        _node(5, "tag:prod"),
    ),
    frozenset({"example.com"}),
)


def read(data: bytes) -> None:
    """HuJSON: what is read is JSON of the same length, in which every value has its place."""
    try:
        found = hujson.parse(data, "policy")
    except PolicyFileError as err:
        _check(err, data)
        return
    text = data.decode()
    assert len(found.text) == len(text)
    assert json.loads(found.text) == found.value
    _check(found.error((), "the whole"), data)


def compile_all(data: bytes) -> None:
    """A policy file: read, validated, compiled for every node, its tests run."""
    try:
        policy = document.read(data, "policy")
        validate(policy, TAILNET.domains)
    except PolicyFileError as err:
        _check(err, data)
        return
    compiler = Compiler(policy, TAILNET)
    for node in TAILNET.nodes:
        for rule in compiler.rules_for(node):
            entry = policy.ssh[rule.number - 1]
            assert rule.principals
            assert "root" in entry.users or not rule.users.get("root")
            assert rule.action is not None
            assert rule.action.accept == (entry.action == "accept")
    for result in sshtests.run(compiler):
        assert result.rule is None or policy.ssh[result.rule - 1]
    try:
        for result in acltests.run(compiler):
            assert result.passed or result.found
    except PolicyFileError as err:
        _check(err, data)


def _check(err: PolicyFileError, data: bytes) -> None:
    """The place is one in the file, and the message can be read."""
    assert len(str(err)) < MESSAGE_MAX
    lines = data.decode(errors="replace").split("\n")
    assert 1 <= err.line <= len(lines)
    assert 1 <= err.column <= len(lines[err.line - 1]) + 1


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {"hujson": read, "compile": compile_all}

_WRITTEN: Final = (
    b'// HuJSON\n{"a": [1, -2.5e3, true, null, "\\ud83d\\udca9 \xc3\xa9",], /* b */ "c": {},}',
    b'[{"a": 1}, {"a": {"a": NaN}}, 1e999, "\\ud800", {"b": 1, "b": 2}]',
    (
        b'{"ssh": [{"action": "check", "src": ["user:*@example.com", "autogroup:admin"], "dst": ["autogroup:self"],'
        b' "users": ["localpart:*@example.com", "root"], "checkPeriod": "1h30m", "acceptEnv": ["LC_*"]}],'
        b' "sshTests": [{"src": "group:x", "dst": ["srv"], "accept": ["root"], "check": ["a"], "deny": ["b"]}],'
        b' "hosts": {"srv": "100.64.0.4"}, "tagOwners": {"tag:server": []}, "groups": {"group:a": ["thor@x.org"]}}'
    ),
    (
        b'{"acls": [{"action": "accept", "src": ["*"], "proto": "tcp", "dst": ["srv:20-25,80", "ipset:x:*"]}],'
        b' "grants": [{"src": ["autogroup:member"], "dst": ["tag:server"], "ip": ["tcp:22"], "srcPosture": ["p"]}],'
        b' "tests": [{"src": "odin@example.com", "accept": ["tag:server:22"], "deny": ["10.0.0.1:22"]}],'
        b' "hosts": {"srv": "100.64.0.4"}, "defaultSrcPosture": [], "ssh": []}'
    ),
)


def seeds() -> Iterator[bytes]:
    """Files to begin with: the recorded policies, and some with what is in none of them."""
    yield from _WRITTEN
    for path in sorted(RECORDED.glob("*.json")):
        yield json.dumps(json.loads(path.read_text())["policy"], ensure_ascii=False).encode()
