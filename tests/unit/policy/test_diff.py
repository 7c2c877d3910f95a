"""What changes between two policies: the same as asking both for every pair of nodes and every account."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.policy.access import Account, Standing, Wide
from pam_tailscale.policy.diff import Change, Kind, diff, document
from pam_tailscale.policy.roster import Person
from tests.support.policies import GROUPS, Answer, Login, entries, every_answer, policy
from tests.support.tailnets import ALICE, BOB, CAROL, compiled

WEB = {"action": "accept", "src": ["group:dev"], "dst": ["tag:web"], "users": ["deploy"]}
WEB_ROOT = WEB | {"users": ["root"]}
WEB_ANY = WEB | {"users": ["autogroup:nonroot"]}
CHECKED = WEB | {"action": "check", "checkPeriod": "1h"}
SELF = {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["autogroup:nonroot"]}


def is_about(change: Change, login: Login) -> bool:
    """Whether a change speaks of this login."""
    tagged = bool(login.source.tags)
    source = ",".join(sorted(login.source.tags)) if tagged else login.source.owner
    if source not in change.who.names():
        return False
    own = not tagged and not login.node.tags and login.node.owner == login.source.owner
    if not any(login.node in place.nodes and (place.standing is Standing.OWN) is own for place in change.where.places):
        return False
    mine: set[Account] = {login.account}
    if not tagged and Person(login.source.owner).localpart == login.account:
        mine.add(Wide.OWN)
    general = Wide.ANY in change.accounts and login.account != "root" and not mine & {*change.but}
    return general or bool(mine & {*change.accounts})


def expected(old: Answer | None, new: Answer | None) -> Kind | None:
    """In plain words."""
    if old is None:
        return Kind.GAINED if new is not None else None
    if new is None:
        return Kind.LOST
    if old.period == new.period:
        if old.exact == new.exact:
            return None
        return Kind.NAMED if new.exact else Kind.UNNAMED
    if new.period is None:
        return Kind.CHECK_LOST
    if old.period is None:
        return Kind.CHECK_GAINED
    return Kind.PERIOD_LONGER if new.period > old.period else Kind.PERIOD_SHORTER


@given(entries, st.data())
def test_it_says_what_evaluation_says_of_both(ssh: list[dict[str, Any]], data: st.DataObject) -> None:
    """Of every pair of nodes and every account there is one change or none, with the entries that decide."""
    others = st.permutations(ssh) | st.lists(st.sampled_from(ssh), max_size=6) if ssh else st.just(ssh)
    changed = data.draw(st.tuples(others, entries).map(lambda both: [*both[0], *both[1][:2]]) | entries)
    old, new = policy(*ssh), policy(*changed)
    changes = diff(old, new)
    for (login, before), (_, after) in zip(every_answer(old), every_answer(new), strict=True):
        found = [change for change in changes if is_about(change, login)]
        kind = expected(before, after)
        assert [change.kind for change in found] == ([kind] if kind else []), (login, before, after)
        for change in found:
            assert (change.old.number if change.old else None) == (before.rule if before else None)
            assert (change.new.number if change.new else None) == (after.rule if after else None)


@given(entries)
def test_a_policy_does_not_differ_from_itself(ssh: list[dict[str, Any]]) -> None:
    """However strange."""
    assert diff(policy(*ssh), policy(*ssh)) == []


@given(entries)
def test_the_reverse_is_the_reverse(ssh: list[dict[str, Any]]) -> None:
    """Who loses all of it here gains all of it there."""
    gone, back = diff(policy(*ssh), policy()), diff(policy(), policy(*ssh))
    assert {change.kind for change in gone} <= {Kind.LOST}
    assert {change.kind for change in back} <= {Kind.GAINED}
    assert {(change.who.members, change.accounts) for change in gone} == {
        (change.who.members, change.accounts) for change in back
    }


@pytest.mark.parametrize(
    ("old", "new", "kind", "grave"),
    [
        ([], [WEB], Kind.GAINED, False),
        ([], [WEB_ROOT], Kind.GAINED, True),
        ([WEB_ROOT], [], Kind.LOST, False),
        ([CHECKED], [WEB], Kind.CHECK_LOST, True),
        ([WEB], [CHECKED], Kind.CHECK_GAINED, False),
        ([CHECKED], [CHECKED | {"checkPeriod": "2h"}], Kind.PERIOD_LONGER, False),
        ([CHECKED], [CHECKED | {"checkPeriod": "always"}], Kind.PERIOD_SHORTER, False),
        ([WEB_ANY], [WEB | {"users": ["autogroup:nonroot", "deploy"]}], Kind.NAMED, False),
        ([WEB | {"users": ["autogroup:nonroot", "deploy"]}], [WEB_ANY], Kind.UNNAMED, False),
        ([WEB_ANY], [CHECKED, WEB_ANY], Kind.CHECK_GAINED, False),
    ],
)
def test_kinds(old: list[dict[str, Any]], new: list[dict[str, Any]], kind: Kind, *, grave: bool) -> None:
    """Each alone, for the same people and nodes."""
    (change,) = diff(policy(*old), policy(*new))
    assert (change.kind, change.grave) == (kind, grave)
    assert change.who.logins == [ALICE, BOB]
    assert [node.name for node in change.where.nodes] == ["web", "web2", "both"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([WEB, SELF], [SELF, WEB]),
        ([WEB], [WEB, WEB]),
        ([WEB], [WEB | {"src": [ALICE, BOB]}]),
        ([WEB], [WEB | {"src": [ALICE]}, WEB | {"src": [BOB]}]),
        ([WEB], [WEB | {"acceptEnv": ["LANG"]}]),
        ([CHECKED], [CHECKED, WEB]),
        ([], [WEB | {"src": ["group:none"]}]),
    ],
)
def test_another_text_is_no_change(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """What it comes to is compared."""
    assert diff(policy(*old), policy(*new)) == []


def test_what_changes_as_every_account_is_not_listed_by_name() -> None:
    """Otherwise each name of the policy would stand in each change."""
    git = WEB | {"users": ["git"]}
    (change,) = diff(policy(WEB_ANY, git | {"src": [CAROL]}), policy(git | {"src": [CAROL]}))
    assert (change.kind, change.accounts, change.but) == (Kind.LOST, (Wide.ANY,), ())
    assert (change.root, change.where.own) == (False, False)
    changes = diff(policy(WEB_ANY, git | {"src": [BOB]}), policy(git | {"src": [BOB]}))
    assert [(change.kind, change.who.logins, change.accounts, change.but) for change in changes] == [
        (Kind.LOST, [ALICE, BOB], (Wide.ANY,), ("git",)),
        (Kind.LOST, [ALICE], ("git",), ()),
        (Kind.NAMED, [BOB], ("git",), ()),
    ]


def test_own_devices_and_own_names() -> None:
    """Both stand for many, and are no pairs."""
    own = SELF | {"users": ["localpart:*@example.com"]}
    (change,) = diff(policy(), policy(own))
    assert change.where.own
    assert change.accounts == (Wide.OWN,)
    assert CAROL not in change.who.logins


def test_an_own_name_is_an_exception_only_for_those_who_have_one() -> None:
    """All of them lose any account; one keeps that of her own name, the other loses it, too."""
    changes = diff(policy(WEB_ANY), policy(WEB | {"src": [ALICE], "users": ["localpart:*@example.com"]}))
    on_web = [change for change in changes if not change.where.own]
    assert [(change.kind, change.who.logins, change.accounts, change.but) for change in on_web] == [
        (Kind.LOST, [ALICE], (Wide.ANY,), (Wide.OWN,)),
        (Kind.LOST, [BOB], (Wide.ANY,), ()),
        (Kind.NAMED, [ALICE], (Wide.OWN,), ()),
    ]


def test_grave_ones_come_first() -> None:
    """Whoever reads no further has read them."""
    kinds = [change.kind for change in diff(policy(CHECKED), policy(SELF, WEB))]
    assert kinds == [Kind.CHECK_LOST, Kind.GAINED]


def test_a_node_to_itself_is_not_grave() -> None:
    """Every host refuses it, whatever the policy says; who has two nodes logs in from the other."""
    root = SELF | {"users": ["root"]}
    (change,) = diff(policy(), policy(root | {"src": [BOB]}))
    assert (change.kind, change.grave, change.where.own) == (Kind.GAINED, False, True)
    (change,) = diff(policy(), policy(root | {"src": [ALICE]}))
    assert (change.kind, change.grave) == (Kind.GAINED, True)


def test_two_tailnets_cannot_be_compared() -> None:
    """A node that changed hands would be in neither."""
    with pytest.raises(ValueError, match="two tailnets"):
        diff(policy(), compiled(groups=GROUPS))


def test_document() -> None:
    """Nothing in it is lost as JSON."""
    found = document(diff(policy(CHECKED), policy(WEB_ROOT)))
    assert json.loads(json.dumps(found)) == found
    assert found[0] == {
        "change": "gained",
        "grave": True,
        "people": [ALICE, BOB],
        "tags": [],
        "nodes": ["web", "web2", "both"],
        "own_devices": False,
        "accounts": ["root"],
        "any_but_root": False,
        "own_name": False,
        "but": {"accounts": [], "any_but_root": False, "own_name": False},
        "old": None,
        "new": {"rule": 1, "action": "accept", "period": None},
    }
    assert found[1]["old"] == {"rule": 1, "action": "check", "period": 3600.0}
