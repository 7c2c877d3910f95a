"""Who is let in to which account."""

from typing import Any

import pytest

from pam_tailscale.config import Source
from pam_tailscale.host.doctor import sharing
from pam_tailscale.host.doctor.check import State
from pam_tailscale.host.doctor.peers import Node
from pam_tailscale.host.doctor.sharing import Access, access, judge, not_seen, of_sources
from pam_tailscale.model import Account, Mode, parse_address
from pam_tailscale.policy.facts import Limits
from pam_tailscale.policy.rules import parse_policy
from tests.support.facts import ACCEPT, ANYBODY, CHECK, LIMITS, NOW, REJECT, rule

ROOT = Account("root", 0, "/bin/bash", shell_usable=True)
ALICE = Account("alice", 1001, "/bin/bash", shell_usable=True)
DEPLOY = Account("deploy", 1002, "/bin/bash", shell_usable=True)
GIT = Account("git", 105, "/bin/sh", shell_usable=True)
NOLOGIN = Account("www-data", 33, "/usr/sbin/nologin", shell_usable=True)
GONE = Account("gone", 1003, "/bin/gone", shell_usable=False)
ACCOUNTS = (ROOT, ALICE, DEPLOY, GIT, NOLOGIN, GONE)


def node(number: int, login: str = "", *tags: str) -> Node:
    """A node of a person, or a tagged one."""
    return Node(f"n{number}", f"node{number}", login, tags, (parse_address(f"100.64.0.{number}"),))


NODES = (node(2, "alice@example.com"), node(3, "bob@example.com"), node(4, "bob@example.com"), node(5, "x", "tag:ci"))


def let_in(*rules: dict[str, Any], limits: Limits = LIMITS) -> dict[str, tuple[str, ...]]:
    """Account to identities, under these rules."""
    return dict(access(NODES, ACCOUNTS, [parse_policy({"rules": list(rules)})], limits, NOW).let_in)


def about(number: int) -> dict[str, str]:
    """The principal of a node."""
    return {"nodeIP": f"100.64.0.{number}"}


def test_by_name_and_by_any_name() -> None:
    """A system account needs its own, `=` is never root, and a mapping lets nobody in under the first name."""
    everybody = rule({"*": "="}, ACCEPT, ANYBODY)
    assert let_in(everybody) == {
        "alice": ("alice@example.com", "bob@example.com", "tag:ci"),
        "deploy": ("alice@example.com", "bob@example.com", "tag:ci"),
    }
    assert let_in(rule({"root": "root", "git": "git", "alice": "deploy"}, ACCEPT, about(2))) == {
        "root": ("alice@example.com",),
        "git": ("alice@example.com",),
    }


def test_any_node_of_an_identity_is_enough() -> None:
    """And it counts once."""
    assert let_in(rule({"deploy": "="}, ACCEPT, about(3), about(4))) == {"deploy": ("bob@example.com",)}
    assert let_in(rule({"deploy": "="}, ACCEPT, about(4))) == {"deploy": ("bob@example.com",)}


def test_a_check_lets_people_in() -> None:
    """Who can pass one: a tagged node has nobody."""
    assert let_in(rule({"deploy": "="}, CHECK, about(2), about(5))) == {"deploy": ("alice@example.com",)}


def test_the_first_rule_decides() -> None:
    """As in a decision."""
    assert let_in(rule({"*": "="}, REJECT, about(2)), rule({"alice": "="}, ACCEPT, ANYBODY)) == {
        "alice": ("bob@example.com", "tag:ci")
    }


def test_the_hosts_own_limits() -> None:
    """Root only where the configuration allows it; what cannot be enforced refuses."""
    assert (
        let_in(rule({"root": "root"}, ACCEPT, about(2)), limits=Limits(Mode.ENFORCE, allow_root=False, uid_min=1000))
        == {}
    )
    assert let_in(rule({"alice": "="}, {**ACCEPT, "sessionDuration": 1}, about(2))) == {}


def test_a_large_tailnet_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not evaluated is counted, and never taken for a no."""
    monkeypatch.setattr(sharing, "EVALUATIONS_MAX", 3)
    found = access(NODES, (ALICE, DEPLOY), [parse_policy({"rules": [rule({"*": "="}, ACCEPT, about(2))]})], LIMITS, NOW)
    assert (dict(found.let_in), found.not_evaluated) == (
        {"alice": ("alice@example.com",), "deploy": ("alice@example.com",)},
        0,
    )
    everybody = [parse_policy({"rules": [rule({"*": "="}, ACCEPT, ANYBODY)]})]
    assert access(NODES, (ALICE, DEPLOY), everybody, LIMITS, NOW).not_evaluated == 4


def test_shared_accounts() -> None:
    """Named with their identities."""
    check = judge(Access({"deploy": tuple(f"p{number}" for number in range(8)), "alice": ("a",)}), {}, ())[0]
    assert (check.state, check.items) == (State.WARNING, ("deploy: p0, p1, p2, p3, p4, p5 and 2 more",))
    assert judge(Access({"alice": ("a",)}), {}, ())[0].state is State.OK
    assert judge(Access({"alice": ("a",)}, not_evaluated=1), {}, ())[0].state is State.UNKNOWN


def test_restricted_keys() -> None:
    """Of accounts that the policy lets somebody in to; of others they go on counting."""
    options = {"deploy": frozenset({"command", "from"}), "backup": frozenset({"command"})}
    check = judge(Access({"deploy": ("a",)}), options, ())[1]
    assert (check.state, check.items) == (State.WARNING, ("deploy (command, from): a",))
    assert judge(Access({"alice": ("a",)}), options, ())[1].state is State.OK
    assert judge(Access({"alice": ("a",)}, not_evaluated=1), options, ())[1].state is State.UNKNOWN
    assert judge(Access({}), {}, ("/home/x/.ssh/authorized_keys",))[1].state is State.UNKNOWN


def test_not_seen() -> None:
    """The same names."""
    assert [one.name for one in not_seen("why", "do")] == [one.name for one in judge(Access({}), {}, ())]


def test_rules_of_other_sources_are_not_looked_at() -> None:
    """Which is said where nothing else was found; what the netmap gives is found all the same."""
    policy = parse_policy({"rules": [rule({"deploy": "="}, ACCEPT, ANYBODY)]})
    for sources, asked, rest in (
        ((Source.NETMAP,), True, ()),
        ((Source.NETMAP, Source.GRANTS, Source.FILE), True, ("grants", "file")),
        ((Source.FILE,), False, ("file",)),
    ):
        policies, not_asked = of_sources(policy, sources)
        assert (policies, not_asked) == ([policy] if asked else [], rest)
        shared, restricted = judge(access(NODES, ACCOUNTS, policies, LIMITS, NOW, not_asked), {}, ())
        assert shared.state is (State.WARNING if asked else State.UNKNOWN)
        assert restricted.state is (State.UNKNOWN if rest else State.OK)
        assert all(name in restricted.what for name in rest)
