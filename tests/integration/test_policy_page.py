"""The page of a matrix in headless Chromium, without any network: what it shows, how fast, and nothing more."""

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.matrix import matrix
from pam_tailscale.policy.roster import Node, Person, Tailnet
from pam_tailscale.policypage.page import page
from pam_tailscale.policypage.template import parts
from tests.support.browser import Browser
from tests.support.policies import policy
from tests.support.roots import debian_root
from tests.support.sandbox import Sandbox
from tests.support.tailnets import ALICE, BOB, CAROL, compiled, node

LOADED_MS, FILTERED_MS = 3000, 1000
"""How long a page about 1,000 people, 1,000 nodes and 1,000 rules may take, on a machine under load."""
MANY = 1000
HOSTILE = "<script>document.title='was here'</script><img src=x onerror=\"document.title='was here'\">\u202eevil'&quot;"
SMALL: tuple[dict[str, Any], ...] = (
    {"action": "check", "checkPeriod": "1h", "src": ["group:ops"], "dst": ["tag:web"], "users": ["root", "deploy"]},
    {"action": "accept", "src": ["group:dev"], "dst": ["tag:web", "tag:db"], "users": ["autogroup:nonroot"]},
    {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["autogroup:nonroot"]},
    {"action": "accept", "src": ["tag:db"], "dst": ["tag:db"], "users": ["localpart:*@example.com", "git"]},
    {"action": "accept", "src": ["group:none"], "dst": ["tag:db"], "users": ["git"]},
    {"action": "accept", "src": ["group:dev"], "dst": ["autogroup:member"], "users": ["autogroup:nonroot"]},
)


class Page:
    """A page that is open."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._file = folder / "matrix.html"

    def open(self, compiler: Compiler) -> None:
        """As a file, as people open it."""
        self._file.write_text(page(parts(), compiler, matrix(compiler)))
        self._browser.open(self._file.as_uri())
        assert self.script("return document.body.dataset.ready") == "yes"

    def script(self, text: str) -> Any:
        """What JavaScript returns."""
        return self._browser.script(text)

    def type(self, field: str, text: str) -> float:
        """Puts text into a filter; milliseconds until all is shown."""
        return float(
            self.script(
                f"const field = document.getElementById({field!r}); field.value = {text!r};"
                "const t = performance.now();"
                "field.dispatchEvent(new Event('input', {bubbles: true})); document.body.offsetHeight;"
                "return performance.now() - t"
            )
        )

    def clear(self) -> None:
        """No filter any more."""
        for field in ("search", "who", "where", "account", "action"):
            self.type(field, "")

    def click_rule(self, number: int) -> float:
        """Clicks it; milliseconds until all is shown."""
        return float(
            self.script(
                f"const t = performance.now(); document.querySelector('button.rule[data-rule=\"{number}\"]').click();"
                "document.body.offsetHeight; return performance.now() - t"
            )
        )

    def texts(self, selector: str) -> list[str]:
        """Of the elements that fit."""
        found: list[str] = self.script(
            f"return [...document.querySelectorAll({selector!r})].map((one) => one.textContent)"
        )
        return found

    @property
    def rules_shown(self) -> list[int]:
        """Of the rows that are left, each one's rule."""
        return [int(text.partition(",")[0]) for text in self.texts("#rows tr td:last-child")]


@pytest.fixture(scope="module")
def opened() -> Iterator[Page]:
    """The browser, started once."""
    # Its /tmp is its own.
    with (
        TemporaryDirectory(dir="/var/tmp") as folder,
        Sandbox(debian_root("bookworm"), "desk") as box,
        Browser(box) as browser,
    ):
        yield Page(browser, Path(folder))


@pytest.fixture
def small(opened: Page) -> Page:
    """A page about a few people and nodes."""
    opened.open(policy(*SMALL))
    return opened


@pytest.mark.parametrize(
    ("filters", "rules"),
    [
        ({}, {1, 2, 3, 4, 6}),
        ({"action": "check"}, {1}),
        ({"who": "carol"}, {1, 3}),
        ({"who": "carol", "where": "web"}, {1}),
        ({"who": "alice", "where": "laptop"}, {3}),
        ({"who": "alice", "where": "desktop"}, {6}),
        ({"who": "carol", "where": "desktop"}, set()),
        ({"where": "tag:db"}, {1, 2, 4}),
        ({"account": "root"}, {1}),
        ({"account": "roo"}, {2, 3, 6}),
        ({"account": "git", "where": "db"}, {2, 4}),
        ({"search": "group:ops"}, {1}),
        ({"search": "GIT"}, {4}),
        ({"search": "phone"}, {3, 6}),
        ({"who": "nobody at all"}, set()),
    ],
)
def test_filters(small: Page, filters: dict[str, str], rules: set[int]) -> None:
    """Each leaves the rows that it is about. An account is asked for by its whole name; any but root has it, too."""
    small.clear()
    for field, text in filters.items():
        small.type(field, text)
    assert set(small.rules_shown) == rules


def test_a_rule_shows_what_it_grants(small: Page) -> None:
    """Its rows, people and nodes are marked, and those of no other; a second click takes the marks away."""
    small.clear()
    small.click_rule(1)
    assert small.texts("#people .granted") == [BOB, CAROL]
    assert set(small.texts("#nodes .granted")) == {"web", "web2", "both"}
    marked = small.script("return [...document.querySelectorAll('#rows tr.granted')].map((row) => row.dataset.rule)")
    assert set(marked) == {"1"}
    assert small.texts("#granted") == ["Rule 1 lets 2 people or tags in on 3 nodes."]
    small.click_rule(3)
    assert "laptop" in small.texts("#nodes .granted")
    assert "web" not in small.texts("#nodes .granted")
    small.click_rule(3)
    assert small.texts(".granted") == []


def test_a_rule_that_grants_nothing_says_so(small: Page) -> None:
    """It is listed all the same: whoever wrote it looks for it."""
    small.clear()
    small.click_rule(5)
    assert small.texts(".granted") == []
    assert small.texts("#granted")[0].startswith("Rule 5 lets nobody in")
    small.click_rule(5)


def test_root_is_marked(small: Page) -> None:
    """In the rows and nowhere else."""
    small.clear()
    assert set(small.texts("#rows .root")) == {"root"}


def test_what_is_named_is_only_text(opened: Page) -> None:
    """A person, a node and an account with markup in their names: nothing of it is an element, nothing runs."""
    login = f"{HOSTILE}@example.com"
    tailnet = Tailnet((Person(ALICE), Person(login)), (node(1, HOSTILE, "tag:web"), node(2, "laptop", owner=login)))
    entry = {"action": "accept", "src": [login, ALICE], "dst": ["tag:web"], "users": [HOSTILE, "root"]}
    opened.open(compiled(tailnet, ssh=[entry]))
    opened.click_rule(1)
    assert opened.script("return document.title") == "Who can log in where"
    assert opened.script("return document.querySelectorAll('img, iframe, script:not([id])').length") == 1
    seen = HOSTILE.replace("\u202e", "\\u{202e}")
    assert {seen, f"{seen}@example.com"} <= set(opened.texts("#rows bdi"))


def test_nothing_is_fetched_and_nothing_could_be(opened: Page) -> None:
    """The page asks for nothing, and a script in it that tried would be stopped by the page's own policy."""
    opened.open(policy(*SMALL))
    assert opened.script("return performance.getEntriesByType('resource').length") == 0
    tried = opened.script(
        """
        window.refused = [];
        document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
        const image = new Image(); image.src = "https://example.com/x.png"; document.body.append(image);
        const script = document.createElement("script");
        try { script.textContent = "document.title = 'was here'"; } catch (err) { refused.push(`script ${err.name}`); }
        try { script.append("document.title = 'was here'"); document.body.append(script); } catch {}
        try { document.body.innerHTML = "<b>x</b>"; } catch (err) { refused.push(err.name); }
        return fetch("https://example.com/").then(() => "fetched", () => "refused")
        """
    )
    assert tried == "refused"
    refused = set(opened.script("return refused"))
    assert {"img-src", "connect-src", "script TypeError", "TypeError"} <= refused
    assert opened.script("return document.title") == "Who can log in where"


def many() -> Compiler:
    """1,000 people, 1,000 nodes, 1,000 rules, each about ten groups of ten and a team of four nodes."""
    people = tuple(Person(f"user{number}@example.com") for number in range(MANY))
    nodes = tuple(
        Node(f"node{number}", (IPv4Address(0x64400000 + number),), (f"tag:team{number % 250}",))
        for number in range(MANY)
    )
    groups = {
        f"group:g{number}": [f"user{(number * 7 + step) % MANY}@example.com" for step in range(10)]
        for number in range(100)
    }
    entries = [
        {
            "action": "check" if number % 7 == 0 else "accept",
            "src": [f"group:g{(number * 3 + step) % 100}" for step in range(10)],
            "dst": [f"tag:team{number % 250}"],
            "users": [f"service{number % 30}", *(["root"] if number % 5 == 0 else [])],
        }
        for number in range(MANY - 2)
    ]
    entries += [
        {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:tagged"], "users": ["guest"]},
        {"action": "accept", "src": ["group:g1"], "dst": ["autogroup:tagged"], "users": ["autogroup:nonroot"]},
    ]
    owners = {f"tag:team{number}": [ALICE] for number in range(250)}
    return compiled(Tailnet(people, nodes), ssh=entries, groups=groups, tagOwners=owners)


def test_a_thousand_people_and_nodes(opened: Page) -> None:
    """It opens at once, and neither a letter in a filter nor a click is waited for."""
    opened.open(many())
    loaded = opened.script(
        "const [page] = performance.getEntriesByType('navigation'); return page.domContentLoadedEventEnd"
    )
    assert loaded < LOADED_MS
    assert len(opened.texts("#people li")) == len(opened.texts("#nodes li")) == len(opened.texts("#rules li")) == MANY
    times = [opened.type("search", text) for text in ("u", "us", "user77", "")]
    times += [opened.type("who", "user500@"), opened.type("where", "node3"), opened.type("account", "root")]
    assert opened.texts("#people li") == ["user500@example.com"]
    opened.clear()
    times += [opened.click_rule(MANY - 1)]
    assert len(opened.texts("#people .granted")) == len(opened.texts("#nodes .granted")) == MANY
    assert max(times) < FILTERED_MS
