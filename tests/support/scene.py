"""The scene of the integration tests: a host with our product, a device, and an embedded tailnet that tests can bend.

The addresses of the tailnet lie on a cable that is called tailscale0, those of the LAN on another. The device plays
every peer; which one, its address says.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, Literal, Self

from contrib.demo.localapi import LocalAPI
from contrib.demo.tailnet import Node, Tailnet, accept, nodes_rule
from pam_tailscale import client as agent
from pam_tailscale import wire
from pam_tailscale.errors import PamTailscaleError
from tests.support.client import Client
from tests.support.host import Host
from tests.support.roots import Suite, debian_root
from tests.support.sandbox import Sandbox, connect
from tests.support.shims import Shims, build_shims
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin, plain_ssh

Family = Literal[4, 6]
FAMILIES: tuple[Family, ...] = (4, 6)

TAILSCALED_SOCKET = "/run/tailscale/tailscaled.sock"
_RULES_AT_LEAST = 16
DELEGATE = "https://unused/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER"
LAN: Mapping[Family, str] = {4: "192.0.2.1", 6: "2001:db8::1"}
LAN_DEVICE: Mapping[Family, str] = {4: "192.0.2.2", 6: "2001:db8::2"}


def tailnet_address(number: int, family: Family) -> str:
    """The address of node `number`; 1 is the host."""
    return f"100.64.0.{number}" if family == 4 else f"fd7a:115c:a1e0::{number}"


def make_node(number: int, name: str, login: str = "", tags: tuple[str, ...] = ()) -> Node:
    """A node with both addresses of `number`."""
    return Node(name, (tailnet_address(number, 4), tailnet_address(number, 6)), login=login, tags=tags)


def check_rule(nodes: Iterable[Node], users: dict[str, str], delegate: str = DELEGATE) -> dict[str, Any]:
    """A rule that asks for a check; the control plane would be asked at `delegate`."""
    return nodes_rule(nodes, users, {"holdAndDelegate": delegate})


@dataclass(frozen=True, slots=True)
class Nodes:
    """Who is in the tailnet. At the stranger's address tailscaled knows nobody."""

    server: Node
    alice: Node
    bob: Node
    ci: Node
    stranger: Node

    @classmethod
    def make(cls) -> Self:
        return cls(
            make_node(1, "server", "admin@example.com"),
            make_node(2, "alice-laptop", "alice@example.com"),
            make_node(3, "bob-laptop", "bob@example.com"),
            make_node(4, "runner", tags=("tag:ci",)),
            make_node(9, "stranger"),
        )


class Scene:
    """Host, device and tailnet, all running: agent, reader, sshd, LocalAPI. A context manager.

    Both hosts are sandboxes on `root`; `prepare` is called with the server's before anything is installed there, and
    `python` runs the agent.
    """

    def __init__(
        self,
        root: Path,
        shims: Shims,
        *,
        prepare: Callable[[Sandbox], None] | None = None,
        python: str = "/usr/bin/python3",
    ) -> None:
        self.nodes = Nodes.make()
        self._root = root
        self._shims = shims
        self._prepare = prepare
        self._python = python
        self._rounds = 0
        self._stack = ExitStack()

    @classmethod
    def of(cls, suite: Suite) -> Self:
        """A scene on a Debian release."""
        return cls(debian_root(suite), build_shims(suite))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            server = stack.enter_context(Sandbox(self._root, "server"))
            device = stack.enter_context(Sandbox(self._root, "device"))
            self._cables(server, device)
            if self._prepare is not None:
                self._prepare(server)
            self.host = stack.enter_context(Host(server, self._shims, python=self._python))
            self.client = Client(device)
            self.tailnet = Tailnet(self.nodes.server, [self.nodes.alice, self.nodes.bob, self.nodes.ci])
            self.tailnet.rules = self.usual_rules()
            self.localapi = stack.enter_context(serve(server, self.tailnet))
            self.host.start_reader()
            self.host.pin()
            self.host.start_agent()
            self.host.start_sshd()
            self._give_key("alice")
            self.wait_until_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _cables(self, server: Sandbox, device: Sandbox) -> None:
        connect(
            server, device, "tailscale0", f"{tailnet_address(1, 4)}/10", "tailscale0", f"{tailnet_address(2, 4)}/10"
        )
        connect(server, device, "lan0", f"{LAN[4]}/24", "lan0", f"{LAN_DEVICE[4]}/24")
        server.address("tailscale0", f"{tailnet_address(1, 6)}/48")
        server.address("lan0", f"{LAN[6]}/64")
        device.address("lan0", f"{LAN_DEVICE[6]}/64")
        device.address("tailscale0", f"{tailnet_address(2, 6)}/48")
        for number in (3, 4, 9):
            device.address("tailscale0", f"{tailnet_address(number, 4)}/32")
            device.address("tailscale0", f"{tailnet_address(number, 6)}/128")

    def _give_key(self, name: str) -> None:
        account = self.host.box.account(name)
        line = self.client.public_key(name)
        self.host.box.write(f"{account.home}/.ssh/authorized_keys", line, 0o600, account.uid, account.gid)
        self.host.box.run(["chown", f"{name}:{name}", f"{account.home}/.ssh"])

    # The tailnet's policy

    def usual_rules(self) -> list[Any]:
        """Rules: alice as herself and root, bob as himself, the runner as both; decoy is named in none."""
        nodes = self.nodes
        return [
            nodes_rule([nodes.alice], {"alice": "=", "root": "root"}),
            nodes_rule([nodes.bob], {"bob": "="}),
            nodes_rule([nodes.ci], {"alice": "=", "bob": "="}),
        ]

    def set_rules(self, *rules: Any) -> None:
        """Puts a policy into force and waits until the agent has it."""
        # The agent tells how many rules it has: rules about nobody make that another number for each policy.
        self._rounds += 1
        number = _RULES_AT_LEAST + self._rounds % 64
        nobody = {"principals": [{"nodeIP": "100.127.0.1"}], "sshUsers": {}, "action": accept()}
        self.tailnet.rules = [*rules, *[nobody] * (number - len(rules))]
        self.tailnet.changed()
        self.wait_until_ready()

    @contextmanager
    def rules(self, *rules: Any) -> Iterator[None]:
        """As `set_rules`, and the usual ones again afterwards."""
        self.set_rules(*rules)
        try:
            yield
        finally:
            self.set_rules(*self.usual_rules())

    def wait_until_ready(self) -> None:
        """Waits until the agent sees nothing wrong and has the policy as it is now."""
        expected = len(self.tailnet.rules or [])

        def ready() -> bool:
            status = self.status()
            assert status["ready"], status
            netmap = status["sources"][0]
            return bool(netmap["name"] == "netmap" and netmap["rules"] == expected)

        wait_until(ready, 20, "the agent knows the tailnet")

    def status(self) -> dict[str, Any]:
        """What `pam-tailscale status --json` would show."""
        return self._document(wire.REQUEST_STATUS)

    def checks(self) -> dict[str, Any]:
        """What `pam-tailscale check --json` would show."""
        return self._document(wire.REQUEST_CHECKS)

    def _document(self, request: str) -> dict[str, Any]:
        socket = self.host.box.path("/run/pam-tailscale/agent.sock")
        try:
            return agent.ask_document(socket, {wire.KEY_REQUEST: request})
        except PamTailscaleError as err:
            raise AssertionError(str(err)) from err

    def restart_agent(self, *, wrapper: str | None = None) -> None:
        """Starts the agent (again), with `wrapper` in its place if there is one, and waits until it is ready."""
        self.host.stop_agent()
        self.host.start_agent(wrapper=wrapper)
        self.wait_until_ready()

    # Logging in

    def login(
        self, user: str, node: Node | None = None, *args: str, family: Family = 4, **options: Any
    ) -> CompletedProcess[str]:
        """`ssh USER@host` over the tailnet from a node (alice's, if none is named)."""
        position = 0 if family == 4 else 1
        source = (node or self.nodes.alice).addresses[position]
        return self.client.ssh(user, tailnet_address(1, family), *args, source=source, **options)

    def lan_login(self, user: str, *args: str, family: Family = 4, **options: Any) -> CompletedProcess[str]:
        """`ssh USER@host` over the LAN."""
        return self.client.ssh(user, LAN[family], *args, source=LAN_DEVICE[family], **options)

    def waiting_login(
        self, user: str = "alice", node: Node | None = None, name: str = "login", *, hold: bool = False
    ) -> WaitingLogin:
        """`ssh USER@host id -un` over the tailnet in the background, for a person at its prompt; see WaitingLogin."""
        source = (node or self.nodes.alice).addresses[0]
        command = plain_ssh(user, tailnet_address(1, 4), source=source, remote="id -un")
        return WaitingLogin(self.client.box, command, name, hold=hold)

    def reason(self, login: Callable[[], object]) -> str:
        """The reason of the first decision that a login caused."""
        before = len(self.host.decisions())
        login()
        line = wait_until(lambda: self.host.decisions()[before:], 5, "the agent logs its decision")[0]
        return line.partition(" reason=")[2].partition(" ")[0]


def serve(box: Sandbox, tailnet: Tailnet) -> LocalAPI:
    """An embedded LocalAPI of this process, at tailscaled's place inside a sandbox. Not started yet."""
    box.run(["mkdir", "-p", str(Path(TAILSCALED_SOCKET).parent)])
    return LocalAPI(box.path(TAILSCALED_SOCKET), tailnet)
