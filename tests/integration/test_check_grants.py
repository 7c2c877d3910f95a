"""A check that a grant asks for, with a real OpenID provider; and one whose rule withholds something as well."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest

from contrib.demo.tailnet import nodes_rule
from tests.integration.expect import let_in, refused
from tests.support.check_mode import CheckMode
from tests.support.roots import Suite
from tests.support.scene import Scene

# One worker: there is one browser, and it is large.
pytestmark = pytest.mark.xdist_group("identity-provider")

CAPABILITY = "acme.example/cap/ssh"
TOP = f'sources = ["netmap", "grants"]\ncapability = "{CAPABILITY}"\n'
BY_KEY = "tailscale: your rule lets you in by key alone"


@pytest.fixture(scope="module", params=get_args(Suite))
def suite(request: pytest.FixtureRequest) -> Suite:
    """As in conftest.py, but all on one worker."""
    chosen: Suite = request.param
    return chosen


@pytest.fixture(scope="module")
def running(scene: Scene) -> Iterator[CheckMode]:
    """Provider and browser, started once; by the netmap only the runner gets in."""
    with CheckMode(scene) as mode:
        scene.set_rules(nodes_rule([scene.nodes.ci], {"alice": "="}))
        yield mode


@pytest.fixture
def mode(running: CheckMode) -> Iterator[CheckMode]:
    """Nobody has passed a check, and grants are a source."""
    running.begin(TOP + running.configuration())
    yield running
    granted(running, [])


def granted(mode: CheckMode, rules: list[dict[str, Any]]) -> None:
    """What whois says that alice's node may do here."""
    mode.scene.nodes.alice.cap_map = {CAPABILITY: list(rules)} if rules else {}
    mode.scene.tailnet.changed()
    mode.scene.wait_until_ready()


def grant(**more: Any) -> dict[str, Any]:
    """A rule that lets alice in as herself after a check."""
    return {"users": ["alice"], "action": "check", "checkPeriod": "1h", **more}


def test_a_check_of_a_grant_is_passed_at_the_provider(mode: CheckMode) -> None:
    """Then every way is open, and the decision names the source."""
    granted(mode, [grant()])
    assert mode.scene.reason(lambda: refused(mode.scene.login("alice"))) == "check_needed"
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
        assert login.stdout == "alice\n"
    let_in(mode.scene.login("alice"))
    assert all(word in mode.scene.host.decisions()[-1] for word in ("source=grants", "reason=check_passed"))


def test_a_check_whose_rule_withholds_something_is_passed_at_a_prompt_and_used_by_key(mode: CheckMode) -> None:
    """The prompt is keyboard-interactive's, which cannot limit: it says to use a key, and that one is let in."""
    granted(mode, [grant(allowAgentForwarding=False, pty=False)])
    key = mode.scene.client.make_key("laptop")
    refused(mode.scene.login("alice", key=key))
    with mode.scene.waiting_login() as login:
        mode.approve(login.page())
        login.press_enter()
        assert login.finish() == 255
        assert BY_KEY in login.stderr
    refused(mode.scene.login("alice"))
    done = mode.scene.login("alice", None, "-v", key=key)
    let_in(done)
    assert "key options: port-forwarding\n" in done.stderr.replace("\r", "")


def test_a_check_at_every_login_whose_rule_withholds_something_lets_nobody_in(mode: CheckMode) -> None:
    """Whoever passed it at the prompt would have to pass it anew for the key: it is said at once, and nobody waits."""
    granted(mode, [grant(checkPeriod="always", pty=False)])
    key, before = mode.scene.client.make_key("laptop"), mode.begun()
    for done in (
        mode.scene.login("alice"),
        mode.scene.login("alice", key=key),
        mode.scene.login("alice", password="x"),
    ):
        refused(done)
        assert "reason=attribute_not_enforced" in mode.scene.host.decisions()[-1]
    assert mode.begun() == before
