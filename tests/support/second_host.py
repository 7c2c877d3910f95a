"""One more host of a scene's tailnet, with sandbox, sshd and agent of its own; the same device logs in to it."""

from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, Self

from contrib.demo.tailnet import Tailnet
from pam_tailscale import client, wire
from tests.support.host import Host
from tests.support.roots import Suite, debian_root
from tests.support.sandbox import Sandbox, connect
from tests.support.scene import LAN, Scene, make_node, serve, tailnet_address
from tests.support.shims import build_shims
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin, plain_ssh

NUMBER = 11
_LAN, _DEVICE = "198.51.100.1", "198.51.100.2"


class SecondHost:
    """The host and its tailscaled, with a policy of its own. Use as a context manager, inside that of the scene."""

    def __init__(self, scene: Scene, suite: Suite, rules: list[Any]) -> None:
        self._scene = scene
        self._suite = suite
        nodes = scene.nodes
        own = make_node(NUMBER, "second", "admin@example.com")
        self.tailnet = Tailnet(own, [nodes.server, nodes.alice, nodes.bob, nodes.ci], rules)
        self._box = Sandbox(debian_root(suite), "second")

    def __enter__(self) -> Self:
        self._box.start()
        try:
            self._cables()
            self.host = Host(self._box, build_shims(self._suite))
            self._localapi = serve(self._box, self.tailnet)
            self._localapi.__enter__()
            self.host.start_reader()
            self.host.pin()
            self.host.start_sshd()
        except BaseException:
            self._box.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.host.close()
        self._localapi.__exit__(kind, err, trace)
        self._box.close()

    def _cables(self) -> None:
        """The device's own addresses answer on these cables as well."""
        device = self._scene.client.box
        connect(self._box, device, "tailscale0", f"{tailnet_address(NUMBER, 4)}/10", "tailscale1", "")
        self._box.address("tailscale0", f"{tailnet_address(NUMBER, 6)}/48")
        device.host_tool(["ip", "route", "add", f"{tailnet_address(NUMBER, 4)}/32", "dev", "tailscale1"])
        connect(self._box, device, "lan0", f"{_LAN}/24", "lan1", f"{_DEVICE}/24")
        network = LAN[4].rpartition(".")[0] + ".0/24"
        self._box.host_tool(["ip", "route", "add", network, "via", _DEVICE])

    def restart_agent(self, configuration: str) -> None:
        """Starts the agent (again) with a configuration, and waits until it has the policy."""
        self.host.stop_agent()
        self.host.configure(configuration)
        self.host.start_agent()
        socket = self.host.box.path("/run/pam-tailscale/agent.sock")
        question = {wire.KEY_REQUEST: wire.REQUEST_STATUS}
        wait_until(lambda: client.ask_document(socket, question)["ready"], 20, "the second agent knows the tailnet")

    def login(self, user: str, **options: Any) -> CompletedProcess[str]:
        """`ssh USER@second` over the tailnet from alice's node."""
        source = self._scene.nodes.alice.addresses[0]
        return self._scene.client.ssh(user, tailnet_address(NUMBER, 4), source=source, **options)

    def waiting_login(self, user: str = "alice", name: str = "second") -> WaitingLogin:
        """The same in the background, for a person at its prompt."""
        source = self._scene.nodes.alice.addresses[0]
        command = plain_ssh(user, tailnet_address(NUMBER, 4), source=source, remote="id -un")
        return WaitingLogin(self._scene.client.box, command, name)
