"""The narrowing policy's file: everything optional, nothing unknown, every complaint with its place."""

import json
from typing import Any

import pytest

from pam_tailscale.errors import PolicyFileError
from pam_tailscale.policy import narrow as module
from pam_tailscale.policy.narrow import AS_THE_RULE, Narrowing, read
from tests.support.narrowing import narrow


def test_nothing_takes_nothing_away() -> None:
    """An empty object is the same as no file."""
    assert narrow() == Narrowing()


def test_the_example_in_the_docstring() -> None:
    """Is a file that can be read, and says what it says."""
    assert module.__doc__ is not None
    text = "".join(line[4:] + "\n" for line in module.__doc__.splitlines() if line.startswith("    "))
    found = read(text.encode(), "narrow.hujson")
    assert found.rules is not None
    assert [(one.action, one.period) for one in found.rules.policy.ssh] == [("check", 3600.0), ("accept", AS_THE_RULE)]
    assert (found.routing_nodes, found.system_accounts, found.agent_forwarding) == (False, True, True)
    assert list(found.accounts) == ["user:*@example.com", "bob@example.com"]


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("allowRoutingNodes", "routing_nodes"),
        ("allowSystemAccounts", "system_accounts"),
        ("allowAgentForwarding", "agent_forwarding"),
        ("allowLocalPortForwarding", "local_forwarding"),
        ("allowRemotePortForwarding", "remote_forwarding"),
    ],
)
def test_each_switch(name: str, attribute: str) -> None:
    """True by default and where it says so; false is that one alone."""
    assert narrow(**{name: True}) == Narrowing()
    changed: dict[str, Any] = {attribute: False}
    assert narrow(**{name: False}) == Narrowing(**changed)


@pytest.mark.parametrize(
    ("login", "users"),
    [
        ("bob@example.com", ("bob",)),
        ("Bob@Example.com", ("bob",)),
        ("alice@example.com", ("localpart:*@example.com",)),
        ("alice@EXAMPLE.com", ("localpart:*@example.com",)),
        ("alice@sub.example.com", None),
        ("carol@example.org", None),
        ("bob", None),
        ("dave", ("deploy",)),
        ("erin", ("deploy",)),
        ("straße@example.net", None),
        ("", None),
    ],
)
def test_whose_line_of_accounts_it_is(login: str, users: tuple[str, ...] | None) -> None:
    """Their own, else their domain's; the same person in other letters is no other one.

    Headscale has login names without a domain, which its policies write with an @ behind.
    """
    accounts = {
        "user:*@Example.com": ["localpart:*@example.com"],
        "bob@example.com": ["bob"],
        "strasse@example.net": ["root"],
        "dave": ["deploy"],
        "erin@": ["deploy"],
        "user:*@dave": ["root"],
    }
    line = narrow(accounts=accounts).accounts_of(login)
    assert (None if line is None else line.users) == users


ENTRY = {"action": "accept", "src": ["autogroup:member"], "users": ["alice"]}
IN_GROUP = ENTRY | {"src": ["group:x"]}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown switch": ({"allowRoutingNode": False}, "unknown field"),
    "a section of the tailnet's": ({"acls": []}, "unknown field"),
    "wrong switch": ({"allowRoutingNodes": "no"}, "true or false is expected"),
    "switch twice": ({"allowRoutingNodes": True, "allowroutingnodes": False}, "in another spelling"),
    "no list": ({"ssh": {}}, "a list is expected"),
    "dst": ({"ssh": [ENTRY | {"dst": ["tag:server"]}]}, 'unknown field "dst"'),
    "acceptEnv": ({"ssh": [ENTRY | {"acceptEnv": ["X"]}]}, 'unknown field "acceptEnv"'),
    "no src": ({"ssh": [{"action": "accept", "users": ["alice"]}]}, "src must be specified"),
    "no users": ({"ssh": [{"action": "accept", "src": ["autogroup:member"]}]}, "users must be specified"),
    "no action": ({"ssh": [{"src": ["autogroup:member"], "users": ["alice"]}]}, "action must be specified"),
    "role": ({"ssh": [ENTRY | {"src": ["autogroup:admin"]}]}, "is not known on a host"),
    "self": ({"ssh": [ENTRY | {"src": ["autogroup:self"]}]}, "is not known on a host"),
    "unknown autogroup": ({"ssh": [ENTRY | {"src": ["autogroup:x"]}]}, "is not known on a host"),
    "unknown group": ({"ssh": [ENTRY | {"src": ["group:ops"]}]}, "group not found"),
    "star": ({"ssh": [ENTRY | {"src": ["*"]}]}, 'invalid src "*"'),
    "address": ({"ssh": [ENTRY | {"src": ["100.64.0.7"]}]}, "invalid src"),
    "accounts no object": ({"accounts": []}, "an object is expected"),
    "accounts of a tag": ({"accounts": {"tag:ci": ["ci"]}}, "neither a login name"),
    "accounts of a group": ({"accounts": {"group:ops": ["ci"]}}, "neither a login name"),
    "accounts of every domain": ({"accounts": {"user:*@*": ["ci"]}}, "neither a login name"),
    "accounts of no domain": ({"accounts": {"user:*@": ["ci"]}}, "neither a login name"),
    "no accounts": ({"accounts": {"bob@example.com": []}}, "no account stands here"),
    "empty account": ({"accounts": {"bob@example.com": [""]}}, 'user "" is not valid'),
    "star account": ({"accounts": {"bob@example.com": ["*"]}}, 'user "*" is not valid'),
    "no period of an accept": ({"ssh": [ENTRY | {"checkPeriod": "1h"}]}, "only a check has one"),
    "null section": ({"ssh": None}, "null says nothing"),
    "null switch": ({"allowRoutingNodes": None}, "null says nothing"),
    "null period": ({"ssh": [ENTRY | {"action": "check", "checkPeriod": None}]}, "null says nothing"),
    "group of a domain": ({"groups": {"group:x": ["user:*@example.com"]}, "ssh": [IN_GROUP]}, "login names"),
    "group of members": ({"groups": {"group:x": ["autogroup:member"]}, "ssh": [IN_GROUP]}, "login names"),
    "group of a star": ({"groups": {"group:x": ["*"]}, "ssh": [IN_GROUP]}, "login names"),
    "person twice": ({"accounts": {"bob@example.com": ["a"], "BOB@example.com": ["b"]}}, "in another spelling"),
}


@pytest.mark.parametrize(("document", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_not_understood_is_an_error(document: dict[str, Any], message: str) -> None:
    """With file, line and column: a typing mistake must not leave something open."""
    text = json.dumps(document, indent=1)
    with pytest.raises(PolicyFileError) as caught:
        read(text.encode(), "narrow.hujson")
    assert message in caught.value.message
    assert caught.value.line > 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"ssh": [}'])
def test_damage(content: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(PolicyFileError):
        read(content, "narrow.hujson")
