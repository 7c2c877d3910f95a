"""The members of a real tailnet that have our product installed, and logging in from one to another with stock ssh."""

import json
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.client import Client
from tests.support.host import Host
from tests.support.roots import Suite, debian_root
from tests.support.shims import build_shims
from tests.support.tailnet import Lan, Node, Tailnet, join_all
from tests.support.waiting import wait_until

REFUSAL = "tailnet policy does not permit you to SSH"
"""What headscale's own tests look for in a refusal (integration/ssh_test.go, isSSHNoAccessStdError)."""

ACCOUNTS = ("ssh-it-user", "user1", "user2")
"""Accounts on every server, beside alice, bob, decoy and root."""

Policy = Mapping[str, Any]

EVERYBODY_EVERYWHERE: list[dict[str, Any]] = [{"action": "accept", "src": ["*"], "dst": ["*:*"]}]
TAG_OWNERS = {"tag:server": ["user1@"], "tag:ci": ["user1@"]}


def make_policy(
    *ssh: Mapping[str, Any],
    acls: Sequence[Mapping[str, Any]] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Policy:
    """A policy with these ssh rules, in which every connection reaches every port unless `acls` say otherwise."""
    network = list(acls) or EVERYBODY_EVERYWHERE
    return {"tagOwners": TAG_OWNERS, "groups": groups or {}, "acls": network, "ssh": list(ssh)}


def accept(src: Sequence[str], dst: Sequence[str], *users: str) -> dict[str, Any]:
    """An ssh rule of the policy that accepts."""
    return {"action": "accept", "src": list(src), "dst": list(dst), "users": list(users)}


def check(src: Sequence[str], dst: Sequence[str], *users: str, period: str = "12h") -> dict[str, Any]:
    """An ssh rule of the policy that asks for a check."""
    return {"action": "check", "src": list(src), "dst": list(dst), "users": list(users), "checkPeriod": period}


_ANYBODY = (*ACCOUNTS, "alice", "bob", "root")

# headscale has no rule that lets tagged nodes reach people's devices.
OPEN = make_policy(
    accept(["autogroup:member"], ["autogroup:member", "autogroup:tagged"], *_ANYBODY),
    accept(["autogroup:tagged"], ["autogroup:tagged"], *_ANYBODY),
)
"""Everybody may be everybody everywhere, except decoy."""


@dataclass(frozen=True, slots=True)
class Login:
    """What came of `ssh USER@TARGET hostname`."""

    status: int
    stdout: str
    stderr: str

    @property
    def accepted(self) -> bool:
        return self.status == 0

    @property
    def refused(self) -> bool:
        """The server said no, and the person was told that it was the tailnet's policy."""
        return self.status != 0 and not self.stdout and REFUSAL in self.stderr

    @property
    def unreachable(self) -> bool:
        """No answer came to the connection at all."""
        return self.status != 0 and not self.stdout and "timed out" in self.stderr


def ssh(
    source: Node, user: str, target: str, *options: str, connect_timeout: int = 5, command: str = "hostname"
) -> Login:
    """Logs in as headscale's own tests do: stock ssh, no key, no password, no terminal."""
    argv = ["/usr/bin/ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    argv += ["-o", f"ConnectTimeout={connect_timeout}", "-o", "PubkeyAuthentication=no"]
    # 9.2's own choice costs a tenth of a second of CPU at both ends.
    argv += ["-o", "KexAlgorithms=curve25519-sha256", *options, f"{user}@{target}", command]
    done = source.box.run(argv, check=False, timeout=60)
    return Login(done.returncode, done.stdout, done.stderr)


class Members:
    """A tailnet with two people's devices, a tagged server and a tagged runner, all of one pair of releases.

    `u1a`, `u1b` are user1's devices, `u2a`, `u2b` user2's, `srv` is tag:server: our product runs on each.
    `ci` is tag:ci and only logs in.
    """

    def __init__(self, suite: Suite, version: str) -> None:
        self.suite = suite
        self.version = version
        self.hosts: dict[str, Host] = {}
        self.nodes: dict[str, Node] = {}
        self._clients: dict[str, Client] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.lan = stack.enter_context(Lan(debian_root(self.suite)))
            self.tailnet = Tailnet(self.lan)
            self.tailnet.start()
            for user in ("user1", "user2"):
                self.tailnet.add_user(user, f"{user}@headscale.net")
            self.tailnet.set_policy(OPEN)
            self.keys = {user: self.tailnet.user_key(user) for user in ("user1", "user2")}
            self.keys |= {tag: self.tailnet.tag_key(tag) for tag in ("tag:server", "tag:ci")}
            owners = {"srv": "tag:server", "u1a": "user1", "u1b": "user1", "u2a": "user2", "u2b": "user2"}
            for name in (*owners, "ci"):
                self.nodes[name] = Node(self.lan, name, version=self.version)
            join_all(self.tailnet, [(node, self.keys[owners.get(name, "tag:ci")]) for name, node in self.nodes.items()])
            self._install(stack, list(owners))
            self._stack = stack.pop_all()
        return self

    def _install(self, stack: ExitStack, names: Sequence[str]) -> None:
        shims = build_shims(self.suite)

        def install(name: str) -> Host:
            host = Host(self.nodes[name].box, shims)
            for account in ACCOUNTS:
                host.box.add_user(account)
            return host

        with ThreadPoolExecutor(2) as pool:
            self.hosts = dict(zip(names, pool.map(install, names), strict=True))
            for host in self.hosts.values():
                stack.callback(host.close)
            list(pool.map(_start, self.hosts.values()))

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def device(self, name: str, key: str) -> Node:
        """A new node that only logs in, joined with the key of a user or tag; it sees and is seen by `srv`."""
        node = Node(self.lan, name, version=self.version)
        node.join(self.tailnet, self.keys[key])
        self.nodes[name] = node
        server = self.nodes["srv"]
        wait_until(lambda: node.sees([server]) and server.sees([node]), 15, f"{name} and srv see each other")
        return node

    def login(self, source: str, user: str, server: str, *options: str, by_name: bool = False) -> Login:
        """`ssh USER@SERVER hostname` over the tailnet, by address or by MagicDNS name."""
        node = self.nodes[server]
        return ssh(self.nodes[source], user, node.name if by_name else node.ipv4, *options)

    def login_at(self, source: str, user: str, target: str, *options: str) -> Login:
        """`ssh USER@TARGET hostname` to any address."""
        return ssh(self.nodes[source], user, target, *options)

    def with_password(self, source: str, user: str, target: str, password: str) -> Login:
        """The same, by a person who types this password at every prompt."""
        client = self._clients.setdefault(source, Client(self.nodes[source].box))
        done = client.ssh(user, target, command="hostname", password=password)
        return Login(done.returncode, done.stdout, done.stderr)

    def until(
        self, wanted: Callable[[Login], bool], source: str, user: str, server: str, *, deadline: float = 10
    ) -> Login:
        """Logs in again and again until it comes out as wanted; answers that login."""
        last: list[Login] = []

        def attempt() -> bool:
            last[:] = [self.login(source, user, server)]
            assert wanted(last[0]), last[0]
            return True

        what = f"{source} logging in to {user}@{server} comes out as the policy says"
        try:
            wait_until(attempt, deadline, what)
        except AssertionError as err:
            err.add_note(self.report(server))
            raise
        return last[0]

    def put_in_force(self, policy: Policy, witnesses: Mapping[str, tuple[str, str]]) -> None:
        """Sets a policy and waits until it counts on every server that has a witness.

        A witness is a source and an account that the policy refuses there. It is first let in under the open policy, so
        that its refusal shows the new policy and nothing older.
        """
        self.tailnet.set_policy(OPEN)
        for server, (source, user) in witnesses.items():
            self.until(lambda login: login.accepted, source, user, server)
        self.tailnet.set_policy(policy)
        for server, (source, user) in witnesses.items():
            self.until(lambda login: not login.accepted, source, user, server)

    def reason(self, server: str, user: str, source: str) -> str:
        """Why the agent of a server decides as it does about an address, whether or not a connection comes about."""
        done = self.hosts[server].cli("explain", user, "--from", source, "--json", check=False)
        assert done.stdout.startswith("{"), f"explain said nothing: {done.stderr}"
        return str(json.loads(done.stdout)["reason"])

    def until_reason(
        self, wanted: Container[str], server: str, user: str, source: str, *, deadline: float = 15
    ) -> None:
        """Waits until the agent's reason is one of these."""

        def asked() -> bool:
            found = self.reason(server, user, source)
            assert found in wanted, found
            return True

        wait_until(asked, deadline, f"the agent's reason about {user} from {source} is {wanted}")

    def report(self, server: str) -> str:
        """What a server knows and logged, for a failing test."""
        host, node = self.hosts[server], self.nodes[server]
        status = host.cli("status", "--json", check=False).stdout
        agent = host.box.read("/var/log/agent.log")[-2000:]
        tailscaled = node.box.read("/var/log/tailscaled.log")[-2000:]
        decisions = "\n".join(host.decisions()[-6:])
        return f"--- {server}\n{status}\n--- decisions\n{decisions}\n--- agent\n{agent}\n--- tailscaled\n{tailscaled}"


def _start(host: Host) -> None:
    host.start_reader()
    host.pin()
    host.start_agent()
    host.start_sshd()
