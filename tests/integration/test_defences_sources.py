"""Policies that stand on the host: they decide only as root wrote them, and each promise fails without its defence."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contrib.demo.tailnet import nodes_rule
from pam_tailscale import paths
from tests.integration.expect import let_in, refused
from tests.integration.test_defences import agent_without
from tests.support.scene import Scene

FILE, NARROW = str(paths.POLICY_FILE), str(paths.NARROW)
ALICES = {
    "groups": {"group:ops": ["Alice@example.com"]},
    "ssh": [
        {"action": "check", "src": ["group:ops"], "dst": ["autogroup:member"], "users": ["root"]},
        {"action": "accept", "src": ["autogroup:member"], "dst": ["autogroup:member"], "users": ["alice", "root"]},
    ],
}
"""Of a host that is somebody's device."""


@pytest.fixture
def host(scene: Scene) -> Iterator[Scene]:
    """A host with policies of its own, without them afterwards."""
    before = scene.tailnet.own.login, scene.tailnet.own.tags
    yield scene
    scene.tailnet.own.login, scene.tailnet.own.tags = before
    scene.tailnet.changed()
    scene.host.box.run(["rm", "-f", FILE, NARROW])
    scene.host.configure("")
    scene.restart_agent()


@contextmanager
def with_file(scene: Scene, policy: dict[str, Any]) -> Iterator[None]:
    """By the netmap nobody gets in here that these tests ask about, and the file is the second source."""
    scene.tailnet.own.login, scene.tailnet.own.tags = "alice@example.com", ()
    scene.host.box.write(FILE, json.dumps(policy), 0o644)
    scene.host.configure('sources = ["netmap", "file"]\n')
    with scene.rules(nodes_rule([scene.nodes.ci], {"alice": "="})):
        scene.restart_agent()
        yield


def start_anew(scene: Scene, wrapper: str | None = None) -> None:
    """The agent starts again; whether it is ready then is what is asked."""
    scene.host.stop_agent()
    scene.host.start_agent(wrapper=wrapper)


def test_11_a_policy_of_somebody_elses_decides_nothing(host: Scene) -> None:
    """Whoever has no root does not say who may log in; without the look at the file's owner they would."""
    with with_file(host, ALICES):
        let_in(host.login("alice"))
        alice, root = host.host.box.account("alice"), "0:0"
        host.host.box.run(["chown", f"{alice.uid}:{alice.gid}", FILE])
        not_looked_at = "from pam_tailscale.agent import hostfile", "hostfile.only_root_writes = lambda _: True"
        with agent_without(host, *not_looked_at):
            let_in(host.login("alice"))
            host.host.box.run(["chown", root, FILE])
        host.host.box.run(["chown", f"{alice.uid}:{alice.gid}", FILE])
        start_anew(host)
        assert host.reason(lambda: refused(host.login("alice"))) == "policy_unavailable"
        host.host.box.run(["chown", root, FILE])


def test_6_a_check_in_other_letters_is_asked_for(host: Scene) -> None:
    """Without the comparison of login names the next entry lets in without it."""
    with with_file(host, ALICES):
        assert host.reason(lambda: refused(host.login("root"))) == "attribute_not_enforced"
        with agent_without(host, "from pam_tailscale.policy import onepeer", "onepeer.login_key = lambda login: login"):
            let_in(host.login("root"))


def test_what_the_host_takes_away_is_taken_away(host: Scene) -> None:
    """Without the step that narrows it would not be."""
    host.host.box.write(NARROW, json.dumps({"accounts": {"alice@example.com": ["deploy"]}}), 0o644)
    host.restart_agent()
    assert host.reason(lambda: refused(host.login("alice"))) == "narrowed"
    with agent_without(host, "decision.narrowed = lambda outcome, *_: outcome"):
        let_in(host.login("alice"))


def test_1_a_damaged_narrowing_lets_nobody_in(host: Scene) -> None:
    """Taken for none it would let in."""
    host.host.box.write(NARROW, "{", 0o644)
    start_anew(host)
    assert host.reason(lambda: refused(host.login("alice"))) == "narrow_damaged"
    taken_for_none = "app.narrowing_of = lambda file: file.value"
    start_anew(host, f"from pam_tailscale.agent import app\n{taken_for_none}\napp.main()")
    let_in(host.login("alice"))
