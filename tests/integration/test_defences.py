"""Each promise of test_never.py can fail: with its defence taken away, the same attack succeeds.

A defence of the agent is taken away by a few lines that run in its place and switch a step off; one of sshd's or PAM's
by another line in its configuration.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration import attacks
from tests.integration.expect import let_in, refused
from tests.support.client import Client
from tests.support.fake_agent import FakeAgent, verdict
from tests.support.scene import FAMILIES, Scene, tailnet_address
from tests.support.waiting import wait_until

_OUR_LINE = "pam_tailscale.so mode=enforce addresses=100.64.0.0/10,fd7a:115c:a1e0::/48"


@contextmanager
def agent_without(scene: Scene, *patches: str) -> Iterator[None]:
    """The agent with lines of Python in front that switch something off."""
    lines = [
        "from pam_tailscale.agent import app, handlers, logins",
        "from pam_tailscale.policy import decision",
        *patches,
        "app.main()",
    ]
    scene.restart_agent(wrapper="\n".join(lines))
    try:
        yield
    finally:
        scene.restart_agent()


@contextmanager
def pam_half(scene: Scene, text: str) -> Iterator[None]:
    """Another PAM half in place of ours; PAM reads it at each login."""
    scene.host.box.write(scene.host.pam_file, text)
    try:
        yield
    finally:
        scene.host.install_halves()


@contextmanager
def agent_down(scene: Scene) -> Iterator[None]:
    """No agent at all."""
    scene.host.stop_agent()
    try:
        yield
    finally:
        scene.restart_agent()


def lenient_half(scene: Scene) -> str:
    """A PAM half in which a no of ours, or an error, goes on to the lines for everybody."""
    lines = [
        f"auth [success=done default=ignore] {_OUR_LINE}",
        f"account [default=ignore] {_OUR_LINE}",
        f"session [default=ignore] {_OUR_LINE}",
    ]
    return "\n".join(lines) + "\n" + scene.host.stock_pam


def test_1_an_error_that_is_no_refusal_opens_the_door(scene: Scene) -> None:
    """Without default=die an agent that is down leaves the decision to the empty password."""
    with agent_down(scene):
        assert not attacks.empty_password_gets_in(scene)
        with pam_half(scene, lenient_half(scene)):
            assert attacks.empty_password_gets_in(scene)


def test_1_the_answers_that_let_nobody_in_differ_from_one_that_does(scene: Scene) -> None:
    """The very program that gives the odd answers lets a stranger in when it says allow."""
    scene.host.stop_agent()
    try:
        with FakeAgent(scene.host.box, [verdict("allow")]):
            assert attacks.empty_password_gets_in(scene)
        with FakeAgent(scene.host.box, [verdict("deny")]):
            assert not attacks.empty_password_gets_in(scene)
    finally:
        scene.restart_agent()


def test_2_a_module_that_takes_every_connection_for_its_own_breaks_the_lan(scene: Scene) -> None:
    """With all addresses in its arguments it asks the agent about the LAN as well, which fails while that is down."""
    path = "/etc/pam.d/sshd"
    key = scene.client.make_key("alice")
    with agent_down(scene):
        let_in(scene.lan_login("alice", key=key))
        before = scene.host.box.read(path)
        greedy = _OUR_LINE.replace("100.64.0.0/10,fd7a:115c:a1e0::/48", "0.0.0.0/0,::/0")
        scene.host.box.write(path, f"account requisite {greedy}\n" + scene.host.stock_pam)
        try:
            assert scene.lan_login("alice", key=key).returncode == 255
        finally:
            scene.host.box.write(path, before)


def test_3_without_the_look_at_addresses_the_host_itself_gets_in(scene: Scene) -> None:
    """It is the node's owner whom tailscaled names for the host's own address, and the rule accepts the owner."""
    patches = [
        "decision._addresses = lambda request, facts: None",
        "decision._identity = lambda request, facts, now: None",
    ]
    with attacks.everybody_may_be_alice(scene):
        assert not attacks.host_itself_gets_in(scene)
        with agent_without(scene, *patches):
            assert attacks.host_itself_gets_in(scene)


def test_3_without_it_any_address_of_the_host_is_a_peer(scene: Scene) -> None:
    """An address that docker gave a bridge of the host, for which tailscaled knows a peer."""
    address = scene.nodes.ci.addresses[0]
    scene.host.box.address("lo", f"{address}/32")
    try:
        with attacks.everybody_may_be_alice(scene):
            assert not attacks.host_itself_gets_in(scene, source=address)
            with agent_without(scene, "decision._addresses = lambda request, facts: None"):
                assert attacks.host_itself_gets_in(scene, source=address)
    finally:
        scene.host.box.host_tool(["ip", "address", "del", f"{address}/32", "dev", "lo"])


def test_3_without_the_look_at_where_it_came_in_the_lan_is_any_peer(scene: Scene) -> None:
    """Kernel and whois know nothing of the cable: the way back they tell is the tailnet's."""
    with attacks.answers_by_where_it_was_asked(scene):
        assert not any(attacks.comes_over_the_lan_as_alice(scene, family) for family in FAMILIES)
        with agent_without(scene, "handlers._interface = lambda message: None"):
            assert all(attacks.comes_over_the_lan_as_alice(scene, family) for family in FAMILIES)


def test_4_the_drop_in_without_its_pam_half_opens_the_door(scene: Scene) -> None:
    """What check-halves is for: sshd hands empty passwords to PAM, and PAM has nobody to ask."""
    host = scene.host
    try:
        if host.has_service_names:
            host.box.run(["rm", host.pam_file])
        else:
            host.box.write(host.pam_file, host.stock_pam)
        assert attacks.empty_password_gets_in(scene)
        assert attacks.root_password_gets_in(scene)
        host.check_halves()
        host.restart_sshd()
        assert not attacks.empty_password_gets_in(scene)
    finally:
        host.install_halves()
        host.restart_sshd()
    assert not attacks.empty_password_gets_in(scene)


def test_4_an_agent_that_ignores_its_mode_answers_a_module_of_another(scene: Scene) -> None:
    """The agent is set to observe and answers as if it were not."""
    scene.host.configure('mode = "observe"\n')
    try:
        scene.restart_agent()
        refused(scene.login("alice"))
        with agent_without(scene, "decision._right_tailscaled = lambda request, facts, limits: None"):
            let_in(scene.login("alice"))
    finally:
        scene.host.configure("")
        scene.restart_agent()


def test_5_without_the_look_at_the_accounts_name_another_spelling_gets_in(scene: Scene) -> None:
    """The policy forbids bob, not BOB, which the host's user database takes for bob."""
    with attacks.generous_names(scene):
        assert not attacks.other_name_gets_in(scene, "BOB")
        patches = ["decision._account = lambda user, account, limits: None", "decision.limit = lambda *_: None"]
        with agent_without(scene, *patches):
            assert attacks.other_name_gets_in(scene, "BOB")


def test_10_a_line_that_logs_what_is_typed_is_found(scene: Scene) -> None:
    """The search for secrets finds them where they are: here a PAM line writes passwords to a file."""
    line = "auth optional pam_exec.so expose_authtok log=/var/log/typed.log /bin/cat\n"
    path = "/etc/pam.d/common-auth"
    stock = scene.host.box.read(path)
    scene.host.box.write(path, stock + line)
    try:
        scene.host.box.set_password("alice", attacks.SECRET)
        let_in(scene.lan_login("alice", password=attacks.SECRET))
        assert attacks.secrets_in_logs(scene, attacks.SECRET)
    finally:
        scene.host.box.write(path, stock)
        scene.host.add_accounts()
        scene.host.box.run(["rm", "-f", "/var/log/typed.log"])


def test_11_without_the_pin_another_control_plane_decides(scene: Scene) -> None:
    """The operator of tailscale logs the node in where a policy of their own is in force."""
    with agent_without(scene, "decision._pin = lambda pin, facts: None"), attacks.logged_in_elsewhere(scene):
        wait_until(lambda: not scene.status()["ready"], 10, "the agent hears of it")
        wait_until(lambda: scene.login("alice").returncode == 0, 20, "the other control plane's policy is in force")


def test_12_without_the_memory_of_methods_one_identity_is_two(scene: Scene) -> None:
    """Each method asks by itself, and each is told yes."""
    patch = "logins.Logins._one_method = lambda self, request, decision: decision"
    with agent_without(scene, patch), attacks.required_methods(scene.host, "none,keyboard-interactive"):
        assert attacks.one_identity_is_enough(scene)


def test_local_logins_of_these_tests_can_succeed(scene: Scene) -> None:
    """A refusal of the host's own user is no accident of the set-up: with the right password it gets in locally."""
    assert Client(scene.host.box).ssh("alice", "127.0.0.1", password="user-password").returncode == 0
    refused(Client(scene.host.box).ssh("alice", tailnet_address(1, 4), password="user-password"))


@pytest.mark.parametrize("half", ["auth", "account"])
def test_each_line_of_the_pam_half_is_needed(scene: Scene, half: str) -> None:
    """With the policy's no in one phase only, the other phase still refuses: two lines, each a defence."""
    text = scene.host.pam_half()
    ours = [line for line in text.splitlines() if line.startswith(half) and "pam_tailscale.so" in line]
    assert len(ours) == 1
    for line in ours:
        text = text.replace(line, f"{half} [default=ignore] {_OUR_LINE}")
    with pam_half(scene, text):
        assert not attacks.empty_password_gets_in(scene)
