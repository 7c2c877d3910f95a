"""What must never happen: each attack of attacks.py fails. test_defences.py shows that each of them could succeed."""

from collections.abc import Iterator

import pytest

from pam_tailscale.host.answers import Methods
from pam_tailscale.model import Reason
from tests.integration import attacks
from tests.integration.expect import lan_as_ever, let_in, nobody_from_the_tailnet, not_let_in, refused
from tests.integration.paramiko import paramiko
from tests.support.client import Client
from tests.support.fake_agent import FakeAgent, message, verdict
from tests.support.host import DROP_IN, ROOT_PASSWORD, USER_PASSWORD
from tests.support.scene import FAMILIES, LAN, LAN_DEVICE, Family, Scene, tailnet_address
from tests.support.waiting import wait_until

ODD_ANSWERS = {
    "nothing": [],
    "empty": [b""],
    "garbage": [b"\xff" * 64],
    "unknown-verdict": [verdict("yes")],
    "other-case": [verdict("ALLOW")],
    "allow-and-more": [verdict("allow ")],
    "empty-verdict": [verdict("")],
    "no-verdict": [message("version", "1", "answer", "verdict", "id", "fake")],
    "only-info": [message("version", "1", "answer", "info", "text", "allow")],
    "unknown-answer": [message("version", "1", "answer", "ignore", "verdict", "allow")],
    "other-version": [message("version", "2", "answer", "verdict", "verdict", "allow", "id", "x")],
    "twice": [verdict("deny", "verdict", "allow")],
    "no-final-nul": [verdict("allow")[:-1]],
    "too-long": [verdict("allow", "text", "x" * 9000)],
}


# 1: let in on an error, a timeout, an empty answer or an unknown verdict


@pytest.mark.parametrize("answers", ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
def test_only_a_clear_yes_lets_in(scene: Scene, answers: list[bytes]) -> None:
    """Whatever else the agent's socket answers, nobody gets in over the tailnet."""
    scene.host.stop_agent()
    try:
        with FakeAgent(scene.host.box, answers):
            nobody_from_the_tailnet(scene)
    finally:
        scene.restart_agent()


# 2: a connection that is not from the tailnet is changed, or fails because something of ours is gone


@pytest.mark.parametrize("family", FAMILIES)
def test_one_end_in_the_tailnet_is_not_the_tailnet(scene: Scene, family: Family) -> None:
    """A LAN host that dials the tailnet's address, or a tailnet address that dials the LAN's: ordinary connections."""
    key = scene.client.make_key("alice")
    ends = [(LAN_DEVICE[family], tailnet_address(1, family)), (tailnet_address(2, family), LAN[family])]
    before = len(scene.host.decisions())
    for source, target in ends:
        let_in(scene.client.ssh("alice", target, source=source, key=key))
        refused(scene.client.ssh("decoy", target, source=source))
        refused(scene.client.ssh("alice", target, source=source))
    assert len(scene.host.decisions()) == before


def test_the_lan_asks_nobody_and_sees_no_difference(scene: Scene) -> None:
    """A LAN session has the same environment and limits as without us, and the agent is never asked."""
    look = "env | grep -v SSH_CON | grep -v SSH_CLIENT | sort; ulimit -a; cat /proc/self/loginuid; id"
    key = scene.client.make_key("alice")
    before = len(scene.host.decisions())
    lan_as_ever(scene)
    ours = scene.lan_login("alice", command=look, key=key)
    assert len(scene.host.decisions()) == before
    host = scene.host
    try:
        host.box.run(["rm", DROP_IN])
        if not host.has_service_names:
            host.box.write(host.pam_file, host.stock_pam)
        host.restart_sshd()
        stock = scene.lan_login("alice", command=look, key=key)
    finally:
        host.install_halves()
        host.restart_sshd()
    let_in(ours)
    assert ours.stdout == stock.stdout


def test_the_drop_in_changes_nothing_for_the_lan_in_sshds_eyes(scene: Scene) -> None:
    """The settings that count for a LAN connection are the same with and without the drop-in, the exempt list aside."""
    host = scene.host

    def effective() -> list[str]:
        where = f"user=alice,host=device,addr={LAN_DEVICE[4]},laddr={LAN[4]},lport=22"
        lines = host.box.run(["/usr/sbin/sshd", "-T", "-C", where]).stdout.splitlines()
        return [line for line in lines if not line.startswith("persourcepenaltyexemptlist")]

    ours = effective()
    host.box.run(["mv", DROP_IN, f"{DROP_IN}.away"])
    try:
        assert effective() == ours
    finally:
        host.box.run(["mv", f"{DROP_IN}.away", DROP_IN])


def test_refusals_do_not_shut_a_device_of_the_tailnet_out(scene: Scene) -> None:
    """Many refused logins in a row, and the device still hears why not; from 9.8 on sshd would stop to answer it."""
    scene.host.stop_sshd()
    scene.host.start_sshd(penalties=True)
    try:
        for _ in range(8):
            refused(scene.login("alice", scene.nodes.bob, password="anything"))
        let_in(scene.login("bob", scene.nodes.bob))
    finally:
        scene.host.restart_sshd()


# 3: a local user logs in through the host's own tailnet address, or any address local to the host


@pytest.mark.parametrize("family", FAMILIES)
def test_the_host_itself_is_no_peer(scene: Scene, family: Family) -> None:
    """For the host's own address tailscaled names the node's owner; whoever connects may be any local user."""
    local = Client(scene.host.box)
    with attacks.everybody_may_be_alice(scene):
        assert scene.reason(lambda: refused(local.ssh("alice", tailnet_address(1, family)))) == "client_is_local"
        for target in ("127.0.0.1", LAN[4]):
            refused(local.ssh("alice", target, source=tailnet_address(1, 4)))
        let_in(scene.login("alice", family=family))


def test_no_address_of_the_host_is_a_peer(scene: Scene) -> None:
    """A tailnet address that another interface of the host has, as docker may give it, and tailscaled a peer."""
    address = scene.nodes.ci.addresses[0]
    with attacks.everybody_may_be_alice(scene):
        scene.host.box.address("lo", f"{address}/32")
        try:
            attempt = lambda: refused(Client(scene.host.box).ssh("alice", tailnet_address(1, 4), source=address))  # noqa: E731
            assert scene.reason(attempt) == Reason.CLIENT_IS_LOCAL.value
        finally:
            scene.host.box.host_tool(["ip", "address", "del", f"{address}/32", "dev", "lo"])
        let_in(scene.login("alice", scene.nodes.ci))


def test_the_way_back_must_be_the_tailnets(scene: Scene) -> None:
    """A LAN host that took a peer's address: the answer would leave by the LAN."""
    address = scene.nodes.bob.addresses[0]
    tool = scene.host.box.host_tool
    with attacks.everybody_may_be_alice(scene):
        tool(["ip", "route", "add", f"{address}/32", "dev", "lan0"])
        try:
            assert scene.reason(lambda: refused(scene.login("alice", scene.nodes.bob))) == "route_not_tailnet"
        finally:
            tool(["ip", "route", "del", f"{address}/32", "dev", "lan0"])
        let_in(scene.login("alice", scene.nodes.bob))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_peers_address_on_the_lan_is_not_the_peer(scene: Scene, family: Family) -> None:
    """Also where the host answers by the interface it was asked by, so that the answer does get there."""
    with attacks.answers_by_where_it_was_asked(scene):
        assert scene.reason(lambda: refused(scene.login("alice", family=family))) == "arrived_elsewhere"
    let_in(scene.login("alice", family=family))


def test_another_programs_address_in_the_range_is_not_ours(scene: Scene) -> None:
    """An address in the tailnet's range that this tailscaled did not give, as with two of them on one host."""
    second = "100.64.77.1"
    scene.host.box.address("tailscale0", f"{second}/32")
    try:
        attempt = lambda: refused(scene.client.ssh("alice", second, source=scene.nodes.alice.addresses[0]))  # noqa: E731
        assert scene.reason(attempt) == Reason.SERVER_NOT_SELF.value
    finally:
        scene.host.box.host_tool(["ip", "address", "del", f"{second}/32", "dev", "tailscale0"])


# 4: an empty password or any password gets in over the tailnet without the policy saying so


@pytest.mark.parametrize("method", ["none", "password", "keyboard-interactive", "publickey"])
@pytest.mark.parametrize("user", ["decoy", "root"])
def test_no_password_counts_over_the_tailnet(scene: Scene, method: str, user: str) -> None:
    """Neither the empty password of decoy nor any of root's, by any method, from any node that no rule is about."""
    for node in (scene.nodes.bob, scene.nodes.ci, scene.nodes.stranger):
        assert not paramiko(scene, user, method, node)["in"]
    for password in ("", ROOT_PASSWORD, USER_PASSWORD):
        refused(scene.login(user, scene.nodes.bob, password=password))


def test_the_attacks_of_an_open_door_fail(scene: Scene) -> None:
    """With both halves in place, neither the empty password nor root's gets in."""
    assert not attacks.empty_password_gets_in(scene)
    assert not attacks.root_password_gets_in(scene)


# 5: a name is resolved to root or to another account

NAMES = ("ROOT", "Root", "0", "00", "root ", "root.", "root\t", "EXAMPLE\\root", "BOB", "bob ", "1001", "EXAMPLE\\bob")


@pytest.fixture(scope="class")
def generous(scene: Scene) -> Iterator[Scene]:
    """A host whose user database takes many names for one account, and a policy by `*`; put back at the end."""
    with attacks.generous_names(scene):
        yield scene


@pytest.mark.usefixtures("generous")
class TestNames:
    """On a host whose user database is generous with names."""

    @pytest.mark.parametrize("name", NAMES, ids=ascii)
    def test_only_the_accounts_own_name_leads_to_it(self, scene: Scene, name: str) -> None:
        """The policy lets alice be anybody but bob and root; another spelling of them is nobody."""
        assert scene.host.box.run(["getent", "passwd", name]).stdout, "the database does not know the name: no test"
        assert not attacks.other_name_gets_in(scene, name)

    def test_a_name_that_is_spelt_as_it_is_gets_in(self, scene: Scene) -> None:
        """The same policy and database let in where the name is the account's."""
        assert attacks.other_name_gets_in(scene, "alice")


@pytest.mark.parametrize(
    "name",
    [
        "r\N{CYRILLIC SMALL LETTER O}ot",
        "\uff52oot",
        "root\x00",
        "root\x00x",
        "root\nx",
        "roo\N{COMBINING ACUTE ACCENT}t",
    ],
)
def test_a_name_that_looks_like_another_is_not_it(scene: Scene, name: str) -> None:
    """Where alice may be anybody but root, neither Unicode that looks alike nor bytes after the name make her root."""
    with scene.rules(attacks.named_rule(scene, {"*": "=", "root": ""})):
        let_in(scene.login("alice"))
        assert not paramiko(scene, name, "none")["in"]


def test_another_account_of_roots_uid_is_not_had_by_a_wildcard(scene: Scene) -> None:
    """`*` maps every name to itself, but never to uid 0, whatever that account is called."""
    box = scene.host.box
    passwd = box.read("/etc/passwd")
    box.write("/etc/passwd", passwd + "toor:x:0:0::/root:/bin/bash\n")
    try:
        with scene.rules(attacks.anybody_rule(scene)):
            refused(scene.login("toor"))
            refused(scene.login("root"))
            let_in(scene.login("alice"))
    finally:
        box.write("/etc/passwd", passwd)


def test_a_wildcard_opens_no_system_account(scene: Scene) -> None:
    """Accounts of services are not persons: a wildcard does not make them logins."""
    box = scene.host.box
    box.add_user("git", uid=990)
    with scene.rules(attacks.anybody_rule(scene)):
        assert scene.reason(lambda: refused(scene.login("git"))) == Reason.SYSTEM_ACCOUNT.value
        for name in ("backup", "www-data", "nobody", "pam-tailscale"):
            refused(scene.login(name))
    with scene.rules(attacks.named_rule(scene, {"git": "git"})):
        let_in(scene.login("git"))


def test_a_mapping_never_opens_another_account(scene: Scene) -> None:
    """A rule that maps alice to root logs nobody in: sshd would open the account that was asked for."""
    with scene.rules(attacks.named_rule(scene, {"alice": "root"})):
        done = scene.login("alice", password="anything")
        refused(done)
        assert 'log in as "root"' in done.stderr
        refused(scene.login("root"))


# 10: a private key, token or code appears in a log, an argument list, a traceback or a world-readable file


def test_nothing_secret_is_logged(scene: Scene) -> None:
    """What is typed at a prompt, and the keys that are offered, stand in no log of the host; also with `debug`."""
    host = scene.host
    host.box.write(host.pam_file, host.pam_half().replace("mode=enforce", "mode=enforce debug"))
    try:
        for node in (scene.nodes.alice, scene.nodes.bob):
            for user in ("alice", "root", "decoy"):
                scene.login(user, node, password=attacks.SECRET)
                scene.login(user, node, key=scene.client.make_key("alice"))
    finally:
        host.install_halves()
    assert not attacks.secrets_in_logs(scene, attacks.SECRET)
    assert not attacks.secrets_in_logs(scene, scene.client.public_key("alice").split()[1])


# 11: someone without root on the host decides, by tailscale's own settings, who may log in


def test_a_node_that_was_logged_in_elsewhere_lets_nobody_in(scene: Scene) -> None:
    """The operator's own control plane accepts everybody; the pin says that it is not the host's."""
    with attacks.logged_in_elsewhere(scene):
        wait_until(lambda: not scene.status()["ready"], 10, "the agent hears of it")
        assert scene.reason(lambda: nobody_from_the_tailnet(scene)) == Reason.PIN_MISMATCH.value
        lan_as_ever(scene, passwords=False)
    let_in(scene.login("alice"))


def test_only_root_pins(scene: Scene) -> None:
    """Nobody else may say which tailnet the host belongs to, and the file is root's."""
    before = scene.host.box.read("/var/lib/pam-tailscale/pin.json")
    done = scene.host.cli("enable", "--repin", "--yes", user="alice", check=False)
    assert done.returncode != 0
    assert scene.host.box.read("/var/lib/pam-tailscale/pin.json") == before
    assert scene.host.box.run(["stat", "-c", "%U %a", "/var/lib/pam-tailscale/pin.json"]).stdout == "root 644\n"


def test_a_tailscaled_that_is_not_roots_is_not_asked(scene: Scene) -> None:
    """Another user's program at tailscaled's place would name whoever it likes."""
    with attacks.impostor(scene):
        wait_until(lambda: scene.status()["tailscaled"]["bus"] == "down", 10, "the agent lost the real one")
        assert scene.reason(lambda: nobody_from_the_tailnet(scene)) == Reason.TAILSCALED_NOT_ROOT.value
    let_in(scene.login("alice"))


# 12: two required methods are satisfied by one identity

LISTS = (
    "none,publickey",
    "none,keyboard-interactive",
    "publickey,keyboard-interactive",
    "password,keyboard-interactive",
    "none,password",
    "publickey,publickey",
    "keyboard-interactive:pam,keyboard-interactive:pam",
)


@pytest.mark.parametrize("methods", LISTS)
def test_one_identity_does_not_satisfy_two_methods(scene: Scene, methods: str) -> None:
    """Where sshd asks for two methods, being alice of the tailnet is one of them at most."""
    with attacks.required_methods(scene.host, methods):
        assert not attacks.one_identity_is_enough(scene)


@pytest.mark.parametrize("method", ["none", "publickey", "keyboard-interactive", "any"])
def test_one_identity_satisfies_one_method(scene: Scene, method: str) -> None:
    """The same client is let in where one method is asked for."""
    with attacks.required_methods(scene.host, method):
        assert attacks.one_identity_is_enough(scene)


def test_the_policy_in_addition_to_a_key(scene: Scene) -> None:
    """An administrator may ask for both: the helper is taken out, and the account's own keys are the second method."""
    host = scene.host
    host.install_halves(Methods.WITH_KEY)
    try:
        host.restart_sshd()
        let_in(scene.login("alice", key=scene.client.make_key("alice")))
        not_let_in(scene.login("alice", key=scene.client.make_key("other")))
        not_let_in(scene.login("alice"))
        not_let_in(scene.login("alice", scene.nodes.bob, key=scene.client.make_key("alice")))
    finally:
        host.install_halves()
        host.restart_sshd()
