"""`policy explain`: one login under a policy file, with every rule."""

import pytest

from tests.unit.cli.conftest import Run

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
        ("laptop", "web", "'web' could be web.tailnet.example, web.other.example: give the whole name"),
    ],
)
def test_who_is_meant_must_be_plain(run: Run, policy: str, tailnet: str, source: str, target: str, says: str) -> None:
    """Nothing is guessed."""
    ran = run("policy", "explain", policy, "root", "--from", source, "--to", target, "--tailnet", tailnet)
    assert ran.status == 2
    assert says in ran.err
