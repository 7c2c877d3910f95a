"""Hosts whose people are checked: a control plane for them, its machine key, and a host that both providers check.

Evidence comes about as it does for a person: a login shows a page, somebody approves there, and the login goes on.
"""

import base64
import json
import secrets
import signal
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from contrib.demo.tailnet import nodes_rule
from tests.support.fake_oidc import FakeOidc, fake_oidc
from tests.support.namespaces import CLONE_NEWNET
from tests.support.roots import Suite
from tests.support.sandbox import Sandbox
from tests.support.scene import Scene, tailnet_address
from tests.support.tokens import CLIENT
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin, plain_ssh

USER = "alice"
"""The account of all logins: whether they are checked is a matter of where they come from."""
AWAY_MS = 1
"""Milliseconds by which each answer of the control plane is late, as if it were that far away."""
PERSON = "bob@example.com"
"""Whom the rule of `checked` is about."""

_STATE = "/var/lib/tailscale/tailscaled.state"
_LOG = "/var/log/control.log"
_CA = "/etc/pam-tailscale/identity-provider.pem"
_OIDC = """\
[check]
by = "oidc"
[oidc]
issuer = "{issuer}"
client_id = "{client}"
domains = ["example.com"]
ca_file = "{ca_file}"
"""


class Control:
    """A control plane that runs beside a host, on its loopback; `away_ms`: by how much each answer is late."""

    def __init__(self, box: Sandbox, away_ms: float) -> None:
        key = f"privkey:{secrets.token_hex(32)}"
        box.write(_STATE, json.dumps({"_machinekey": base64.b64encode(key.encode()).decode()}), 0o600)
        env = {"PYTHONPATH": "/opt/pam-tailscale", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = box.popen(["/usr/bin/python3", "-m", "bench.control", str(away_ms)], _LOG, env=env)

        def ready() -> str:
            text = box.read(_LOG)
            if self._process.poll() is not None:
                raise RuntimeError(f"the embedded control plane ended: {text}")
            return text.partition("ready ")[2]

        self.url, self.delegate = wait_until(ready, 20, "the embedded control plane is ready").split()

    def approve(self) -> None:
        """Approve all that is pending."""
        self._process.send_signal(signal.SIGUSR1)


class Checked:
    """A host on a Debian release, where alice's laptop is let in by a rule that accepts, bob's by one that checks."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.scene = stack.enter_context(Scene.of(self.suite))
            self.host = self.scene.host
            self.control = Control(self.host.box, AWAY_MS)
            self.provider = self._provider(stack)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _provider(self, stack: ExitStack) -> FakeOidc:
        """An identity provider in the host's network, in threads of this process: once it is done nobody asks it."""
        found = self.host.box.inside(lambda: stack.enter_context(fake_oidc()), CLONE_NEWNET)
        self.host.box.write(_CA, found.ca_file.read_text())
        return found

    def _join(self) -> None:
        """The tailnet is that control plane's now, and its policy has a rule that asks for a check."""
        scene = self.scene
        self.host.stop_agent()
        scene.tailnet.prefs["ControlURL"] = self.control.url
        scene.tailnet.rules = [
            nodes_rule([scene.nodes.alice], {USER: "="}),
            nodes_rule([scene.nodes.bob], {USER: "="}, {"holdAndDelegate": self.control.delegate}),
        ]
        scene.tailnet.changed()
        self.host.pin()

    def use_oidc(self) -> None:
        """From now on the identity provider checks."""
        text = _OIDC.format(issuer=self.provider.issuer, client=CLIENT, ca_file=_CA)
        self._configure(text)

    def use_control(self) -> None:
        """From now on the control plane does."""
        self._configure("")

    def _configure(self, text: str) -> None:
        self.host.configure(text)
        self.scene.restart_agent()

    def forget(self) -> None:
        """Nothing is known of bob's checks any more."""
        self.host.cli("check", "--forget", PERSON, check=False)

    def approve_at_provider(self) -> None:
        """What bob does in a browser."""
        self.provider.approve(sub="subject-bob", email=PERSON)

    def pass_a_check(self, approve: Callable[[], None]) -> None:
        """A login of bob's that shows a page, and goes on when that is approved."""
        with self.waiting("hostname") as login:
            login.page()
            approve()
            if login.finish() != 0:
                raise RuntimeError(f"no check was passed: {login.stderr} {self.host.logs()}")

    def waiting(self, remote: str) -> WaitingLogin:
        """A login of bob's that waits for him."""
        bob = tailnet_address(3, 4)
        return WaitingLogin(self.scene.client.box, plain_ssh(USER, tailnet_address(1, 4), source=bob, remote=remote))

    def commands(self, checked: str) -> dict[str, list[str]]:
        """The ssh command of each way: `accept`, and the checked one under its name."""
        options, target = self.scene.client.options, f"{USER}@{tailnet_address(1, 4)}"
        numbers = {"accept": 2, checked: 3}
        return {
            way: ["/usr/bin/ssh", *options(source=tailnet_address(number, 4)), target, "true"]
            for way, number in numbers.items()
        }
