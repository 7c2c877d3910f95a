"""The page's text: all data is in it, as data."""

import base64
import hashlib
import html
import json
import re
from typing import Any

from pam_tailscale.policy.access import Wide
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.matrix import Row, matrix
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policypage.page import Parts, content_security_policy, contents, page
from pam_tailscale.policypage.template import parts
from tests.support.policies import policy
from tests.support.tailnets import ALICE, BOB, compiled, node

TO_WEB = {"action": "check", "src": ["group:dev"], "dst": ["tag:web"], "users": ["root", "deploy"]}
TO_SELF = {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["autogroup:nonroot"]}
OWN = {"action": "accept", "src": ["autogroup:member"], "dst": ["tag:db"], "users": ["localpart:*@example.com"]}
HOSTILE = "</script><script>document.title='was here'</script><!--&\"'\u202e{{script}}"


def members(runs: list[int]) -> list[int]:
    """What the script makes of a set."""
    return [first + step for first, length in zip(runs[::2], runs[1::2], strict=True) for step in range(length)]


def data_of(text: str) -> Any:
    """What the script of a page would read."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found)


def test_contents() -> None:
    """A set's names are those of the row; period, line and the entry's own words come along."""
    compiler = policy(TO_WEB, TO_SELF, OWN)
    rows = matrix(compiler)
    found = contents(compiler, rows)
    for row, (who, where, own, names, general, own_name, rule) in zip(rows, found["rows"], strict=True):
        assert [found["sources"][source] for source in members(found["whos"][who])] == list(row.who.names())
        shown = [found["nodes"][position][0] for position in members(found["wheres"][where])]
        assert sorted(shown) == sorted(one.name for one in row.where.nodes)
        assert own is row.where.own
        assert found["rules"][rule][0] == row.entry.number
        assert (names, general, own_name) == (
            [account for account in row.accounts if isinstance(account, str)],
            Wide.ANY in row.accounts,
            Wide.OWN in row.accounts,
        )
    accounts = [tuple(row[3:6]) for row in found["rows"]]
    assert (["root", "deploy"], False, False) in accounts
    assert ([], True, False) in accounts
    assert ([], False, True) in accounts
    assert found["rules"][0] == [1, 1, "check", 43200.0, ["group:dev"], ["tag:web"], ["root", "deploy"]]
    assert found["nodes"][0] == ["laptop", "", found["sources"].index(ALICE)]
    assert found["nodes"][4] == ["web", "tag:web", -1]
    assert (found["people"], found["known_nodes"]) == (5, len(found["nodes"]))


def test_stand_ins_are_not_counted() -> None:
    """They are no people and no nodes that there are."""
    compiler = policy(TO_WEB)
    people = (Person(BOB), Person("autogroup:admin"))
    tailnet = Tailnet(people, (node(1, "web", "tag:web"), Node("tag:new", (), ("tag:new",))))
    found = contents(Compiler(compiler.policy, tailnet), [])
    assert (found["people"], found["known_nodes"]) == (1, 1)
    assert (len(found["sources"]), len(found["nodes"])) == (4, 2)


def test_a_set_stands_there_once() -> None:
    """A thousand rules are about the same few."""
    compiler = policy(TO_WEB, TO_WEB | {"users": ["git"]})
    found = contents(compiler, matrix(compiler))
    assert len(found["rows"]) == 2
    assert (found["whos"], found["wheres"]) == ([[0, 2]], [[4, 1, 6, 2]])


def test_the_page_has_its_data() -> None:
    """Every mark of the template is replaced, once."""
    compiler = policy(TO_WEB)
    rows = matrix(compiler)
    text = page(parts(), compiler, rows)
    assert data_of(text) == contents(compiler, rows)
    assert "{{" not in text.replace(parts().script, "")


def test_what_is_named_stays_data() -> None:
    """However it is spelt, the data's element ends where the page ends it."""
    hostile = Tailnet((Person(BOB), Person(f"{HOSTILE}@example.com")), (node(1, HOSTILE, "tag:web"),))
    source = {"src": [f"{HOSTILE}@example.com"], "dst": ["tag:web"], "users": [HOSTILE], "action": "accept"}
    compiler = compiled(hostile, ssh=[source])
    rows: list[Row] = matrix(compiler)
    text = page(parts(), compiler, rows)
    assert data_of(text)["rows"][0][3] == [HOSTILE]
    assert data_of(text)["nodes"][0][0] == HOSTILE
    assert text.count("<script") == text.count("</script") == parts().html.count("<script")


def test_only_its_own_script_may_run() -> None:
    """By hashes of what stands between the tags, and nothing may be fetched."""
    given = Parts("<x>{{policy}}</x><script>{{script}}</script>", "s", "alert('ü')")
    digest = base64.b64encode(hashlib.sha256("alert('ü')".encode()).digest()).decode()
    allowed = content_security_policy(given)
    assert allowed.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}';" in allowed
    assert "unsafe" not in allowed
    text = page(given, policy(), [])
    assert html.unescape(text.partition("</x>")[0]) == f"<x>{allowed}"
    assert text.endswith("<script>alert('ü')</script>")


def test_without_rows() -> None:
    """A policy that lets nobody in has a page, too."""
    found = contents(policy(), [])
    assert (found["rows"], found["rules"]) == ([], [])
    assert ALICE in found["sources"]
