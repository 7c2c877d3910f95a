"""A real tailnet for the benchmark: headscale, a device, and a server with four ways to log in to it.

On the server, side by side: Tailscale SSH, which takes port 22 inside tailscaled; stock sshd with our product; the same
sshd with a module that lets everybody in (the floor); and stock sshd as Debian has it, with a public key.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench import programs
from tests.support.host import Host
from tests.support.members import OPEN
from tests.support.roots import Suite, debian_root
from tests.support.shims import build_shims
from tests.support.tailnet import Lan, Node, Tailnet, join_all
from tests.support.waiting import wait_until

VERSION = "1.102.5"
"""Of tailscaled: the newest whose SSH server builds everywhere the tests run."""
USER = "alice"
TAILSCALE_SSH, OURS, FLOOR, PUBLICKEY = "tailscale_ssh", "ours", "floor", "publickey"
PORTS = {TAILSCALE_SSH: 22, OURS: 2222, FLOOR: 2223, PUBLICKEY: 2224}
KEX = "curve25519-sha256"
"""For all: Tailscale SSH has no post-quantum key exchange, and that of OpenSSH 9.2 takes 100 ms of CPU."""

_KEY = "/root/key"
_OPTIONS: Mapping[str, str] = {
    "BatchMode": "yes",
    "KexAlgorithms": KEX,
    "HostKeyAlgorithms": "ssh-ed25519",
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "LogLevel": "ERROR",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A node with the product and the other ways to log in."""

    node: Node
    host: Host

    def commands(self) -> dict[str, list[str]]:
        """The ssh command of each way."""
        return {way: self._command(way) for way in PORTS}

    def _command(self, way: str) -> list[str]:
        keys = {"IdentityFile": _KEY, "IdentitiesOnly": "yes"} if way == PUBLICKEY else {"PubkeyAuthentication": "no"}
        options = {**_OPTIONS, **keys, "Port": str(PORTS[way])}
        arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return ["/usr/bin/ssh", *arguments, f"{USER}@{self.node.ipv4}", "true"]


class Real:
    """The tailnet, running. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.servers: dict[Suite, Server] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            lan = stack.enter_context(Lan(debian_root("bookworm")))
            self.tailnet = Tailnet(lan)
            self.tailnet.start()
            self.tailnet.add_user("user1", "user1@headscale.net")
            # Its rules are about whoever is a member, so the tag of the servers is in use.
            self.tailnet.set_policy(OPEN)
            device_key, server_key = self.tailnet.user_key("user1"), self.tailnet.tag_key("tag:server")
            self.device = Node(lan, "device", version=VERSION)
            nodes: dict[Suite, Node] = {
                "bookworm": Node(lan, "debian12", version=VERSION),
                "trixie": Node(lan, "debian13", version=VERSION, root=debian_root("trixie")),
            }
            join_all(self.tailnet, [(self.device, device_key), *((node, server_key) for node in nodes.values())])
            self.device.box.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", _KEY])
            for suite, node in nodes.items():
                self.servers[suite] = self._server(stack, suite, node)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _server(self, stack: ExitStack, suite: Suite, node: Node) -> Server:
        node.ts("set", "--ssh")
        host = stack.enter_context(Host(node.box, build_shims(suite)))
        node.box.write("/etc/ssh/sshd_config.d/20-port.conf", f"Port {PORTS[OURS]}\n")
        _give_key(host, self.device.box.read(f"{_KEY}.pub"))
        host.start_reader()
        host.pin()
        host.start_agent()
        host.start_sshd()
        _start_floor(host)
        _start_stock(host)
        server = Server(node, host)
        for way, command in server.commands().items():
            wait_until(
                lambda argv=command: self.device.box.run(argv, check=False).returncode == 0,  # type: ignore[misc]
                20,
                f"a login to {node.hostname} by {way}",
            )
        return server


def _give_key(host: Host, line: str) -> None:
    account = host.box.account(USER)
    host.box.write(f"{account.home}/.ssh/authorized_keys", line, 0o600, account.uid, account.gid)
    host.box.run(["chown", "-R", f"{USER}:{USER}", f"{account.home}/.ssh"])


def _start_floor(host: Host) -> None:
    """Our own configuration, but for the module."""
    programs.build_floor(host.box)
    lines = host.pam_half().splitlines()
    pam = [
        line.partition("pam_tailscale.so")[0] + programs.FLOOR if "pam_tailscale.so" in line else line for line in lines
    ]
    text = host.drop_in().replace("PAMServiceName sshd-tailscale", "PAMServiceName sshd-floor")
    _start_sshd(host, FLOOR, text, "\n".join(pam) + "\n")


def _start_stock(host: Host) -> None:
    """As Debian has it."""
    _start_sshd(host, PUBLICKEY, "", host.stock_pam)


def _start_sshd(host: Host, way: str, drop_in: str, pam: str) -> None:
    """A further sshd with a PAM service of its own. Before 9.8 that is named as the program is."""
    program, service, extra = "/usr/sbin/sshd", f"sshd-{way}", ["-o", "MaxStartups=100"]
    box = host.box
    if host.has_service_names:
        extra += ["-o", f"PAMServiceName={service}", "-o", "PerSourcePenalties=no"]
    else:
        program = f"/usr/sbin/{service}"
        box.run(["cp", "/usr/sbin/sshd", program])
    box.write(f"/etc/pam.d/{service}", pam)
    stock = [line for line in box.read("/etc/ssh/sshd_config").splitlines() if not line.startswith("Include")]
    # The drop-in's Match block reaches to the end of a file.
    config, log = f"/etc/ssh/{service}.conf", f"/var/log/{service}.log"
    box.write(config, "\n".join([f"Port {PORTS[way]}", "PidFile none", *stock, drop_in, ""]))
    box.popen(
        [program, "-D", "-f", config, "-E", log, "-o", "LogLevel=VERBOSE", *extra], f"/var/log/{service}-output.log"
    )
    wait_until(lambda: "Server listening on" in box.read(log), 10, f"{service} listens")


def project(path: str) -> str:
    """Where a file of the checkout is inside a sandbox."""
    return str(Path("/opt/pam-tailscale", path))
