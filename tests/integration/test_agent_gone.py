"""The agent or tailscaled is down, hangs, dies or talks nonsense: the tailnet gets a no, the LAN is as ever."""

import signal
import threading
from collections.abc import Callable

import pytest

from contrib.demo import faults
from contrib.demo.localapi import Fault
from pam_tailscale.model import Reason
from tests.integration.expect import lan_as_ever, let_in, nobody_from_the_tailnet, refused
from tests.support.host import Host
from tests.support.scene import Scene
from tests.support.waiting import wait_until


def test_agent_down(scene: Scene) -> None:
    """Without the agent nobody gets in over the tailnet, syslog says what to do, and with it back all is well."""
    scene.host.stop_agent()
    try:
        nobody_from_the_tailnet(scene)
        lan_as_ever(scene)
        said = [line for line in scene.host.syslog() if "reason=agent_unreachable" in line]
        assert any("systemctl status pam-tailscale-agent" in line for line in said)
    finally:
        scene.restart_agent()
    let_in(scene.login("alice"))


def test_agent_never_started_leaves_a_stale_socket(scene: Scene) -> None:
    """An agent that was killed leaves its socket behind; nobody listens there."""
    scene.host.stop_agent(signal.SIGKILL)
    try:
        assert scene.host.box.exists("/run/pam-tailscale/agent.sock")
        nobody_from_the_tailnet(scene)
        lan_as_ever(scene, passwords=False)
    finally:
        scene.restart_agent()
    let_in(scene.login("alice"))


def _with_timeout(host: Host, seconds: int) -> None:
    half = host.pam_half().replace("pam_tailscale.so mode=enforce", f"pam_tailscale.so timeout={seconds} mode=enforce")
    host.box.write(host.pam_file, half)


def test_agent_hung(scene: Scene) -> None:
    """An agent that does not answer costs a tailnet login its deadline and then a no; the LAN never waits for it."""
    agent = scene.host.agent
    assert agent is not None
    _with_timeout(scene.host, 1)
    agent.send_signal(signal.SIGSTOP)
    try:
        for user, password in (("alice", None), ("decoy", ""), ("root", "root-password")):
            refused(scene.login(user, password=password))
        lan_as_ever(scene)
    finally:
        agent.send_signal(signal.SIGCONT)
        scene.host.install_halves()
    let_in(scene.login("alice"))


def test_agent_killed_while_a_login_waits_for_it(scene: Scene) -> None:
    """The end of the agent is an answer, and it is no."""
    asked = scene.localapi.asked.get("whois", 0)
    release = threading.Event()
    scene.localapi.faults["whois"] = faults.hang(release)
    done = []
    login = threading.Thread(target=lambda: done.append(scene.login("alice", password="anything")))
    try:
        login.start()
        wait_until(lambda: scene.localapi.asked.get("whois", 0) > asked, 10, "the agent asks who it is")
        scene.host.stop_agent(signal.SIGKILL)
        login.join(30)
        refused(done[0])
    finally:
        release.set()
        login.join(30)
        del scene.localapi.faults["whois"]
        scene.restart_agent()
    let_in(scene.login("alice"))


WHOIS_FAULTS: dict[str, Fault] = {
    "403": faults.status(403, "access denied"),
    "500": faults.status(500),
    "half": faults.half,
    "cut": faults.cut,
    "closed": faults.closed,
    "empty": faults.body(b""),
    "null": faults.body(b"null"),
    "list": faults.body(b"[]"),
    "nothing-in-it": faults.body(b"{}"),
    "no-addresses": faults.body(b'{"Node":{"ID":1,"StableID":"n1","Name":"x.","User":1},"UserProfile":{"ID":1}}'),
    "huge": faults.huge(3_000_000),
}


@pytest.mark.parametrize("fault", WHOIS_FAULTS.values(), ids=WHOIS_FAULTS.keys())
def test_tailscaled_answers_wrongly(scene: Scene, fault: Fault) -> None:
    """Whatever tailscaled says in place of who it is, nobody gets in; the journal says what to do."""
    before = len(scene.host.decisions())
    scene.localapi.faults["whois"] = fault
    try:
        nobody_from_the_tailnet(scene)
        lan_as_ever(scene, passwords=False)
    finally:
        del scene.localapi.faults["whois"]
    lines = scene.host.decisions()[before:]
    assert lines
    assert all("decision=deny" in line and "detail=" in line for line in lines)
    let_in(scene.login("alice"))


def test_tailscaled_does_not_answer(scene: Scene) -> None:
    """A tailscaled that hangs is a no before sshd's patience ends."""
    release = threading.Event()
    scene.localapi.faults["whois"] = faults.hang(release)
    try:
        assert scene.reason(lambda: refused(scene.login("alice"))) == Reason.TAILSCALED_UNREACHABLE.value
    finally:
        release.set()
        del scene.localapi.faults["whois"]
    let_in(scene.login("alice"))


def _other_identity(scene: Scene) -> Fault:
    answer = scene.tailnet.whois(scene.nodes.alice.addresses[0])
    assert answer is not None
    return faults.body(answer)


def test_a_whois_answer_for_another_address_is_no_answer(scene: Scene) -> None:
    """Asked about bob's address, tailscaled answers about alice."""
    scene.localapi.faults["whois"] = _other_identity(scene)
    try:
        login: Callable[[], object] = lambda: refused(scene.login("alice", scene.nodes.bob))  # noqa: E731
        assert scene.reason(login) == Reason.PEER_ADDRESS_MISMATCH.value
    finally:
        del scene.localapi.faults["whois"]


def test_tailscaled_is_stopped_and_comes_back(scene: Scene) -> None:
    """While tailscaled is stopped or logged out nobody gets in; when it is back the agent notices by itself."""
    for state in ("Stopped", "NeedsLogin", "NoState"):
        scene.tailnet.state = state
        scene.tailnet.changed()
        try:
            wait_until(lambda: not scene.status()["ready"], 10, "the agent hears of it")
            refused(scene.login("alice"))
            refused(scene.login("decoy"))
        finally:
            scene.tailnet.state = "Running"
            scene.tailnet.changed()
            scene.wait_until_ready()
    let_in(scene.login("alice"))


def test_a_policy_from_the_disk_is_not_the_policy(scene: Scene) -> None:
    """A cached netmap may be what somebody wants to keep in force: until the control plane has answered, no."""
    scene.tailnet.cached = True
    scene.tailnet.changed()
    try:
        wait_until(lambda: not scene.status()["ready"], 10, "the agent hears of it")
        assert scene.reason(lambda: nobody_from_the_tailnet(scene)) == Reason.NETMAP_CACHED.value
    finally:
        scene.tailnet.cached = False
        scene.tailnet.changed()
        scene.wait_until_ready()
    let_in(scene.login("alice"))


def test_a_policy_that_cannot_be_read_any_more_is_no(scene: Scene) -> None:
    """The reader is gone and the tailnet changes: what was known before does not stay in force."""
    scene.host.stop_reader()
    scene.tailnet.changed()
    try:
        wait_until(lambda: not scene.status()["ready"], 20, "the agent cannot read the policy")
        assert scene.reason(lambda: nobody_from_the_tailnet(scene)) == Reason.POLICY_UNAVAILABLE.value
        lan_as_ever(scene, passwords=False)
    finally:
        scene.host.start_reader()
        scene.wait_until_ready()
    let_in(scene.login("alice"))


def test_a_policy_of_unknown_shape_is_refused_not_guessed(scene: Scene) -> None:
    """A field beside the rules could mean anything."""
    scene.tailnet.policy = {"rules": scene.usual_rules(), "default": "accept"}
    scene.tailnet.changed()
    try:
        wait_until(lambda: not scene.status()["ready"], 20, "the agent sees a policy that it does not know")
        nobody_from_the_tailnet(scene)
    finally:
        scene.tailnet.policy = None
        scene.tailnet.changed()
        scene.wait_until_ready()
    let_in(scene.login("alice"))


def test_a_damaged_configuration_leaves_the_one_before_in_force(scene: Scene) -> None:
    """SIGHUP with a damaged file changes nothing but the status, which names the line."""
    agent = scene.host.agent
    assert agent is not None
    scene.host.configure('mode = "enforce"\nmod = "observe"\n')
    agent.send_signal(signal.SIGHUP)
    try:
        warnings = wait_until(lambda: scene.status()["warnings"], 10, "the agent has looked at the file")
        assert "line 2" in warnings[0]
        assert scene.status()["ready"]
        let_in(scene.login("alice"))
    finally:
        scene.host.configure("")
        agent.send_signal(signal.SIGHUP)
        scene.wait_until_ready()


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', "[]"], ids=["empty", "half", "incomplete", "list"])
def test_a_damaged_pin_lets_nobody_in(scene: Scene, text: str) -> None:
    """Root's word on which tailnet this is cannot be read, so it may be any."""
    path = "/var/lib/pam-tailscale/pin.json"
    pin = scene.host.box.read(path)
    scene.host.box.write(path, text)
    try:
        assert scene.reason(lambda: nobody_from_the_tailnet(scene)) == Reason.PIN_DAMAGED.value
    finally:
        scene.host.box.write(path, pin)
    let_in(scene.login("alice"))


def test_a_no_in_the_session_phase_ends_the_login(scene: Scene) -> None:
    """The agent changes its mind after the account phase: no command runs, no port is forwarded."""
    patch = """
from pam_tailscale.agent import app, logins
from pam_tailscale.model import Phase, Reason, Verdict
import dataclasses
decide = logins.Logins._decision
def changed(self, request):
    decision = decide(self, request)
    if request.phase is Phase.SESSION:
        return dataclasses.replace(decision, verdict=Verdict.DENY, reason=Reason.STATE_CHANGED)
    return decision
logins.Logins._decision = changed
app.main()
"""
    scene.restart_agent(wrapper=patch)
    try:
        done = scene.login("alice", command="echo it ran; touch it-ran")
        assert done.returncode != 0
        assert "it ran" not in done.stdout
        assert not scene.host.box.exists("/home/alice/it-ran")
        forwarded = scene.login("alice", None, "-W", "127.0.0.1:22", command=None)
        assert "SSH-2.0" not in forwarded.stdout
        assert forwarded.returncode != 0
        lan_as_ever(scene, passwords=False)
    finally:
        scene.restart_agent()
    assert "SSH-2.0" in scene.login("alice", None, "-W", "127.0.0.1:22", command=None).stdout


def test_the_session_has_its_audit_id_before_the_agent_hears_of_it(scene: Scene) -> None:
    """When the session phase is asked, the kernel already counts the process to an audit session of alice's own."""
    patch = """
from pathlib import Path
from pam_tailscale.agent import app, handlers
decide = handlers.Handlers._decide
def note(self, message, asker, send):
    if message["phase"] == "session":
        session = [Path(f"/proc/{asker.pid}/{name}").read_text() for name in ("sessionid", "loginuid")]
        print("audit", *session, flush=True)
    return decide(self, message, asker, send)
handlers.Handlers._decide = note
app.main()
"""
    scene.restart_agent(wrapper=patch)
    try:
        seen = scene.login("alice", command="cat /proc/self/sessionid").stdout
        said = wait_until(lambda: _audit_lines(scene), 5, "the agent noted the session's audit id")
    finally:
        scene.restart_agent()
    assert said[-1] == ["audit", seen, str(scene.host.box.account("alice").uid)]


def _audit_lines(scene: Scene) -> list[list[str]]:
    lines = scene.host.box.read("/var/log/agent.log").splitlines()
    return [line.split() for line in lines if line.startswith("audit ")]
