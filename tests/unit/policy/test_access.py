"""Who gets in by which entry, in sets. That it is what evaluation says of each pair is test_matrix's business."""

from typing import Any

import pytest

from pam_tailscale.policy.access import Claims, Sources, Standing, Wide, decide, names_in, period_of, places
from pam_tailscale.policy.selectors import parse
from tests.support.policies import DEPLOY, TAILNET, policy
from tests.support.tailnets import ALICE, BOB, CAROL

SOURCES = Sources(TAILNET)
WEB: dict[str, Any] = {"action": "accept", "src": ["group:dev"], "dst": ["tag:web"], "users": ["deploy"]}
OWN_NAME: dict[str, Any] = WEB | {"src": ["autogroup:member"], "users": ["localpart:*@example.com"]}


def names(members: int) -> list[str]:
    """Who is in a set."""
    return [SOURCES.name(position) for position in SOURCES.positions(members)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("group:ops", [BOB, CAROL]),
        ("group:none", []),
        (ALICE, [ALICE]),
        ("gone@example.com", []),
        ("autogroup:admin", [ALICE]),
        ("user:*@example.org", [CAROL]),
        ("tag:web", ["tag:web", "tag:db,tag:web"]),
        ("tag:none", []),
        ("autogroup:tagged", ["tag:web", "tag:db", "tag:db,tag:web"]),
    ],
)
def test_whom_a_selector_names(text: str, expected: list[str]) -> None:
    """People by their login name, nodes with the same tags as one."""
    assert names(SOURCES.of(policy(), parse(text))) == expected


def test_some_people_have_no_account_of_their_own_name() -> None:
    """Whoever is called root elsewhere."""
    assert names(SOURCES.named["example.com"]) == [ALICE, BOB, DEPLOY]
    assert names(SOURCES.namesakes("alice")) == [ALICE]
    assert SOURCES.namesakes("root") == SOURCES.namesakes("zoe") == 0


def test_nodes_of_the_same_entries_are_one_place() -> None:
    """Not those of the same tags: more of them are alike. Devices stay apart, since they are somebody's own."""
    found = [(place.standing, [node.name for node in place.nodes]) for place, _ in places(TAILNET, _claims(WEB))]
    own, *others = found
    assert own[0] is Standing.OWN
    assert "stray" not in own[1], "nobody's node is nobody's own"
    assert (Standing.TAGGED, ["web", "web2", "both"]) in others
    assert (Standing.TAGGED, ["db"]) in others
    assert {standing for standing, _ in others} == {Standing.TAGGED, Standing.DEVICES}
    assert sorted(name for _, nodes in others for name in nodes) == sorted(node.name for node in TAILNET.nodes)


def test_nodes_of_one_place_are_alike_in_both_policies() -> None:
    """What is together in one and apart in the other is apart."""
    both = [
        [node.name for node in place.nodes]
        for place, _ in places(TAILNET, _claims(WEB), _claims(WEB | {"dst": ["tag:db"]}))
        if place.standing is Standing.TAGGED
    ]
    assert sorted(both) == [["both"], ["db"], ["web", "web2"]]


def _claims(*ssh: dict[str, Any]) -> Claims:
    return Claims(policy(*ssh), SOURCES)


def test_the_first_entry_decides() -> None:
    """Checks before all others; what is left for the second are those whom the first is not about."""
    check = WEB | {"action": "check", "src": [BOB], "users": ["autogroup:nonroot"], "checkPeriod": "5m"}
    claims = _claims(WEB, check).about(TAILNET.nodes[4])
    permits = decide(claims, SOURCES, names_in(claims))
    (any_but_root,), (deploy,) = permits[Wide.ANY], permits["deploy"]
    assert (period_of(any_but_root.entry), names(any_but_root.sources), any_but_root.exact) == (300, [BOB], False)
    assert (period_of(deploy.entry), names(deploy.sources), deploy.exact) == (None, [ALICE], True)


def test_a_name_that_is_somebodys_own_is_listed_by_name() -> None:
    """It is the same account, by whichever entry."""
    claims = _claims(WEB, OWN_NAME).about(TAILNET.nodes[4])
    permits = decide(claims, SOURCES, names_in(claims))
    assert [names(permit.sources) for permit in permits["deploy"]] == [[ALICE, BOB], [DEPLOY]]
    assert [names(permit.sources) for permit in permits[Wide.OWN]] == [[ALICE, BOB]]


def test_claims_of_the_same_effect() -> None:
    """Numbers and words of the entries are not part of it."""
    (one,) = _claims(WEB).about(TAILNET.nodes[4])
    (other,) = _claims(OWN_NAME | {"dst": ["tag:db"]}, WEB | {"src": [BOB, ALICE]}).about(TAILNET.nodes[4])
    assert one.effect == other.effect
    assert one.entry.number != other.entry.number
