"""The main job: who is let in over the tailnet, by which method, in every way a login is used; and who is not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from contrib.demo.tailnet import accept, nodes_rule
from tests.integration.expect import lan_as_ever, let_in, nobody_from_the_tailnet, refused
from tests.integration.paramiko import paramiko
from tests.integration.ways import WAYS, Trip
from tests.support.host import DROP_IN, PEOPLE
from tests.support.scene import FAMILIES, Family, Scene, tailnet_address

FORBIDDEN = "tailnet policy does not permit you to SSH as"
LATER = "try again later"

families = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"v{family}")


@families
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_works_for_whom_the_policy_accepts(scene: Scene, way: Callable[[Trip], bool], family: Family) -> None:
    """Alice, whom a rule accepts, can use her login in every way."""
    assert way(Trip(scene, scene.nodes.alice, family))


@families
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_way_works_for_whom_no_rule_is_about(scene: Scene, way: Callable[[Trip], bool], family: Family) -> None:
    """From bob's node no way leads to alice's account."""
    assert not way(Trip(scene, scene.nodes.bob, family))


@families
def test_none_lets_in_without_any_prompt(scene: Scene, family: Family) -> None:
    """In BatchMode, and without a second round trip: the first method is the one that succeeds."""
    done = scene.login("alice", None, "-v", family=family, command="id -un")
    let_in(done)
    assert done.stdout == "alice\n"
    assert 'using "none"' in done.stderr
    assert "Next authentication method" not in done.stderr


def test_root_gets_in_only_where_a_rule_names_root(scene: Scene) -> None:
    """Root is let in from alice's node, whose rule says so, and from no other."""
    done = scene.login("root", command="id -u")
    let_in(done)
    assert done.stdout == "0\n"
    refused(scene.login("root", scene.nodes.bob))
    refused(scene.login("root", scene.nodes.ci))


def test_a_tagged_node_gets_in_as_its_rule_says(scene: Scene) -> None:
    """A node without a person gets in under the names of its rule and no other."""
    for name in PEOPLE:
        let_in(scene.login(name, scene.nodes.ci))
    refused(scene.login("decoy", scene.nodes.ci))


def test_none_that_is_refused_shows_nothing_in_batch_mode(scene: Scene) -> None:
    """A refused `none` has no text: it would appear after a later method had succeeded."""
    done = scene.login("alice", scene.nodes.bob)
    refused(done)
    assert FORBIDDEN not in done.stderr


def test_keyboard_interactive_says_once_why_not_and_no_password_is_asked(scene: Scene) -> None:
    """The person reads once why not, and no password is asked that nobody would look at."""
    done = scene.login("alice", scene.nodes.bob, password="anything")
    refused(done)
    assert done.stderr.count(FORBIDDEN) == 1
    assert not scene.client.was_asked()


def test_the_id_that_is_shown_finds_the_reason_in_the_journal(scene: Scene) -> None:
    """With the id that the person reads the administrator finds the reason."""
    done = scene.login("alice", scene.nodes.bob, password="anything")
    shown = next(line for line in done.stderr.splitlines() if FORBIDDEN in line)
    lines = [
        line for line in scene.host.decisions() if f"id={_decision_id(line)}" in line and _decision_id(line) in shown
    ]
    assert any("decision=deny" in line and "reason=user_not_in_rule" in line for line in lines), shown


def _decision_id(line: str) -> str:
    return line.partition(" id=")[2].partition(" ")[0]


def test_keyboard_interactive_lets_in_without_a_prompt(scene: Scene) -> None:
    """A client that begins with keyboard-interactive is let in, and nothing is asked."""
    result = paramiko(scene, "alice", "keyboard-interactive")
    assert result["in"], result
    assert result["id"] == "alice"
    assert "".join(result["shown"]) == ""


def test_keyboard_interactive_refuses_a_client_that_begins_with_it(scene: Scene) -> None:
    """The same client from another node is refused and told why."""
    result = paramiko(scene, "alice", "keyboard-interactive", scene.nodes.bob)
    assert not result["in"]
    assert FORBIDDEN in "".join(result["shown"])


@pytest.mark.parametrize("method", ["publickey", "password", "none"])
def test_a_client_without_none_gets_in_by_any_key_or_an_empty_password(scene: Scene, method: str) -> None:
    """It never asks with `none` by itself; with a key made on the spot or an empty password it gets in."""
    result = paramiko(scene, "alice", method)
    assert result["in"], result
    assert result["id"] == "alice"


@pytest.mark.parametrize("method", ["publickey", "password", "none"])
@pytest.mark.parametrize("user", ["alice", "root", "decoy"])
def test_a_client_without_none_is_refused_as_any_other(scene: Scene, method: str, user: str) -> None:
    """No key and no empty password helps where the policy says no."""
    result = paramiko(scene, user, method, scene.nodes.bob)
    assert not result["in"], result


def test_a_client_with_eight_keys_gets_in(scene: Scene) -> None:
    """Keys that are offered do not stand in the way."""
    done = scene.client.with_agent(
        8, scene.client.command("alice", tailnet_address(1, 4), scene.nodes.alice.addresses[0])
    )
    let_in(done)


def test_a_client_with_eight_keys_is_still_told_why_not(scene: Scene) -> None:
    """Every key it offers counts as an attempt; MaxAuthTries leaves room for all of them and for the explanation."""
    argv = scene.client.command("alice", tailnet_address(1, 4), scene.nodes.bob.addresses[0])
    done = scene.client.with_agent(8, argv)
    refused(done)
    assert FORBIDDEN in done.stderr


def test_an_unknown_account_reads_as_one_that_is_not_permitted(scene: Scene) -> None:
    """Nobody can probe for accounts: an account that is not there and one that no rule names look alike."""
    texts = []
    for user in ("nosuch", "decoy"):
        done = scene.login(user, password="anything")
        refused(done)
        texts.append(
            [_without_id(line.replace(user, "NAME")) for line in done.stderr.splitlines() if FORBIDDEN in line]
        )
    assert texts[0] == texts[1]
    assert texts[0]


def _without_id(line: str) -> str:
    return line.partition("(")[0]


def test_strangers_and_decoys_stay_out_and_the_lan_is_as_ever(scene: Scene) -> None:
    """No password gets in over the tailnet where no rule does; on the LAN all is as before."""
    for user, password in (("decoy", None), ("decoy", ""), ("root", "root-password"), ("alice", "user-password")):
        refused(scene.login(user, scene.nodes.bob, password=password))
        refused(scene.login(user, scene.nodes.stranger, password=password))
    lan_as_ever(scene)


def test_a_key_of_ones_own_opens_nothing_over_the_tailnet(scene: Scene) -> None:
    """The key is in alice's authorized_keys and gets her in from the LAN."""
    key = scene.client.make_key("alice")
    let_in(scene.lan_login("alice", key=key))
    refused(scene.login("alice", scene.nodes.bob, key=key))


_OWN_WAYS = """\
KerberosAuthentication yes
KerberosOrLocalPasswd no
GSSAPIAuthentication yes
HostbasedAuthentication yes
PubkeyAuthentication no
"""
"""What an administrator may have set for everybody. There is no Kerberos realm here that would know anybody."""


@contextmanager
def _sshd_of_many_ways(scene: Scene, drop_in: str) -> Iterator[None]:
    path = "/etc/ssh/sshd_config.d/60-ways.conf"
    scene.host.box.write(path, _OWN_WAYS)
    scene.host.box.write(DROP_IN, drop_in)
    try:
        scene.host.restart_sshd()
        yield
    finally:
        scene.host.box.run(["rm", path])
        scene.host.install_halves()
        scene.host.restart_sshd()


def test_other_ways_of_sshd_do_not_get_between_a_login_and_the_policy(scene: Scene) -> None:
    """A realm for passwords, tickets, hosts' keys, no keys of people's own: over the tailnet it is as without."""
    with _sshd_of_many_ways(scene, scene.host.drop_in()):
        let_in(scene.login("alice"))
        assert paramiko(scene, "alice", "publickey")["in"]
        offered = scene.login("alice", scene.nodes.bob, "-v", password="anything").stderr.splitlines()
        assert "debug1: Authentications that can continue: publickey,password,keyboard-interactive" in offered


@pytest.mark.parametrize(
    ("line", "method"), [("KerberosAuthentication no", "none"), ("PubkeyAuthentication yes", "publickey")]
)
def test_without_its_line_they_would(scene: Scene, line: str, method: str) -> None:
    """The realm is asked and not the policy, or no key is taken at all."""
    drop_in = scene.host.drop_in()
    assert f"    {line}\n" in drop_in
    with _sshd_of_many_ways(scene, drop_in.replace(line, "")):
        assert not paramiko(scene, "alice", method)["in"]


def test_the_account_phase_decides_again_for_every_method(scene: Scene) -> None:
    """An earlier drop-in of the administrator lets keys in after all: the policy still has the last word."""
    host, path = scene.host, "/etc/ssh/sshd_config.d/05-keys.conf"
    host.box.write(path, "Match LocalAddress 100.64.0.0/10\n    AuthorizedKeysFile .ssh/authorized_keys\n")
    host.restart_sshd()
    key = scene.client.make_key("alice")
    try:
        before = len(host.decisions())
        denied = scene.login("alice", scene.nodes.bob, "-v", "-o", "PreferredAuthentications=publickey", key=key)
        assert denied.returncode == 255, denied.stdout
        assert "Server accepts key" in denied.stderr
        assert not any("decision=allow" in line for line in host.decisions()[before:])
        let_in(scene.login("alice", scene.nodes.alice, "-o", "PreferredAuthentications=publickey", key=key))
    finally:
        host.box.run(["rm", path])
        host.restart_sshd()


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ({"reject": True}, "rule_rejects"),
        ({"holdAndDelegate": "https://control.tailnet.example/action"}, "check_unavailable"),  # nobody is there
        (accept(sessionDuration=3_600_000_000_000), "attribute_not_enforced"),
        (accept(recorders=["100.64.0.50:80"]), "attribute_not_enforced"),
        (accept(allowLocalPortForwarding=False), "method_cannot_limit"),
        ({"message": "neither"}, "rule_malformed"),
    ],
    ids=["reject", "check", "duration", "recorders", "forwarding", "nothing"],
)
def test_a_rule_that_is_not_a_plain_accept_refuses(scene: Scene, action: dict[str, Any], reason: str) -> None:
    """A rule that this version cannot carry out refuses, with a reason of its own."""
    with scene.rules(nodes_rule([scene.nodes.alice], {"alice": "="}, action), *scene.usual_rules()):
        assert scene.reason(lambda: nobody_as_alice(scene)) == reason
    let_in(scene.login("alice"))


def nobody_as_alice(scene: Scene) -> None:
    """Alice is refused."""
    refused(scene.login("alice", password="anything"))


def test_the_message_of_a_rule_reaches_the_person(scene: Scene) -> None:
    """The rule's message is shown, and nothing in it is taken as a format."""
    rule = nodes_rule([scene.nodes.alice], {"alice": "="}, accept(message="# be careful, 100% %s %n"))
    with scene.rules(rule):
        done = scene.login("alice")
        let_in(done)
        shown = scene.login("alice", None).stderr
    assert "be careful, 100% %s %n" in shown


def test_a_netmap_without_policy_lets_nobody_in(scene: Scene) -> None:
    """A policy in which no rule is about anybody lets nobody in."""
    scene.set_rules()
    try:
        nobody_from_the_tailnet(scene)
        lan_as_ever(scene, passwords=False)
    finally:
        scene.set_rules(*scene.usual_rules())
