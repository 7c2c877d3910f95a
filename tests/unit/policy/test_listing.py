"""Sets written out."""

from pam_tailscale.policy.access import Account, Place, Sources, Standing, Wide
from pam_tailscale.policy.listing import (
    Where,
    Who,
    account_document,
    account_order,
    account_text,
    between_two,
    each,
    merged,
)
from pam_tailscale.policy.roster import Node, Person, Tailnet
from tests.support.policies import TAILNET
from tests.support.tailnets import ALICE, BOB

SOURCES = Sources(TAILNET)
LAPTOP, PHONE, DESKTOP, TABLET, WEB, DB, *_ = TAILNET.nodes
EVERYBODY = Who(SOURCES, (1 << len(SOURCES.logins) + len(SOURCES.tags)) - 1)
ALICE_AND_WEB = Who(SOURCES, SOURCES.person(ALICE) | 1 << len(SOURCES.logins))


def test_who() -> None:
    """People first; a node with tags is known by them."""
    assert list(ALICE_AND_WEB.names()) == [ALICE, "tag:web"]
    assert (ALICE_AND_WEB.logins, ALICE_AND_WEB.tags, len(ALICE_AND_WEB)) == ([ALICE], ["tag:web"], 2)
    assert list(EVERYBODY.names()) == [*EVERYBODY.logins, *EVERYBODY.tags]
    assert len(EVERYBODY) == len(SOURCES.logins) + len(SOURCES.tags)


def test_own_devices_are_written_out_for_each_owner() -> None:
    """Among others' devices a person's own are left out, and tags own none."""
    own, others = Place(Standing.OWN, (LAPTOP, PHONE, DESKTOP)), Place(Standing.DEVICES, (LAPTOP, DESKTOP))
    assert list(each(ALICE_AND_WEB, Where((own,)), ["root"])) == [(ALICE, "laptop", "root"), (ALICE, "phone", "root")]
    assert list(each(ALICE_AND_WEB, Where((others,)), ["root"])) == [
        (ALICE, "desktop", "root"),
        ("tag:web", "laptop", "root"),
        ("tag:web", "desktop", "root"),
    ]
    assert (Where((own, others)).own, Where((own, others)).nodes) == (True, (LAPTOP, DESKTOP))
    assert Where((others,)).own is False


def test_no_node_logs_in_on_itself() -> None:
    """A host refuses its own: who has one node is left out there, and it is told what is between two."""
    own, others = Place(Standing.OWN, (LAPTOP, PHONE, DESKTOP)), Place(Standing.DEVICES, (DESKTOP,))
    bob, db = Who(SOURCES, SOURCES.person(BOB)), Who(SOURCES, 1 << len(SOURCES.logins) + 1)
    web, database = Place(Standing.TAGGED, (WEB,)), Place(Standing.TAGGED, (DB,))
    assert db.tags == ["tag:db"]
    cases = [(bob, own), (bob, others), (db, database)]
    assert [list(each(who, Where((place,)), ["root"])) for who, place in cases] == [[], [], []]
    assert [between_two(who, Where((place,))) for who, place in cases] == [False, False, False]
    assert not between_two(bob, Where((own, others)))
    assert between_two(bob, Where((own, web)))
    assert between_two(Who(SOURCES, SOURCES.person(ALICE)), Where((own,)))
    assert between_two(Who(SOURCES, SOURCES.person(ALICE)), Where((others,)))
    assert between_two(ALICE_AND_WEB, Where((web,))), "two nodes have this tag"
    assert between_two(db, Where((web,)))
    assert between_two(db, Where((others,)))


def test_who_has_no_node_yet_could_come_to_have_two() -> None:
    """Of a stand-in nothing is known that would say otherwise."""
    new = Node("tag:new", (), ("tag:new",))
    sources = Sources(Tailnet((Person(ALICE), Person(BOB)), (LAPTOP, new)))
    assert sources.alone == sources.person(ALICE)
    assert between_two(Who(sources, sources.person(BOB)), Where((Place(Standing.OWN, (LAPTOP,)),)))
    assert between_two(Who(sources, 1 << len(sources.logins)), Where((Place(Standing.TAGGED, (new,)),)))


def test_accounts() -> None:
    """Root before all, any name last; for programs what is no name is no text."""
    given: list[Account] = ["zeta", Wide.OWN, "root", Wide.ANY, "any"]
    accounts = sorted(given, key=account_order)
    assert accounts == ["root", Wide.ANY, Wide.OWN, "any", "zeta"]
    assert [account_text(account) for account in accounts] == ["root", "any but root", "own name", "any", "zeta"]
    assert account_document(accounts) == {"accounts": ["root", "any", "zeta"], "any_but_root": True, "own_name": True}
    assert [
        one[2] for one in each(Who(SOURCES, SOURCES.person(BOB)), Where((Place(Standing.TAGGED, (DB,)),)), accounts)
    ] == [
        "root",
        "autogroup:nonroot",
        "bob",
        "any",
        "zeta",
    ]


def test_what_is_the_same_becomes_one_row() -> None:
    """Accounts of the same people at the same places."""
    web, database = Place(Standing.TAGGED, (WEB,)), Place(Standing.TAGGED, (DB,))
    found: dict[tuple[str, int, Account], list[Place]] = {
        ("key", 1, "git"): [web, database],
        ("key", 1, "root"): [web, database],
        ("key", 2, "git"): [web, database],
        ("key", 1, "deploy"): [web],
        ("other", 1, "zeta"): [web],
    }
    rows = [(key, who.members, where.places, accounts) for key, who, where, accounts in merged(found, SOURCES)]
    assert rows == [
        ("key", 1, (web, database), ("root", "git")),
        ("key", 2, (web, database), ("git",)),
        ("key", 1, (web,), ("deploy",)),
        ("other", 1, (web,), ("zeta",)),
    ]
