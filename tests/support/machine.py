"""A Debian host of a tailnet as an administrator has it: booted, with tailscaled as a service, and accounts."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.booted import Booted, booted_root
from tests.support.client import Client
from tests.support.members import accept, check, make_policy
from tests.support.namespaces import CLONE_NEWNET
from tests.support.roots import Suite, debian_root
from tests.support.tailnet import TAILSCALED_SOCKET, Lan, Node, Tailnet, join_all
from tests.support.waiting import wait_until

TAILSCALE = "1.104.5"
PASSWORD = "user-password"
ROOT_PASSWORD = "root-password"

PRETENDED, PRETENDER = "100.64.200.1", "100.64.200.2"
"""Addresses of a machine and of its neighbour where the LAN is made to look like a tailnet."""

DROP_IN = "/etc/ssh/sshd_config.d/10-pam-tailscale.conf"
INSTALL = "apt-get install --yes /root/*.deb"
ENABLE = "pam-tailscale enable --yes"
"""The two commands of an administrator."""

# As in Tailscale's own package (cmd/tailscaled/tailscaled.service), without its defaults file and sandboxing.
_TAILSCALED_UNIT = f"""\
[Unit]
Description=Tailscale node agent
Wants=network-pre.target
After=network-pre.target

[Service]
Type=notify
ExecStart=/usr/sbin/tailscaled --state=/var/lib/tailscale/tailscaled.state --socket={TAILSCALED_SOCKET} --port=41641 \
--no-logs-no-support
ExecStopPost=/usr/sbin/tailscaled --cleanup
Restart=on-failure
RuntimeDirectory=tailscale
RuntimeDirectoryMode=0755
StateDirectory=tailscale
StateDirectoryMode=0700

[Install]
WantedBy=multi-user.target
"""


class Machine(Node):
    """A Debian host. `box` is what runs on it; while it is off, its disk.

    Accounts: alice and bob with PASSWORD, root with ROOT_PASSWORD, decoy with an empty one. Its sshd is as Debian has
    it, but from 9.8 on does not shut out sources that fail to log in: tests do so all the time.
    """

    def __init__(self, lan: Lan, hostname: str, suite: Suite) -> None:
        super().__init__(lan, hostname, version=TAILSCALE, root=booted_root(suite))
        self.disk = self.box
        self.suite = suite
        self.known_ipv4 = ""
        """Its tailnet address, as everybody knows it, whether or not it has it at the moment."""
        self._booted = Booted(self.disk, ["/usr/bin/tailscale", "/usr/sbin/tailscaled"])
        self.disk.write("/usr/lib/systemd/system/tailscaled.service", _TAILSCALED_UNIT)
        if self.has_service_names:
            self.disk.write("/etc/ssh/sshd_config.d/50-local.conf", "PerSourcePenalties no\n")
        self.disk.set_password("root", ROOT_PASSWORD)
        for name, password in {"alice": PASSWORD, "bob": PASSWORD, "decoy": ""}.items():
            self.disk.add_user(name, password=password)

    @property
    def has_service_names(self) -> bool:
        """Whether this sshd knows PAMServiceName, so that the PAM half is a file of its own (from 9.8)."""
        return self.suite != "bookworm"

    @property
    def pam_half(self) -> str:
        """The file our PAM half is in."""
        return "/etc/pam.d/sshd-tailscale" if self.has_service_names else "/etc/pam.d/sshd"

    # Running

    def boot(self) -> None:
        """Switches it on and waits until it is up."""
        self._booted.boot()
        self.box = self._booted.system

    def shut_down(self) -> None:
        """Switches it off as an administrator does."""
        self.box = self.disk
        self._booted.shut_down()

    def reboot(self) -> None:
        """Down, and up again."""
        self.shut_down()
        self.boot()

    def close(self) -> None:
        """Pulls the plug."""
        self.box = self.disk
        self._booted.close()

    def start_tailscaled(self) -> None:
        """Starts the daemon, also at each boot, and waits for its LocalAPI."""
        self.run("systemctl enable --quiet --now tailscaled")
        wait_until(lambda: self.status()["BackendState"], 10, f"tailscaled answers on {self.hostname}")

    def stop_tailscaled(self) -> None:
        """Ends the daemon, until the next boot."""
        self.run("systemctl stop tailscaled")

    # What an administrator does

    def run(self, command: str, *, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A command line of root's, in a shell."""
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        return self.box.run(["sh", "-euc", command], env=env, check=check, timeout=timeout)

    def bring(self, packages: Sequence[Path]) -> None:
        """Puts package files into /root, in place of those that are there."""
        self.run("rm -f /root/*.deb")
        for package in packages:
            self.box.write(f"/root/{package.name}", package.read_bytes())

    def installed(self, package: str) -> str:
        """The version of a package that is installed; empty where it is not."""
        asked = self.run(f"dpkg-query -W -f '${{db:Status-Status}} ${{Version}}' {package}", check=False).stdout
        state, _, version = asked.partition(" ")
        return version if state == "installed" else ""

    def failed_units(self) -> list[str]:
        """Units that systemd calls failed."""
        return self.run("systemctl list-units --failed --plain --no-legend").stdout.split()[::5]

    def report(self) -> str:
        """What the machine knows and logged, for a failing test."""
        asked = "pam-tailscale status; ls -l /etc/ssh/sshd_config.d /etc/pam.d/sshd*; journalctl -n 60 --no-pager"
        return self.run(asked, check=False).stdout


class Site:
    """A control plane, alice's and bob's laptops, and a neighbour, which is on the LAN alone. A context manager.

    The policy lets alice be alice and root on the machines, and bob be bob after a check. That is all.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.lan = stack.enter_context(Lan(debian_root("bookworm")))
            self.tailnet = Tailnet(self.lan)
            self.tailnet.start()
            for name in ("alice", "bob"):
                self.tailnet.add_user(name, f"{name}@example.com")
            servers = ["tag:server"]
            rules = (accept(["alice@"], servers, "alice", "root"), check(["bob@"], servers, "bob"))
            self.tailnet.set_policy(make_policy(*rules))
            self.alices = Node(self.lan, "alice-laptop", version=TAILSCALE)
            self.bobs = Node(self.lan, "bob-laptop", version=TAILSCALE)
            key = self.tailnet.user_key
            join_all(self.tailnet, [(self.alices, key("alice")), (self.bobs, key("bob"))])
            neighbour, _ = self.lan.sandbox("neighbour")
            self.clients = {
                "alice's laptop": Client(self.alices.box),
                "bob's laptop": Client(self.bobs.box),
                "the LAN": Client(neighbour),
                "a pretender": Client(neighbour),
            }
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def machine(self, hostname: str, suite: Suite) -> Machine:
        """A Debian host, up and in the tailnet; it is switched off with the site, or before."""
        machine = Machine(self.lan, hostname, suite)
        self._stack.callback(machine.close)
        machine.boot()
        self.join(machine)
        return machine

    def join(self, machine: Machine) -> None:
        """Has a machine join, and waits until the laptop reaches it."""
        machine.join(self.tailnet, self.tailnet.tag_key("tag:server"))
        machine.known_ipv4 = machine.ipv4
        self.wait_for(machine)

    def wait_for(self, machine: Machine) -> None:
        """Waits until sshd of a machine answers both laptops over the tailnet."""
        for laptop in (self.alices, self.bobs):
            what = f"{laptop.hostname} reaches {machine.hostname}"
            wait_until(lambda one=laptop: _answers(one, machine.known_ipv4), 30, what)  # type: ignore[misc]

    @contextmanager
    def pretended(self, machine: Machine) -> Iterator[None]:
        """The neighbour comes to the machine over the LAN, from one address of the tailnet to another."""
        ends = {self.clients["a pretender"].box: PRETENDER, machine.disk: PRETENDED}
        for box, address in ends.items():
            box.address("eth0", f"{address}/24")
        try:
            yield
        finally:
            for box, address in ends.items():
                box.host_tool(["ip", "address", "delete", f"{address}/24", "dev", "eth0"])


def _answers(node: Node, address: str) -> bool:
    """Whether a node reaches sshd at an address."""

    # Not tailscale(1)'s ping: it goes on asking a peer that has started again by what was known of it before.
    def connect() -> bool:
        with socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"

    return node.box.inside(connect, CLONE_NEWNET)
