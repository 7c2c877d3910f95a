"""Sources of policy beside the netmap, and narrowing, on a real tailnet: what headscale grants is what whois shows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pam_tailscale import paths
from tests.support.host import CONFIG, Host
from tests.support.members import OPEN, TAG_OWNERS, Login, Members, accept, make_policy

CAPABILITY = "acme.example/cap/ssh"
FILE, NARROW = str(paths.POLICY_FILE), str(paths.NARROW)
REACH = {"src": ["*"], "dst": ["*"], "ip": ["*"]}
"""Every connection reaches every port."""
NOBODYS = accept(["user2@"], ["tag:server"], "user2")
"""The ssh section of these policies: it is about somebody else, so that only the source in question lets in."""


def accepted(login: Login) -> bool:
    """The login ran its command."""
    return login.accepted


def refused(login: Login) -> bool:
    """The login was refused in the policy's words."""
    return login.refused


def granting(*rules: dict[str, Any], src: str = "user1@") -> dict[str, Any]:
    """A policy that grants these rules on srv."""
    app = {"src": [src], "dst": ["tag:server"], "app": {CAPABILITY: list(rules)}}
    return {"tagOwners": TAG_OWNERS, "grants": [REACH, app], "ssh": [NOBODYS]}


def grant(*users: str, action: str = "accept", **more: Any) -> dict[str, Any]:
    """A rule of the capability."""
    return {"users": list(users), "action": action, **more}


def reload(host: Host) -> None:
    """Have the agent read its files again; whoever asks afterwards waits for what it says."""
    host.agent.send_signal(1)  # type: ignore[union-attr]


@pytest.fixture
def srv(members: Members) -> Iterator[Host]:
    """The server, which is as it was afterwards."""
    host = members.hosts["srv"]
    before = host.box.read(CONFIG)
    yield host
    host.box.write(CONFIG, before)
    host.box.run(["rm", "-f", FILE, NARROW])
    reload(host)
    members.tailnet.set_policy(OPEN)
    members.until(accepted, "u1a", "alice", "srv", deadline=30)


def explained(members: Members, user: str, source: str) -> dict[str, Any]:
    """What the agent of srv says of a login."""
    done = members.hosts["srv"].cli("explain", user, "--from", members.nodes[source].ipv4, "--json", check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_the_tailnet_grants_lets_in(members: Members, srv: Host) -> None:
    """Exactly whom the grant names, as whom its rules say; the journal and status name the source."""
    members.tailnet.set_policy(granting(grant("alice", "root"), grant("bob", action="check", checkPeriod="1h")))
    members.until_reason({"no_rule"}, "srv", "alice", members.nodes["u1a"].ipv4)
    srv.box.write(CONFIG, f'sources = ["netmap", "grants"]\ncapability = "{CAPABILITY}"\n' + srv.box.read(CONFIG))
    reload(srv)
    members.until(accepted, "u1a", "alice", "srv")
    assert members.login("u1b", "root", "srv").accepted
    assert members.login("u2a", "alice", "srv").refused
    assert members.login("ci", "alice", "srv").refused
    assert members.login("u1a", "user1", "srv").refused
    assert any("source=grants" in line and "decision=allow" in line for line in srv.decisions())
    found = explained(members, "bob", "u1a")
    assert (found["reason"], found["source"], found["rule"]) == ("attribute_not_enforced", "grants", 2)
    # The netmap's rules come first, and go on counting.
    members.until(accepted, "u2a", "user2", "srv")
    status = json.loads(srv.cli("status", "--json").stdout)
    assert [(one["name"], one["place"]) for one in status["sources"]] == [("netmap", ""), ("grants", CAPABILITY)]


def test_a_grant_that_changes_counts_at_the_next_login(members: Members, srv: Host) -> None:
    """Taken away, given to somebody else, and made so that it is not understood."""
    srv.box.write(CONFIG, f'sources = ["grants"]\ncapability = "{CAPABILITY}"\n' + srv.box.read(CONFIG))
    reload(srv)
    members.tailnet.set_policy(granting(grant("alice")))
    members.until(accepted, "u1a", "alice", "srv")
    assert members.login("u2a", "user2", "srv").refused  # by the netmap alone, which is no source here
    members.tailnet.set_policy(granting(grant("alice"), src="user2@"))
    members.until(refused, "u1a", "alice", "srv")
    members.until(accepted, "u2a", "alice", "srv")
    members.tailnet.set_policy(granting(grant("alice", sessionDuration="1h"), src="user2@"))
    members.until_reason({"policy_shape"}, "srv", "alice", members.nodes["u2a"].ipv4)
    assert "sessionDuration" in explained(members, "alice", "u2a")["detail"]


def test_a_policy_file_lets_in(members: Members, srv: Host) -> None:
    """Whom whois says to be meant, by login name and by tag; a change of the file counts at the next login."""
    members.tailnet.set_policy(make_policy(NOBODYS))
    login = explained(members, "alice", "u1a")["identity"]
    people = accept(["group:ops"], ["tag:server"], "alice")
    file = {"tagOwners": TAG_OWNERS, "groups": {"group:ops": [login]}, "ssh": [people]}
    srv.box.write(FILE, json.dumps(file))
    srv.box.write(CONFIG, 'sources = ["file"]\n' + srv.box.read(CONFIG))
    reload(srv)
    members.until(accepted, "u1a", "alice", "srv")
    assert members.login("u2a", "alice", "srv").refused
    assert members.login("ci", "alice", "srv").refused
    assert members.login("u2a", "user2", "srv").refused
    assert any("source=file" in line and "decision=allow" in line for line in srv.decisions())
    srv.box.write(FILE, json.dumps(file | {"ssh": [accept(["tag:ci"], ["tag:server"], "alice")]}))
    assert members.login("u1a", "alice", "srv").refused
    assert members.login("ci", "alice", "srv").accepted
    srv.box.run(["rm", FILE])
    assert explained(members, "alice", "ci")["reason"] == "policy_unavailable"


def test_narrowing_takes_away(members: Members, srv: Host) -> None:
    """What the open policy gives: an account, a person, a tag; damage changes nothing at a reload."""
    entry = {"action": "accept", "src": ["autogroup:member"], "users": ["alice"]}
    srv.box.write(NARROW, json.dumps({"ssh": [entry]}))
    reload(srv)
    source = members.nodes["u1a"].ipv4
    members.until_reason({"narrowed"}, "srv", "bob", source)
    assert members.login("u1a", "bob", "srv").refused
    assert members.login("u1a", "alice", "srv").accepted
    assert members.login("ci", "alice", "srv").refused
    srv.box.write(NARROW, "{")
    reload(srv)
    status = json.loads(srv.cli("status", "--json").stdout)
    assert status["narrow"]["in_force"]
    assert members.login("u1a", "bob", "srv").refused
    srv.box.run(["rm", NARROW])
    reload(srv)
    members.until(accepted, "u1a", "bob", "srv")
    assert members.login("ci", "alice", "srv").accepted


def test_a_node_that_routes_for_others(members: Members, srv: Host) -> None:
    """Whois shows it, once it offers routes; it is let in unless the host says otherwise."""
    srv.box.write(NARROW, json.dumps({"allowRoutingNodes": False}))
    reload(srv)
    node = members.nodes["u1b"]
    members.until_reason({"accepted"}, "srv", "alice", node.ipv4)
    node.ts("set", "--advertise-routes=10.99.0.0/24")
    try:
        members.until_reason({"narrowed"}, "srv", "alice", node.ipv4)
        assert members.login("u1b", "alice", "srv").refused
        assert members.login("u1a", "alice", "srv").accepted
        srv.box.run(["rm", NARROW])
        reload(srv)
        members.until(accepted, "u1b", "alice", "srv")
    finally:
        node.ts("set", "--advertise-routes=")
