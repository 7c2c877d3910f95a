"""Many names in one cell, and periods."""

import pytest

from pam_tailscale.cli.policy.names import SHOWN, accounts_text, action_text, where_text, who_text
from pam_tailscale.policy.access import Place, Sources, Standing, Wide
from pam_tailscale.policy.listing import Where, Who
from pam_tailscale.policy.roster import Person, Tailnet
from tests.support.tailnets import ALICE, LAPTOP, WEB, compiled


def test_the_first_few_and_how_many_more() -> None:
    """So that a row stays a row."""
    people = tuple(Person(f"p{number}@example.com") for number in range(SHOWN + 2))
    sources = Sources(Tailnet(people, ()))
    assert who_text(Who(sources, 0b11)) == "p0@example.com, p1@example.com"
    assert who_text(Who(sources, sources.people)).endswith(f"p{SHOWN - 1}@example.com and 2 more")


def test_own_devices_have_a_name_of_their_own() -> None:
    """They are others for everybody."""
    own, tagged = Place(Standing.OWN, (LAPTOP,)), Place(Standing.TAGGED, (WEB,))
    assert where_text(Where((own,))) == "their own devices"
    assert where_text(Where((own, tagged))) == "their own devices, web"
    assert where_text(Where((tagged,))) == "web"


def test_accounts() -> None:
    """What stands for many, in words."""
    assert accounts_text(("root", Wide.ANY, Wide.OWN, "deploy")) == "root, any but root, own name, deploy"


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"action": "accept"}, "accept"),
        ({"action": "check"}, "check 12 h"),
        ({"action": "check", "checkPeriod": "always"}, "check always"),
        ({"action": "check", "checkPeriod": "48h"}, "check 2 d"),
        ({"action": "check", "checkPeriod": "90m"}, "check 90 min"),
        ({"action": "check", "checkPeriod": "90s"}, "check 90 s"),
    ],
)
def test_actions(entry: dict[str, str], text: str) -> None:
    """A check with its period."""
    (found,) = compiled(ssh=[entry | {"src": [ALICE], "dst": ["tag:web"], "users": ["root"]}]).policy.ssh
    assert action_text(found) == text
