"""A real tailnet on one machine: headscale and any number of nodes with tailscaled, each in a sandbox of its own.

Nothing of the product is here. A `Lan` is the cable between the sandboxes; a `Tailnet` is one control plane on it; a
`Node` is a host with tailscaled, which joins a tailnet.
"""

import json
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.roots import binaries
from tests.support.sandbox import CommandFailed, Sandbox
from tests.support.waiting import wait_until

HEADSCALE_VERSION = "0.29.2"
BASE_DOMAIN = "tailnet.example"
TAILSCALED_SOCKET = "/run/tailscale/tailscaled.sock"

_CONFIG = """\
server_url: https://{address}:8443
listen_addr: 0.0.0.0:8443
metrics_listen_addr: 127.0.0.1:9090
grpc_listen_addr: 127.0.0.1:50443
grpc_allow_insecure: false
noise: {{private_key_path: /var/lib/headscale/noise.key}}
prefixes: {{v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48", allocation: sequential}}
derp:
  server:
    enabled: true
    region_id: 999
    region_code: lab
    region_name: lab
    stun_listen_addr: 0.0.0.0:3478
    private_key_path: /var/lib/headscale/derp.key
    automatically_add_embedded_derp_region: true
    ipv4: {address}
    verify_clients: false
  urls: []
  paths: []
  auto_update_enabled: false
  update_frequency: 24h
disable_check_updates: true
node: {{ephemeral: {{inactivity_timeout: 30m}}}}
database: {{type: sqlite, sqlite: {{path: /var/lib/headscale/db.sqlite, write_ahead_log: true}}}}
tls_cert_path: /etc/headscale/tls.crt
tls_key_path: /etc/headscale/tls.key
log: {{level: info, format: text}}
policy: {{mode: database}}
dns:
  magic_dns: true
  base_domain: {domain}
  override_local_dns: false
  nameservers: {{global: []}}
  search_domains: []
  extra_records: []
unix_socket: /run/headscale.sock
unix_socket_permission: "0770"
logtail: {{enabled: false}}
"""


class Lan:
    """An Ethernet segment, 192.0.2.0/24, with a bridge in a sandbox of its own. Owns the sandboxes made on it.

    One certificate serves every address, and every sandbox trusts it: control planes are reached by TLS, and tailscaled
    reads once, when it starts, whom to trust.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._used = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._hub = self._stack.enter_context(Sandbox(self._root, "hub"))
        self._hub.host_tool(["ip", "link", "add", "br0", "type", "bridge"])
        self._hub.host_tool(["ip", "link", "set", "br0", "up"])
        names = ",".join(f"IP:192.0.2.{number}" for number in range(1, 100))
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "/root/tls.key"]
        subject = ["-subj", "/CN=lab", "-addext", f"subjectAltName={names}"]
        self._hub.run(["openssl", "req", "-x509", "-days", "2", *key, *subject, "-out", "/root/tls.crt"])
        self.certificate = self._hub.read("/root/tls.crt")
        self.private_key = self._hub.read("/root/tls.key")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def sandbox(self, hostname: str, root: Path | None = None) -> tuple[Sandbox, str]:
        """A new sandbox on this segment, and its address there (on eth0)."""
        box = self._stack.enter_context(Sandbox(root or self._root, hostname))
        self._used += 1
        port, address = f"port{self._used}", f"192.0.2.{self._used}"
        peer = ["peer", "name", "eth0", "netns", str(box.pid)]
        self._hub.host_tool(["ip", "link", "add", port, "type", "veth", *peer])
        self._hub.host_tool(["ip", "link", "set", port, "master", "br0", "up"])
        box.address("eth0", f"{address}/24")
        # Leads nowhere, but tailscaled takes a host without a default route for one that is offline.
        box.host_tool(["ip", "route", "add", "default", "via", "192.0.2.254"])
        # Nor does anything answer there, but without a resolver to pass other names to tailscaled leaves names alone.
        box.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        box.write(bundle, box.read(bundle) + self.certificate)
        return box, address


class Node:
    """A host on the segment with one version of tailscaled, its socket and state where Debian's package has them."""

    def __init__(self, lan: Lan, hostname: str, *, version: str, root: Path | None = None) -> None:
        self.hostname = hostname
        self.version = version
        self.box, self.lan_address = lan.sandbox(hostname, root)
        self._daemon: subprocess.Popen[bytes] | None = None
        programs = binaries() / f"tailscale-{version}"
        self.box.bind(programs / "tailscale", "/usr/bin/tailscale")
        self.box.bind(programs / "tailscaled", "/usr/sbin/tailscaled")

    def start_tailscaled(self) -> None:
        """Starts the daemon and waits for its LocalAPI."""
        argv = ["/usr/sbin/tailscaled", "--state=/var/lib/tailscale/tailscaled.state", f"--socket={TAILSCALED_SOCKET}"]
        argv += ["--port=41641", "--no-logs-no-support"]
        self._daemon = self.box.popen(argv, "/var/log/tailscaled.log")
        wait_until(lambda: self.status()["BackendState"], 10, f"tailscaled answers on {self.hostname}")

    def stop_tailscaled(self) -> None:
        """Ends the daemon as a service manager would, and waits for it."""
        assert self._daemon is not None, "tailscaled is not running"
        self._daemon.terminate()
        self._daemon.wait(20)
        self._daemon = None

    def signal_tailscaled(self, number: signal.Signals) -> None:
        """Sends the running daemon a signal."""
        assert self._daemon is not None, "tailscaled is not running"
        self._daemon.send_signal(number)

    def ts(self, *arguments: str, user: str | None = None, check: bool = True, timeout: float = 30) -> str:
        """Runs tailscale(1) on the node and answers its standard output."""
        return self.box.run(["/usr/bin/tailscale", *arguments], user=user, check=check, timeout=timeout).stdout

    def status(self) -> dict[str, Any]:
        """`tailscale status --json`. Raises AssertionError while the daemon does not answer."""
        done = self.box.run(["/usr/bin/tailscale", "status", "--json"], check=False)
        if not done.stdout.startswith("{"):
            raise AssertionError(f"no status from {self.hostname}: {done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def join(self, tailnet: "Tailnet", key: str) -> None:
        """Logs the node in, starting the daemon when it does not run; returns when it is in the tailnet."""
        if self._daemon is None:
            self.start_tailscaled()
        url = f"--login-server={tailnet.url}"
        self.ts("up", url, f"--authkey={key}", f"--hostname={self.hostname}", "--timeout=20s")

    @property
    def addresses(self) -> list[str]:
        """The node's tailnet addresses: IPv4, then IPv6. Raises AssertionError while it has none."""
        found: list[str] = self.status()["Self"]["TailscaleIPs"] or []
        assert found, f"{self.hostname} has no tailnet address"
        return found

    @property
    def ipv4(self) -> str:
        """The node's 100.64.0.0/10 address."""
        return next(address for address in self.addresses if ":" not in address)

    @property
    def ipv6(self) -> str:
        """The node's fd7a:115c:a1e0::/48 address."""
        return next(address for address in self.addresses if ":" in address)

    @property
    def name(self) -> str:
        """The node's full MagicDNS name, without the final dot."""
        return str(self.status()["Self"]["DNSName"]).rstrip(".")

    def sees(self, others: Iterable["Node"]) -> bool:
        """Whether the node's daemon knows all the others as online."""
        online = {peer["HostName"] for peer in (self.status().get("Peer") or {}).values() if peer["Online"]}
        return online >= {other.hostname for other in others}


class Tailnet:
    """One headscale on a segment. Start it with `start`; it ends with the segment."""

    def __init__(self, lan: Lan, hostname: str = "control") -> None:
        self._lan = lan
        self.box, self.address = lan.sandbox(hostname)
        self.url = f"https://{self.address}:8443"
        self._daemon: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Installs headscale, starts it and waits until it serves."""
        self.box.bind(binaries() / f"headscale-{HEADSCALE_VERSION}" / "headscale", "/usr/bin/headscale")
        self.box.write("/etc/headscale/config.yaml", _CONFIG.format(address=self.address, domain=BASE_DOMAIN))
        self.box.write("/var/lib/headscale/.keep", "")
        self.box.write("/etc/headscale/tls.crt", self._lan.certificate)
        self.box.write("/etc/headscale/tls.key", self._lan.private_key, 0o600)
        self.serve()

    def serve(self) -> None:
        """Starts the daemon and waits until its command line is answered."""
        self._daemon = self.box.popen(["/usr/bin/headscale", "serve"], "/var/log/headscale.log")
        wait_until(self._answers, 15, "headscale serves", pause_seconds=0.1)

    def stop(self) -> None:
        """Ends the daemon as a service manager would, and waits for it: it may not go while nodes wait for answers."""
        assert self._daemon is not None, "headscale is not running"
        self._daemon.terminate()
        try:
            self._daemon.wait(10)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait(10)
        self._daemon = None

    def _answers(self) -> bool:
        if not self.box.exists("/run/headscale.sock"):
            return False
        return self.box.run(["/usr/bin/headscale", "users", "list"], check=False).returncode == 0

    def headscale(self, *arguments: str) -> Any:
        """Runs a headscale command and answers its JSON. Raises CommandFailed with what it said."""
        done = self.box.run(["/usr/bin/headscale", *arguments, "--force", "--output", "json"])
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError as err:
            raise CommandFailed(done.returncode, done.args, done.stdout, done.stderr) from err

    def add_user(self, name: str, email: str | None = None) -> None:
        """Makes a user of the control plane."""
        self.headscale("users", "create", name, *(["--email", email] if email else []))

    def user_key(self, user: str) -> str:
        """A reusable key that joins nodes as this user's."""
        number = next(found["id"] for found in self.headscale("users", "list") if found["name"] == user)
        return str(self.headscale("preauthkeys", "create", "--reusable", "--user", str(number))["key"])

    def tag_key(self, *tags: str) -> str:
        """A reusable key that joins nodes with these tags, owned by nobody."""
        return str(self.headscale("preauthkeys", "create", "--reusable", "--tags", ",".join(tags))["key"])

    def set_policy(self, policy: Mapping[str, Any]) -> None:
        """Puts a policy in force. Raises CommandFailed when headscale refuses it."""
        self.box.write("/etc/headscale/policy.json", json.dumps(policy))
        self.box.run(["/usr/bin/headscale", "policy", "set", "--file", "/etc/headscale/policy.json"])

    def node_id(self, node: Node) -> str:
        """The control plane's number of a node."""
        nodes = self.headscale("nodes", "list")
        return str(next(found["id"] for found in nodes if found["given_name"] == node.hostname))

    def expire(self, node: Node) -> None:
        """Ends the node's key: it has to log in again."""
        self.headscale("nodes", "expire", "--identifier", self.node_id(node))

    def unexpire(self, node: Node) -> None:
        """Lets the node's key never end. headscale keeps the expiry of a tagged node that logged out and in again."""
        self.headscale("nodes", "expire", "--disable", "--identifier", self.node_id(node))

    def delete(self, node: Node) -> None:
        """Removes the node from the tailnet."""
        self.headscale("nodes", "delete", "--identifier", self.node_id(node))

    def tag(self, node: Node, *tags: str) -> None:
        """Gives the node these tags, instead of an owner."""
        self.headscale("nodes", "tag", "--identifier", self.node_id(node), "--tags", ",".join(tags))


def join_all(tailnet: Tailnet, members: Sequence[tuple[Node, str]]) -> None:
    """Joins nodes with their keys, side by side, and waits until each sees all the others."""
    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(lambda member: member[0].join(tailnet, member[1]), members))
    nodes = [node for node, _ in members]
    for node in nodes:
        others = [other for other in nodes if other is not node]
        wait_until(lambda n=node, o=others: n.sees(o), 15, f"{node.hostname} sees all others")  # type: ignore[misc]
