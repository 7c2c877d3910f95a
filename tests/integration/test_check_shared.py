"""Check mode on many hosts that share a store: a real Redis (Debian 12) or Valkey (Debian 13), which nobody trusts."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from pam_tailscale.check.evidence import person_key
from pam_tailscale.check.oidc import scope_of
from pam_tailscale.config import OidcConfig
from tests.integration.expect import let_in, refused
from tests.support import identity_provider as idp
from tests.support.agents import MoreAgents
from tests.support.check_mode import CA_FILE, CheckMode
from tests.support.host import Host
from tests.support.redis_server import TLS_PORT, RedisServer
from tests.support.roots import Suite
from tests.support.scene import LAN_DEVICE, Scene, tailnet_address
from tests.support.second_host import SecondHost
from tests.support.tokens import SigningKey, rsa_key, sign
from tests.support.waiting import wait_until

# One worker: there is one browser, and it is large.
pytestmark = pytest.mark.xdist_group("identity-provider")

ALICE, BOB = "alice@example.com", "bob@example.com"
PASSWORD, PASSWORD_FILE = "store-password-of-the-tests", "/etc/pam-tailscale/store-password"
HOSTS = 20
# Each agent stands for a host: the two that have a sandbox of their own are among them.
BESIDE = HOSTS - 2


@pytest.fixture(scope="module", params=get_args(Suite))
def suite(request: pytest.FixtureRequest) -> Suite:
    """As in conftest.py, but all on one worker."""
    chosen: Suite = request.param
    return chosen


@dataclass(frozen=True, slots=True)
class Organisation:
    """Hosts, provider and store, all on one LAN."""

    mode: CheckMode
    store: RedisServer
    second: SecondHost

    @property
    def scene(self) -> Scene:
        return self.mode.scene

    def configuration(self, *, socket: str | None = None, **check: Any) -> str:
        """Of an agent that uses the store."""
        place = {"address": f"{LAN_DEVICE[4]}:{TLS_PORT}", "ca_file": CA_FILE, "password_file": PASSWORD_FILE}
        agent = {"socket": socket} if socket else {}
        return self.mode.configuration(check=check, store=place, agent=agent)

    def begin(self, **check: Any) -> None:
        """Everything as on the first day, both hosts and the store."""
        self.store.kill()
        self.store.start()
        self.mode.begin(self.configuration(**check))
        self.second.host.stop_agent()
        self.second.host.box.run(["rm", "-rf", "/var/lib/pam-tailscale/agent"])
        self.second.restart_agent(self.configuration())

    def passes(self, user: str = "alice", account: idp.Account = idp.ALICE) -> None:
        """Somebody passes a check on the first host."""
        node = self.scene.nodes.alice if user == "alice" else self.scene.nodes.bob
        self.mode.browser.forget()
        with self.scene.waiting_login(user, node) as login:
            self.mode.pass_check(login, account)

    def slot(self, person: str, number: int = 0) -> str:
        """What a token of a person is called in the store."""
        settings = OidcConfig(issuer=self.mode.provider.issuer, client_id=idp.PUBLIC.client_id)
        return f"pam-tailscale:token:{person_key(scope_of(settings), person)}:{number}"

    def token(self, person: str) -> str:
        """The token that the hosts have put there."""
        found = [self.store.cli("GET", self.slot(person, number)) for number in range(4)]
        return next(value for value in found if value).partition(" ")[2]

    def put(self, token: str | bytes, number: int = 0, *, person: str = ALICE) -> None:
        """Somebody who may write to the store puts a token there, as the newest one."""
        data = token.encode() if isinstance(token, str) else token
        self.store.put(self.slot(person, number), b"%018.7f %s" % (time.time(), data))

    def asked_everywhere(self) -> None:
        """No host lets alice in without a check."""
        refused(self.scene.login("alice"))
        refused(self.second.login("alice"))
        for host in (self.scene.host, self.second.host):
            assert "reason=check_needed" in host.decisions()[-1]


def know_the_password(host: Host) -> None:
    """The store's password, readable by the agent alone."""
    agent = host.box.account("pam-tailscale")
    host.box.write(PASSWORD_FILE, PASSWORD + "\n", 0o600, agent.uid, agent.gid)


@pytest.fixture(scope="module")
def running(scene: Scene, suite: Suite) -> Iterator[Organisation]:
    """Everything, started once."""
    with ExitStack() as stack:
        mode = stack.enter_context(CheckMode(scene))
        certificate, options = mode.authority.issue(LAN_DEVICE[4]), {"bind": LAN_DEVICE[4], "port": "0"}
        box = scene.client.box
        store = stack.enter_context(
            RedisServer(box, password=PASSWORD, certificate=certificate, options=options, port=0)
        )
        second = stack.enter_context(SecondHost(scene, suite, mode.rules()))
        mode.trust(second.host)
        for host in (scene.host, second.host):
            know_the_password(host)
        yield Organisation(mode, store, second)


@pytest.fixture
def hosts(running: Organisation) -> Organisation:
    """Nobody has passed a check."""
    running.begin()
    return running


def test_one_approval_then_twenty_hosts_and_one_word_closes_them(hosts: Organisation) -> None:
    """Whoever was checked on one host is let in by all of them unasked; forgotten on one, they hear it within 10 s."""
    begun, ends = hosts.mode.begun(), (hosts.scene.nodes.alice.addresses[0], tailnet_address(1, 4))
    with MoreAgents(
        hosts.scene.host, BESIDE, lambda store, socket: hosts.configuration(store=store, socket=socket)
    ) as agents:
        assert {agents.decide(number, "alice", *ends) for number in agents.numbers} == {"check"}
        hosts.passes()
        let_in(hosts.second.login("alice"))
        let_in(hosts.second.login("root"))
        assert [agents.decide(number, "alice", *ends) for number in agents.numbers] == ["allow"] * BESIDE
        assert [agents.decide(number, "root", *ends) for number in agents.numbers] == ["allow"] * BESIDE
        assert hosts.mode.begun() == begun + 1
        done = hosts.second.host.cli("check", "--forget", ALICE)
        assert "not reached" not in done.stdout

        def all_have_heard() -> bool:
            refused(hosts.scene.login("alice"))
            refused(hosts.second.login("alice"))
            return {agents.decide(number, "alice", *ends) for number in agents.numbers} == {"check"}

        wait_until(all_have_heard, 10, "every host has heard")


@pytest.mark.parametrize("fails", ["killed", "stopped"])
def test_the_store_fails(hosts: Organisation, fails: str) -> None:
    """Known people get in where they are known; where they are not, they are asked, and let in."""
    hosts.passes()
    if fails == "killed":
        hosts.store.kill()
    else:
        hosts.store.stop()
    try:
        let_in(hosts.scene.login("alice"))
        refused(hosts.second.login("alice"))
        with hosts.second.waiting_login() as login:
            hosts.mode.approve(login.page())
            hosts.mode.let_in(login)
        let_in(hosts.second.login("alice"))
        done = hosts.second.host.cli("check", "--forget", ALICE, check=False)
        assert (done.returncode, "other hosts" in done.stdout) == (1, True)
        refused(hosts.second.login("alice"))
    finally:
        if fails == "stopped":
            hosts.store.resume()


UNWRITABLE = {
    "full": ["CONFIG SET maxmemory 1kb", "CONFIG SET maxmemory-policy noeviction"],
    "a read-only replica": ["REPLICAOF 192.0.2.99 1"],
    "without its replicas": ["CONFIG SET min-replicas-to-write 1"],
}


@pytest.mark.parametrize("commands", UNWRITABLE.values(), ids=UNWRITABLE.keys())
def test_nothing_can_be_written(hosts: Organisation, commands: list[str]) -> None:
    """A check that is passed counts on this host, others ask, and the administrator is told."""
    for command in commands:
        hosts.store.cli(*command.split())
    hosts.passes()
    let_in(hosts.scene.login("alice"))
    refused(hosts.second.login("alice"))
    assert hosts.scene.checks()["problem"]
    assert [one["person"] for one in hosts.scene.checks()["valid"]] == [ALICE]


def test_forged_and_foreign_entries_let_nobody_in(hosts: Organisation) -> None:
    """Whatever is under alice's name: another person's good token, one by another signer, of another issuer, or junk.

    Nor do they stand before her own.
    """
    hosts.passes("bob", idp.BOB)
    now, bobs = int(time.time()), hosts.token(BOB)
    let_in(hosts.scene.login("bob", hosts.scene.nodes.bob))
    signer = SigningKey("attacker", "RS256", rsa_key(7))
    claims: dict[str, Any] = {
        "iss": hosts.mode.provider.issuer,
        "aud": idp.PUBLIC.client_id,
        "sub": "1001",
        "email": ALICE,
    }
    claims |= {"email_verified": True, "iat": now, "exp": now + 300, "auth_time": now}
    head, body, signature = sign(signer, claims).split(".")
    forged: list[str | bytes] = [
        bobs,
        f"{head}.{body}.{signature}",
        sign(signer, {**claims, "iss": "https://login.attacker.example"}),
        f"{bobs.split('.')[0]}.{body}.{bobs.split('.')[2]}",
        sign(signer, claims, alg="none"),
        b"\xff" * 300_000,
        b"",
    ]
    for entry in forged:
        hosts.put(entry)
        hosts.asked_everywhere()
    hosts.store.cli("DEL", hosts.slot(ALICE))
    hosts.store.cli("RPUSH", hosts.slot(ALICE), bobs)
    hosts.asked_everywhere()
    hosts.passes()
    for number, entry in enumerate(forged[:3]):
        hosts.put(entry, number + 1)
    let_in(hosts.second.login("alice"))


def test_old_entries_let_nobody_in(running: Organisation) -> None:
    """A token that counts on a host with a week's period is too old for one that has twelve hours."""
    running.begin(period="168h")
    running.mode.provider.alter_tokens({"auth_time": int(time.time()) - 13 * 3600})
    running.passes()
    let_in(running.scene.login("alice"))
    assert running.token(ALICE)
    refused(running.second.login("alice"))
    assert "reason=check_needed" in running.second.host.decisions()[-1]


IGNORES_FORGETTING = """
from pam_tailscale.agent import app
from pam_tailscale.check import local
local.SqliteStore.not_before = lambda self, key: 0.0
app.main()
"""


def test_what_was_forgotten_does_not_come_back(hosts: Organisation) -> None:
    """Somebody rolls the store back to before a forgetting: each host that has heard of it remembers.

    An agent that did not remember would let her in.
    """
    hosts.passes()
    token = hosts.token(ALICE)
    let_in(hosts.second.login("alice"))
    hosts.scene.host.cli("check", "--forget", ALICE)
    wait_until(lambda: hosts.second.login("alice").returncode == 255, 10, "the second host has heard")
    hosts.store.cli("FLUSHALL")
    hosts.put(token)
    hosts.asked_everywhere()
    hosts.scene.restart_agent()
    hosts.asked_everywhere()
    hosts.scene.restart_agent(wrapper=IGNORES_FORGETTING)
    let_in(hosts.scene.login("alice"))
