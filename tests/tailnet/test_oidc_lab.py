"""The laboratory again: headscale with an OpenID provider, and a person at a browser; nothing of ours."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support import identity_provider as idp
from tests.support.browser import Browser
from tests.support.certificates import Certificate
from tests.support.identity_provider import IdentityProvider
from tests.support.person import (
    CONSENT,
    HEADSCALE_ERROR,
    NODE_REGISTERED,
    REGISTER_NODE,
    SIGN_IN,
    SSH_AUTHORIZED,
    Person,
)
from tests.support.roots import debian_root
from tests.support.sandbox import Sandbox
from tests.support.tailnet import Lan, Node, Tailnet
from tests.support.waiting import wait_until

# One worker: there is one browser, and it is large.
pytestmark = pytest.mark.xdist_group("identity-provider")

CONFIG = "/etc/headscale/config.yaml"
CHECK: Mapping[str, Any] = {
    "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
    "ssh": [{"action": "check", "src": ["autogroup:member"], "dst": ["autogroup:self"], "users": ["root"]}],
}


@dataclass(frozen=True, slots=True)
class Lab:
    """A control plane whose people come from the provider, two hosts that are not in it yet, and a browser."""

    control: Tailnet
    browser: Browser
    server: Node
    laptop: Node

    def url(self, box: Sandbox, log: str) -> str:
        """The address that a program wrote into its log for a person to open."""
        found: list[str] = wait_until(lambda: re.findall(r"https://\S+", box.read(log)), 15, f"an address in {log}")
        return found[0]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Everything, started once."""
    with ExitStack() as stack:
        lan = stack.enter_context(Lan(debian_root("bookworm")))
        control = Tailnet(lan)
        provider_box, address = lan.sandbox("provider")
        desk, _ = lan.sandbox("desk")
        certificate = Certificate(lan.certificate, lan.private_key)
        client = idp.headscale_client(control.url)
        provider = stack.enter_context(IdentityProvider(provider_box, address, certificate, client))
        browser = stack.enter_context(Browser(desk, certificate.key_hash))
        control.start()
        control.stop()
        control.box.write(CONFIG, control.box.read(CONFIG) + provider.headscale_settings())
        control.serve()
        control.set_policy(CHECK)
        # The last release here that has an SSH server of its own (tests/lab/build-binaries).
        yield Lab(control, browser, *(Node(lan, name, version="1.102.5") for name in ("server", "laptop")))


def test_a_person_joins_nodes_and_approves_a_check(lab: Lab) -> None:
    """With Tailscale's own SSH server: only the owner of the node from which it comes can approve."""
    alice = Person(lab.browser, idp.ALICE)
    for node, options in ((lab.server, ["--ssh"]), (lab.laptop, [])):
        node.start_tailscaled()
        argv = [
            "/usr/bin/tailscale",
            "up",
            f"--login-server={lab.control.url}",
            f"--hostname={node.hostname}",
            *options,
        ]
        joining = node.box.popen(argv, "/var/log/up.log")
        visit = alice.approve(lab.url(node.box, "/var/log/up.log"))
        assert visit.pages[-2:] == (REGISTER_NODE, NODE_REGISTERED)
        assert joining.wait(20) == 0
    wait_until(lambda: lab.laptop.sees([lab.server]), 15, "the laptop sees the server")
    assert [user["email"] for user in lab.control.headscale("users", "list")] == [idp.ALICE.email]

    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    login = lab.laptop.box.popen(["ssh", *options, f"root@{lab.server.ipv4}", "true"], "/var/log/ssh.log")
    url = lab.url(lab.laptop.box, "/var/log/ssh.log")
    for account, end in ((idp.MALLORY, HEADSCALE_ERROR), (idp.ALICE, SSH_AUTHORIZED)):
        assert login.poll() is None
        lab.browser.forget()
        assert Person(lab.browser, account).approve(url).pages == (SIGN_IN, CONSENT, end)
    assert login.wait(20) == 0
