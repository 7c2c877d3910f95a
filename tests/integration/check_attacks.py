"""Check mode under attack: a provider that people need no browser for, and attacks that say whether they succeeded.

test_never_checks.py shows that they fail; test_defences_checks.py takes one defence away and shows that they then
succeed. Whole checks with a real provider are test_check_oidc.py's.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pam_tailscale import paths
from pam_tailscale.tailnet import state
from tests.support import fake_oidc, namespaces
from tests.support.check_mode import CA_FILE, SECRET_FILE, toml
from tests.support.control_plane import Checks, ControlPlane
from tests.support.fake_oidc import TOKEN, FakeOidc
from tests.support.host import Host
from tests.support.scene import Scene, check_rule
from tests.support.tokens import CLIENT
from tests.support.waiting import wait_until

CLIENT_SECRET, USER_CODE = "client-secret-of-the-tests", "KLMN-PQRS"
WEEK, HALF_DAY, ALWAYS = "168h", "12h", "always"
PLACES = ("/var/lib/pam-tailscale", "/run/pam-tailscale", "/etc/pam-tailscale", "/var/log", "/tmp")  # noqa: S108

# What every process of the host shows to whoever may look, root at the most.
_PROCESSES = "for p in /proc/[0-9]*; do cat $p/cmdline $p/environ; done 2> /dev/null | tr '\\0' ' '"
_OPEN_FILES = f"find {' '.join(PLACES)} -type f -exec cat {{}} + 2> /dev/null"


@dataclass(frozen=True, slots=True)
class Quick:
    """A scene whose agent asks a provider that approves at a word. `begin` comes first."""

    scene: Scene
    provider: FakeOidc

    def rules(self) -> list[dict[str, Any]]:
        """The tailnet's policy: alice after a check."""
        return [check_rule([self.scene.nodes.alice], {"alice": "="})]

    def begin(self, period: str = HALF_DAY) -> None:
        """Nobody has passed a check."""
        self.scene.host.stop_agent()
        self.scene.host.box.run(["rm", "-rf", str(paths.STATE_DIR)])
        self.provider.faults.clear()
        self.reconfigure(period)

    def reconfigure(self, period: str = HALF_DAY, *, wrapper: str | None = None) -> None:
        """Starts the agent anew; what it knows stays."""
        oidc = {"issuer": self.provider.issuer, "client_id": CLIENT, "domains": ["example.com"]}
        oidc |= {"ca_file": CA_FILE, "client_secret_file": SECRET_FILE}
        self.scene.host.configure(toml(check={"by": "oidc", "period": period}, oidc=oidc))
        self.scene.restart_agent(wrapper=wrapper)

    def approve(self, **claims: Any) -> str:
        """The newest check is approved, by alice just now if the claims do not say otherwise; the ID token."""
        return self.provider.approve(**claims)

    def passes(self, **claims: Any) -> str:
        """Alice logs in with a check; the ID token."""
        with self.scene.waiting_login() as login:
            login.page()
            token = self.approve(**claims)
            assert login.finish() == 0, login.stderr
        return token


def without(*patches: str) -> str:
    """A program that is the agent with lines of Python in front that switch something off."""
    lines = [
        "from pam_tailscale import secret",
        "from pam_tailscale.agent import app, logins, waiting",
        "from pam_tailscale.check import control, desk, device, flow, https, idtoken, oidc, passes",
        *patches,
        "app.main()",
    ]
    return "\n".join(lines)


@contextmanager
def quick_checks(scene: Scene) -> Iterator[Quick]:
    """The provider on the host's loopback, and a policy that asks for checks; all put back at the end."""
    box = scene.host.box
    manager = fake_oidc.fake_oidc()
    provider = box.inside(manager.__enter__, namespaces.CLONE_NEWNET)
    try:
        page = f"{provider.issuer}/device?user_code={USER_CODE}"
        provider.device = {"interval": 1, "user_code": USER_CODE, "verification_uri_complete": page}
        agent = box.account("pam-tailscale")
        box.write(CA_FILE, provider.ca_file.read_text())
        box.write(SECRET_FILE, CLIENT_SECRET, 0o600, agent.uid, agent.gid)
        quick = Quick(scene, provider)
        scene.set_rules(*quick.rules())
        yield quick
    finally:
        scene.host.configure("")
        scene.restart_agent()
        scene.set_rules(*scene.usual_rules())
        manager.__exit__(None, None, None)


# 6: a check passed by one person opens a session for another, or after its period, or twice where it is `always`


def approved_by_another_gets_in(quick: Quick) -> bool:
    """Somebody else of the organisation approves at alice's page."""
    with quick.scene.waiting_login() as login:
        login.page()
        quick.approve(sub="subject-mallory", email="mallory@example.com")
        return login.finish() == 0


def authenticated_long_ago_gets_in(quick: Quick) -> bool:
    """Alice has passed a check, by an authentication that is older than the period that is in force now."""
    quick.reconfigure(WEEK)
    quick.passes(auth_time=int(time.time()) - 13 * 3600)
    quick.reconfigure(HALF_DAY)
    return quick.scene.login("alice").returncode == 0


def second_login_gets_in(quick: Quick) -> bool:
    """Alice has passed a check, and logs in once more."""
    quick.passes()
    return quick.scene.login("alice").returncode == 0


def second_window_gets_in(quick: Quick) -> bool:
    """Two windows wait at the same page, which is approved once."""
    windows = [quick.scene.waiting_login(name=name) for name in ("one", "two")]
    with windows[0], windows[1]:
        assert windows[0].page() == windows[1].page()
        checks = len(quick.provider.checks)
        quick.approve()

        def both_are_in() -> bool:
            return all(window.process.poll() == 0 for window in windows)

        def one_is_asked_anew() -> bool:
            return len(quick.provider.checks) > checks

        wait_until(lambda: both_are_in() or one_is_asked_anew(), 40, "the second window goes on, or is asked anew")
        return both_are_in()


@contextmanager
def keys_of_ones_own(scene: Scene) -> Iterator[None]:
    """A drop-in of the administrator lets keys in, so that only the account phase stands before the session."""
    path = "/etc/ssh/sshd_config.d/05-keys.conf"
    scene.host.box.write(path, "Match LocalAddress 100.64.0.0/10\n    AuthorizedKeysFile .ssh/authorized_keys\n")
    scene.host.restart_sshd()
    try:
        yield
    finally:
        scene.host.box.run(["rm", path])
        scene.host.restart_sshd()


def key_without_a_check_gets_in(quick: Quick) -> bool:
    """Alice's own key, which sshd takes, on a connection that has passed no check."""
    key = quick.scene.client.make_key("alice")
    with keys_of_ones_own(quick.scene):
        done = quick.scene.login("alice", None, "-o", "PreferredAuthentications=publickey", key=key)
    return done.returncode == 0


def pass_of_another_connection_gets_in(quick: Quick) -> bool:
    """The same, after another connection has passed a check that is for one login."""
    quick.passes()
    return key_without_a_check_gets_in(quick)


# 10: a private key, token or code appears in a log, an argument list, a traceback or a world-readable file


@dataclass(frozen=True, slots=True)
class Traces:
    """What a check has left behind, or showed while it went on."""

    logs: str
    processes: str
    """Arguments and environments of all processes, while the check was pending and after it."""
    documents: str
    """What the command line tells about it."""
    open_files: str
    """All that an ordinary user can read where the product writes."""
    secrets: Mapping[str, str]

    def found_in(self, text: str) -> set[str]:
        """The names of the secrets that stand there."""
        return {name for name, value in self.secrets.items() if value in text}


def _processes(host: Host) -> str:
    return host.box.run(["sh", "-c", _PROCESSES], check=False).stdout


def _documents(host: Host, source: str) -> str:
    questions = (["status"], ["check"], ["explain", "alice", "--from", source])
    answers = [host.cli(*argv, *more, check=False) for argv in questions for more in ([], ["--json"])]
    assert all(done.stdout for done in answers)
    return "".join(done.stdout + done.stderr for done in answers)


def open_files(host: Host) -> str:
    """All that an ordinary user can read where the product writes."""
    return host.box.run(["sh", "-c", _OPEN_FILES], user="bob", check=False).stdout


def _traces(host: Host, source: str, processes: str, secrets: Mapping[str, str]) -> Traces:
    logs = "\n".join(host.logs().values())
    return Traces(logs, processes + _processes(host), _documents(host, source), open_files(host), secrets)


def echo(provider: FakeOidc, status: int) -> fake_oidc.Fault:
    """A provider that is out of order and sends back what it was asked, code and all."""

    def answer(handler: fake_oidc.Handler) -> None:
        said = {"error": "server_error", "error_description": json.dumps(provider.forms[-1])}
        body = {**said, "authorization": provider.authorizations[-1]}
        fake_oidc.send(handler, status, json.dumps(body).encode())

    return answer


def whole_check_by_oidc(quick: Quick, *, wrapper: str | None = None, passes: bool = True) -> Traces:
    """A check with all that can go wrong on its way, with debug on; what it has left everywhere.

    `passes`: whether alice gets in in the end; else it ends with an exception in the agent.
    """
    host, provider, seen = quick.scene.host, quick.provider, ""
    host.box.write(host.pam_file, host.pam_half().replace("mode=enforce", "mode=enforce debug"))
    quick.reconfigure(wrapper=wrapper)
    try:
        with quick.scene.waiting_login() as login:
            login.page()
            code = list(provider.checks)[-1]
            for status in (500, 400):
                asked = provider.asked[TOKEN]
                provider.faults[TOKEN] = echo(provider, status)
                wait_until(lambda asked=asked: provider.asked[TOKEN] > asked, 30, "a poll that fails")  # type: ignore[misc]
            seen += _processes(host)
            documents = _documents(host, quick.scene.nodes.alice.addresses[0])
            provider.faults.clear()
            token = quick.approve()
            if passes:
                assert login.finish(90) == 0, login.stderr
            else:
                wait_until(lambda: "Traceback" in host.box.read("/var/log/agent.log"), 30, "it goes wrong")
    finally:
        host.install_halves()
    secrets = {"client secret": CLIENT_SECRET, "device code": code, "ID token": token}
    secrets |= {"signature": token.rpartition(".")[2], "user code": USER_CODE}
    secrets |= {"authorization": base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()}
    found = _traces(host, quick.scene.nodes.alice.addresses[0], seen, secrets)
    return Traces(found.logs, found.processes, found.documents + documents, found.open_files, found.secrets)


@contextmanager
def control_checks(quick: Quick) -> Iterator[tuple[ControlPlane, Checks, str]]:
    """A control plane on the host's loopback, and the node's machine key (hexadecimal) in tailscaled's state."""
    scene, tailnet, plane = quick.scene, quick.scene.tailnet, ControlPlane()
    box = scene.host.box
    key = X25519PrivateKey.generate().private_bytes_raw().hex()
    box.inside(plane.__enter__, namespaces.CLONE_NEWNET)
    try:
        url, tailnet.prefs["ControlURL"] = tailnet.prefs["ControlURL"], plane.base_url
        text = base64.b64encode(f"privkey:{key}".encode()).decode()
        box.write(state.PATH, json.dumps({"_machinekey": text}), 0o600)
        tailnet.changed()
        scene.host.pin()
        checks = Checks(plane)
        scene.host.configure("")
        scene.restart_agent()
        scene.set_rules(check_rule([scene.nodes.alice], {"alice": "="}, checks.delegate))
        yield plane, checks, key
    finally:
        tailnet.prefs["ControlURL"] = url
        tailnet.changed()
        scene.host.pin()
        quick.reconfigure()
        scene.set_rules(*quick.rules())
        plane.__exit__(None, None, None)


def whole_check_by_control(quick: Quick, *, wrapper: str | None = None) -> Traces:
    """The same with the control plane, which loses the check on its way."""
    scene = quick.scene
    with control_checks(quick) as (plane, checks, key):
        scene.restart_agent(wrapper=wrapper)
        with scene.waiting_login() as login:
            login.page()
            first = wait_until(lambda: checks.pending, 20, "a check")[-1]
            checks.lose()
            plane.restart()
            login.hang_up()
        seen = _processes(scene.host)
        with scene.waiting_login() as login:
            login.page()
            second = wait_until(lambda: checks.pending, 20, "another check")[-1]
            checks.approve(second)
            assert login.finish() == 0, login.stderr
        encoded = base64.b64encode(f"privkey:{key}".encode()).decode()
        secrets = {"machine key": key, "machine key in the state": encoded, "auth id": second, "lost auth id": first}
        return _traces(scene.host, scene.nodes.alice.addresses[0], seen, secrets)
