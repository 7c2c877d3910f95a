"""Where a role that nobody is known to have could change more than a comparison shows."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.policy.access import Account, Standing, Wide
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.diff import Change, diff
from pam_tailscale.policy.newcomers import unknown_roles, with_newcomers
from pam_tailscale.policy.roster import Person, Tailnet
from pam_tailscale.policy.uncompared import not_compared
from tests.support.policies import GROUPS, TAILNET, Login, entries, every_answer
from tests.support.tailnets import ALICE, BOB, compiled
from tests.unit.policy.test_diff import expected

ADMIN = "autogroup:admin"
NOBODYS = Tailnet(tuple(Person(person.login) for person in TAILNET.people), TAILNET.nodes, TAILNET.domains)
"""The same, and of nobody a role is known."""
ACCEPT: dict[str, Any] = {"action": "accept", "src": [ALICE], "dst": ["tag:web"], "users": ["root"]}
CHECK = ACCEPT | {"action": "check"}
Section = list[dict[str, Any]]


def compared(old: Section, new: Section) -> tuple[list[Change], tuple[str, ...]]:
    """The changes that are shown, and the roles of which nothing can be said."""
    policies = [compiled(NOBODYS, ssh=ssh, groups=GROUPS).policy for ssh in (old, new)]
    wide = with_newcomers(NOBODYS, *policies)
    before, after = (Compiler(policy, wide) for policy in policies)
    changes = diff(before, after)
    return changes, not_compared(before, after, changes, unknown_roles(NOBODYS, *policies))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ([], [], ()),
        ([CHECK | {"src": [ADMIN]}], [CHECK | {"src": [ADMIN]}], ()),
        ([], [ACCEPT | {"src": [ADMIN]}], ()),
        ([CHECK | {"src": [ADMIN]}], [ACCEPT | {"src": [ADMIN]}], ()),
        ([ACCEPT | {"src": [ADMIN]}, ACCEPT], [ACCEPT | {"src": [ADMIN]}], ()),
        ([CHECK | {"src": [ADMIN]}, ACCEPT], [ACCEPT], (ADMIN,)),
        ([CHECK | {"src": [ADMIN]}, ACCEPT], [CHECK | {"src": [ADMIN]}, ACCEPT | {"src": [ALICE, BOB]}], ()),
        ([CHECK, ACCEPT | {"src": [ADMIN]}], [ACCEPT | {"src": [ADMIN]}], (ADMIN,)),
        (
            [CHECK | {"src": [ADMIN]}, CHECK | {"checkPeriod": "1h"}],
            [CHECK | {"checkPeriod": "1h"}, CHECK | {"src": [ADMIN]}],
            (ADMIN,),
        ),
    ],
    ids=[
        "nothing is named",
        "nothing changes",
        "the stand-in gains it",
        "its check is lost",
        "what another loses is kept by the role",
        "who is let in anyway had to pass a check",
        "what another gains they gain",
        "they lose a check where another loses access",
        "only the order changes",
    ],
)
def test_what_is_not_compared(old: Section, new: Section, found: tuple[str, ...]) -> None:
    """Where the stand-in's rows tell all of it, nothing."""
    assert compared(old, new)[1] == found


def test_two_roles_at_once() -> None:
    """Their order counts only for who has both."""
    first, second = CHECK | {"src": [ADMIN]}, CHECK | {"src": ["autogroup:auditor"], "checkPeriod": "1h"}
    changes, found = compared([first, second], [second, first])
    assert (changes, found) == ([], (ADMIN, "autogroup:auditor"))


MANAGED = ACCEPT | {"srcPosture": ["posture:managed"]}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ([MANAGED], [MANAGED], ()),
        ([MANAGED], [MANAGED | {"src": [BOB]}], ()),
        ([MANAGED], [ACCEPT], ("srcPosture posture:managed",)),
        ([CHECK | MANAGED | {"action": "check"}, ACCEPT], [ACCEPT], ()),
        (
            [MANAGED],
            [ACCEPT | {"srcPosture": ["posture:any"]}],
            ("srcPosture posture:managed", "srcPosture posture:any"),
        ),
        (
            [MANAGED, ACCEPT | {"srcPosture": ["posture:any"]}],
            [ACCEPT],
            ("srcPosture posture:managed", "srcPosture posture:any"),
        ),
    ],
)
def test_postures(old: Section, new: Section, found: tuple[str, ...]) -> None:
    """Nobody here knows whether they hold: what is shown is what changes if they do."""
    assert compared(old, new)[1] == found


def is_about(change: Change, who: str, login: Login) -> bool:
    """Whether a change speaks of somebody on the node and as the account of a login."""
    own = not login.source.tags and login.node.owner == login.source.owner and not login.node.tags
    if who not in change.who.names():
        return False
    if not any(login.node in place.nodes and (place.standing is Standing.OWN) is own for place in change.where.places):
        return False
    mine: set[Account] = {login.account}
    if Person(who).localpart == login.account:
        mine.add(Wide.OWN)
    general = Wide.ANY in change.accounts and login.account != "root" and not mine & {*change.but}
    return general or bool(mine & {*change.accounts})


@given(entries, entries, st.sets(st.sampled_from(TAILNET.people)))
def test_whoever_has_the_role_all_is_shown_or_said_not_to_be(old: Section, new: Section, admins: set[Person]) -> None:
    """Each change there really is, is one of the same kind for that person, or for the one who stands in."""
    changes, found = compared(old, new)
    if found:
        return
    logins = {person.login for person in admins}
    people = (Person(one.login, frozenset({"admin"} if one.login in logins else ())) for one in TAILNET.people)
    real = Tailnet(tuple(people), TAILNET.nodes, TAILNET.domains)
    before, after = (every_answer(compiled(real, ssh=ssh, groups=GROUPS)) for ssh in (old, new))
    for (login, was), (_, now) in zip(before, after, strict=True):
        kind = expected(was, now)
        who = ",".join(sorted(login.source.tags)) or login.source.owner
        names = [who, ADMIN] if login.source.owner in logins else [who]
        said = {change.kind for change in changes for name in names if is_about(change, name, login)}
        assert kind is None or kind in said, (login, was, now)
