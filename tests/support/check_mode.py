"""Check mode from end to end: a scene, an OpenID provider on its LAN, and a browser at which people approve."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from contrib.demo.tailnet import nodes_rule
from pam_tailscale import paths
from tests.support.browser import Browser
from tests.support.certificates import Authority
from tests.support.host import Host
from tests.support.identity_provider import ALICE, CONFIDENTIAL, PUBLIC, Account, Client, IdentityProvider
from tests.support.person import APPROVED, Person, Visit
from tests.support.scene import LAN_DEVICE, Scene, check_rule
from tests.support.waiting_login import WaitingLogin

CA_FILE = "/etc/pam-tailscale/lab-ca.pem"
SECRET_FILE = "/etc/pam-tailscale/client-secret"


def toml(**sections: Mapping[str, object]) -> str:
    """A configuration of the agent; what is None is left out."""
    lines: list[str] = []
    for name, section in sections.items():
        lines += [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in section.items() if value is not None)]
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_value(one)}' for key, one in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


class CheckMode:
    """A scene in which alice (also as root) and bob are let in only after a check, the runner without one.

    Provider and browser are the device's, so that the agent reaches them over the LAN. Use as a context manager, inside
    that of the scene; then `begin`.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.authority = Authority()
        self._certificate = self.authority.issue(LAN_DEVICE[4])
        self.provider = IdentityProvider(scene.client.box, LAN_DEVICE[4], self._certificate)
        self.browser = Browser(scene.client.box, self._certificate.key_hash)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.provider)
            stack.enter_context(self.browser)
            self.trust(self.scene.host)
            self.scene.set_rules(*self.rules())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def rules(self) -> list[object]:
        """The tailnet's policy."""
        nodes = self.scene.nodes
        return [
            check_rule([nodes.alice], {"alice": "=", "root": "root"}),
            check_rule([nodes.bob], {"bob": "="}),
            nodes_rule([nodes.ci], {"alice": "=", "bob": "="}),
        ]

    def trust(self, host: Host) -> None:
        """A host knows the authority of the provider's certificate, and the secret of the client that has one."""
        agent = host.box.account("pam-tailscale")
        host.box.write(CA_FILE, self.authority.pem)
        host.box.write(SECRET_FILE, f"{CONFIDENTIAL.secret}\n", 0o600, agent.uid, agent.gid)

    def configuration(
        self,
        *,
        client: Client = PUBLIC,
        check: Mapping[str, object] | None = None,
        oidc: Mapping[str, object] | None = None,
        **sections: Mapping[str, object],
    ) -> str:
        """The agent's configuration; `check` and `oidc` are more of these sections."""
        provider = {
            "issuer": self.provider.issuer,
            "client_id": client.client_id,
            "client_secret_file": SECRET_FILE if client.secret else None,
            "domains": ["example.com"],
            "ca_file": CA_FILE,
            **(oidc or {}),
        }
        return toml(check={"by": "oidc", **(check or {})}, oidc=provider, **sections)

    def begin(self, configuration: str = "") -> None:
        """Everything as on the first day: nothing is disturbed, nobody is signed in, nobody has passed a check."""
        self.provider.restore()
        self.browser.forget()
        self.forget_everything(configuration)

    def forget_everything(self, configuration: str = "") -> None:
        """The agent starts anew and has lost what it knew."""
        self.scene.host.stop_agent()
        self.scene.host.box.run(["rm", "-rf", str(paths.STATE_DIR)])
        self.reconfigure(configuration)

    def reconfigure(self, configuration: str = "") -> None:
        """Starts the agent anew with a configuration, the usual one if none is given; what it knows stays."""
        self.scene.host.configure(configuration or self.configuration())
        self.scene.restart_agent()

    def visit(self, page: str, account: Account = ALICE) -> Visit:
        """Somebody opens a page and approves, signing in where asked."""
        return Person(self.browser, account).approve(page)

    def approve(self, page: str, account: Account = ALICE) -> None:
        """The same; they get to the end."""
        visit = self.visit(page, account)
        assert visit.end == APPROVED, visit

    def pass_check(self, login: WaitingLogin, account: Account = ALICE, *, number: int = 0) -> None:
        """Somebody goes to the page of a login's prompt, approves, and is let in."""
        self.approve(login.page(number), account)
        login.press_enter()
        self.let_in(login)

    def let_in(self, login: WaitingLogin) -> None:
        """A waiting login has come to its end, and its command was run."""
        assert login.finish() == 0, (login.stderr, login.prompts)

    def begun(self) -> int:
        """How many checks were begun at the provider since its start."""
        return len(self.provider.requests("device_authorization"))
