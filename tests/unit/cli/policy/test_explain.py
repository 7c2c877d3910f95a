"""`policy explain`: one login under a policy file, with every rule."""

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.policy.conftest import POLICY, Write

WEB = ("--to", "web.tailnet.example")


def test_accepted(run: Run, policy: str, tailnet: str) -> None:
    """By the second rule; the first says why not."""
    ran = run("policy", "explain", policy, "deploy", "--from", "alice@example.com", *WEB, "--tailnet", tailnet)
    assert ran.status == 0
    first, _, *rules = ran.out.splitlines()
    assert first == (
        "accept: alice@example.com from laptop.tailnet.example as deploy on web.tailnet.example, by ssh rule 2"
    )
    assert rules[0].startswith("file 1  check")
    assert rules[0].rstrip().endswith("is about this peer, but not for this account")
    assert rules[1].rstrip().endswith("matches")


@pytest.mark.parametrize(
    ("account", "source", "status", "decision", "rule"),
    [
        ("root", "laptop", 4, "check", 1),
        ("root", "fd7a::1", 4, "check", 1),
        ("deploy", "100.64.0.2", 1, "deny", None),
        ("deploy", "bob@example.com", 1, "deny", None),
    ],
)
def test_the_decision_is_the_exit_status(
    run: Run, policy: str, tailnet: str, account: str, source: str, status: int, decision: str, rule: int | None
) -> None:
    """Whoever is named by node, address or login."""
    ran = run("policy", "explain", policy, account, "--from", source, *WEB, "--tailnet", tailnet, "--json")
    assert ran.status == status
    assert (ran.document["decision"], ran.document["rule"]) == (decision, rule)


def test_a_node_without_rules(run: Run, policy: str, tailnet: str) -> None:
    """Is told apart from rules that do not match."""
    ran = run("policy", "explain", policy, "root", "--from", "laptop", "--to", "phone", "--tailnet", tailnet)
    assert ran.status == 1
    assert ran.out.splitlines()[1] == "phone.tailnet.example receives no rule at all"


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("nobody", "phone", "'nobody' is no node and nobody with a node in this tailnet"),
        ("100.64.0.99", "phone", "'100.64.0.99' is no node"),
        (
            "laptop",
            "web",
            "'web' could be web.tailnet.example (100.64.0.3), web.other.example (100.64.0.4): give the whole name",
        ),
    ],
)
def test_who_is_meant_must_be_plain(run: Run, policy: str, tailnet: str, source: str, target: str, says: str) -> None:
    """Nothing is guessed."""
    ran = run("policy", "explain", policy, "root", "--from", source, "--to", target, "--tailnet", tailnet)
    assert ran.status == 2
    assert says in ran.err


SELF = '{"ssh": [{"action": "accept", "src": ["alice@example.com"], "dst": ["autogroup:self"], "users": ["root"]}]}'
MANY = """{"tagOwners": {"tag:web": []}, "ssh": [
  {"action": "accept", "src": ["bob@example.com"], "dst": ["tag:web"], "users": ["root"]},
  {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["deploy"]},
  {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["root"]},
  {"action": "accept", "src": ["bob@example.com"], "dst": ["tag:web"], "users": ["root"]},
  {"action": "accept", "src": ["alice@example.com"], "dst": ["tag:web"], "users": ["git"]}]}"""


@pytest.mark.parametrize("source", ["laptop", "alice@example.com"])
def test_a_node_to_itself(run: Run, write: Write, tailnet: str, source: str) -> None:
    """Every host refuses it, whatever the rules; it is the only node that alice has."""
    asked = ("policy", "explain", write(SELF), "root", "--from", source, "--to", "laptop", "--tailnet", tailnet)
    ran = run(*asked)
    assert ran.status == 1
    assert ran.out.startswith("deny: ")
    assert "laptop.tailnet.example would log in on itself, which every host refuses\n" in ran.out
    assert (run(*asked, "--json").document["reason"], ran.err) == ("peer_is_self", "")


def test_rules_about_others_are_counted(run: Run, write: Write, tailnet: str) -> None:
    """A node can have two for every person; also those after the one that decides are only shown if they could have."""
    path = write(MANY)
    ran = run("policy", "explain", path, "root", "--from", "laptop", *WEB, "--tailnet", tailnet)
    assert ran.status == 0
    assert [line.split()[1] for line in ran.out.splitlines()[2:-1]] == ["2", "3", "5"]
    assert ran.out.splitlines()[-1] == "2 others are not about this peer"
    ran = run("policy", "explain", path, "root", "--from", "web.other.example", *WEB, "--tailnet", tailnet)
    assert ran.out.splitlines()[1:] == ["none of the 5 rules of web.tailnet.example is about this peer"]
    ran = run("policy", "explain", path, "root", "--from", "laptop", *WEB, "--tailnet", tailnet, "--json")
    assert len(ran.document["rules"]) == 5


def test_what_a_role_would_change(run: Run, write: Write, tailnet: str) -> None:
    """Nobody knows whether alice is admin: that she is let in is not presented as certain."""
    entry = '{"action": "check", "src": ["autogroup:admin"], "dst": ["tag:web"], "users": ["deploy"]},'
    path = write(POLICY.replace('"ssh": [', f'"ssh": [{entry}'))
    asked = ("policy", "explain", path, "deploy", "--from", "laptop", *WEB, "--tailnet", tailnet)
    ran = run(*asked)
    assert ran.status == 0
    assert "autogroup:admin (ssh 1) counts for nobody who is known" in ran.err
    assert "with the role of autogroup:admin it is check, by ssh rule 1\n" in ran.err
    assert run(*asked, "--json").document["with_role"] == {"autogroup:admin": "check"}
    known = run(*asked, "--json", "--role", "admin=bob@example.com")
    assert (known.document["with_role"], known.err) == ({}, "")
