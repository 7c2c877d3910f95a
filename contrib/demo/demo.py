"""The main job, shown on this machine in half a minute: `make demo`, or `python3 -m contrib.demo.demo` in the checkout.

Debian's sshd, the PAM module, the key helper and the agent run in namespaces on a private, writable layer over the
files of this machine, with an embedded tailnet of a few people. Nothing of the machine itself is changed. Each login is
printed, with what came of it; the exit status is 1 if one did not end as expected. Needs root.
"""

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from contrib.demo.debs import openssh_server
from tests.support.host import ROOT_PASSWORD
from tests.support.roots import PROJECT
from tests.support.sandbox import Sandbox
from tests.support.scene import LAN, LAN_DEVICE, Scene, tailnet_address
from tests.support.shims import build_shims_on

ROOT = Path("/")
PERSON = "person"
"""The account that runs ssh on the device: one without keys or settings of this machine's."""
FORBIDDEN = "tailnet policy does not permit"
LATER = "try again later"

_SSH_CONFIG = """\
Host *
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel INFO
    ConnectTimeout 10
"""

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Login:
    """One login, and what must come of it."""

    what: str
    arguments: str
    """The arguments of ssh."""
    says: str = ""
    """What the command prints when the login succeeds; empty for one that must be refused."""
    told: str = ""
    """What the person must read."""


def via(source: str) -> str:
    """Options of ssh for a login from one of the device's addresses, in which nothing may be asked."""
    return f"-o BatchMode=yes -b {source}"


def first_act(scene: Scene) -> list[Login]:
    """While everything runs."""
    alice, bob, stranger = scene.nodes.alice, scene.nodes.bob, scene.nodes.stranger
    return [
        Login("alice, from her laptop, as herself", f"{via(alice.addresses[0])} alice@server id -un", "alice"),
        Login("alice as root: her rule says so", f"{via(alice.addresses[0])} root@server id -un", "root"),
        Login("alice over IPv6", f"{via(alice.addresses[1])} alice@server6 id -un", "alice"),
        Login("bob, from his laptop, as himself", f"{via(bob.addresses[0])} bob@server id -un", "bob"),
        Login("bob as alice: refused, and told why", f"-b {bob.addresses[0]} alice@server id -un", told=FORBIDDEN),
        Login("bob as root: refused", f"-b {bob.addresses[0]} root@server id -un", told=FORBIDDEN),
        Login(
            "a device the tailnet does not know, to an account without password",
            f"-b {stranger.addresses[0]} decoy@server id -un",
            told=FORBIDDEN,
        ),
        *lan_logins("as before"),
    ]


def lan_logins(how: str) -> list[Login]:
    """Logins that do not come over the tailnet."""
    lan = via(LAN_DEVICE[4])
    return [
        Login(f"over the LAN, with a key: {how}", f"{lan} -i ~/key alice@server.lan id -un", "alice"),
        Login(f"over the LAN, without: {how}", f"{lan} alice@server.lan id -un", told="Permission denied"),
    ]


def second_act(scene: Scene) -> list[Login]:
    """While the agent is down."""
    alice = scene.nodes.alice.addresses[0]
    return [
        Login("the agent is stopped: alice is refused", f"-b {alice} alice@server id -un", told=LATER),
        Login("and so is whoever has no password", f"-b {alice} decoy@server id -un", told=LATER),
        *lan_logins("not concerned"),
    ]


def third_act(scene: Scene) -> list[Login]:
    """When the agent is back."""
    alice = scene.nodes.alice.addresses[0]
    return [Login("the agent is back: alice is let in", f"{via(alice)} alice@server id -un", "alice")]


def prepare_server(box: Sandbox) -> None:
    """Gives the server an sshd as Debian ships it, if this machine has none or has its own settings."""
    if not box.exists("/usr/sbin/sshd"):
        box.bind(openssh_server(), "/run/packages")
        # As in any image that is being built: packages may not start anything.
        box.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
        command = "dpkg --force-confnew -i /run/packages/*.deb"
        box.run(["sh", "-c", command], env={"DEBIAN_FRONTEND": "noninteractive"}, timeout=300)
    settings = "cp /usr/share/openssh/sshd_config /etc/ssh/sshd_config; find /etc/ssh/sshd_config.d -type f -delete"
    keys = "find /etc/ssh -name 'ssh_host_*' -delete; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"
    box.run(["sh", "-euc", f"{settings}; {keys}"])
    # The agent gives up root early and must still be able to read the Python it runs on.
    for directory in (Path(sys.base_prefix), *Path(sys.base_prefix).parents):
        box.run(["chmod", "a+x", str(directory)])


def prepare_device(scene: Scene) -> None:
    """Makes the account that runs ssh, its key, and names for the server's addresses."""
    box = scene.client.box
    account = box.add_user(PERSON)
    box.write(f"{account.home}/.ssh/config", _SSH_CONFIG)
    names = f"{tailnet_address(1, 4)} server\n{tailnet_address(1, 6)} server6\n{LAN[4]} server.lan\n"
    box.write("/etc/hosts", box.read("/etc/hosts") + names)
    box.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", f"{account.home}/key"], user=PERSON)
    alice = scene.host.box.account("alice")
    public = box.read(f"{account.home}/key.pub")
    scene.host.box.write(f"{alice.home}/.ssh/authorized_keys", public, 0o600, alice.uid, alice.gid)


def show(scene: Scene, login: Login) -> bool:
    """Runs one login, prints it, and answers whether it ended as expected."""
    began = time.monotonic()
    # Through a shell, so that what is printed is what is run.
    done = scene.client.box.run(["sh", "-c", f"exec ssh {login.arguments}"], user=PERSON, check=False)
    milliseconds = (time.monotonic() - began) * 1000
    good = as_expected(done, login)
    word = "let in" if done.returncode == 0 else "refused"
    verdict = f"[green]{word}[/]" if good else f"[red]{word}, which is not as it should be[/]"
    console.print(f"\n[bold]{escape(login.what)}[/]")
    console.print(f"  [cyan]$ ssh {escape(login.arguments)}[/]")
    for line in [*done.stdout.splitlines(), *done.stderr.splitlines()]:
        if line and not line.startswith("Warning: Permanently added"):
            console.print(f"  {escape(line)}")
    console.print(f"  {verdict} [dim]({milliseconds:.0f} ms)[/]")
    return good


def as_expected(done: subprocess.CompletedProcess[str], login: Login) -> bool:
    """Whether a login came to what it should."""
    if login.says:
        return done.returncode == 0 and done.stdout.strip() == login.says
    return done.returncode == 255 and login.told in done.stderr  # noqa: PLR2004 - how ssh says that it failed itself


def explain(scene: Scene) -> None:
    """What the administrator sees of the refusals."""
    bob = scene.nodes.bob.addresses[0]
    console.print("\n[bold]why bob is not alice, as the administrator asks[/]")
    console.print(f"  [cyan]# pam-tailscale explain alice --from {bob}[/]")
    for line in scene.host.cli("explain", "alice", "--from", bob, check=False).stdout.splitlines():
        console.print(f"  {escape(line)}")
    console.print("\n[bold]and the journal's last line about a refusal[/]")
    console.print(f"  {escape([line for line in scene.host.decisions() if 'decision=deny' in line][-1])}")


def play(scene: Scene) -> bool:
    """All acts; whether every login ended as expected."""
    prepare_device(scene)
    results = [show(scene, login) for login in first_act(scene)]
    explain(scene)
    scene.host.stop_agent()
    results += [show(scene, login) for login in second_act(scene)]
    scene.restart_agent()
    results += [show(scene, login) for login in third_act(scene)]
    good, count = sum(results), len(results)
    console.print(f"\n[bold {'green' if good == count else 'red'}]{good} of {count} logins ended as expected[/]")
    return good == count


def main() -> None:
    """Run the demo; the exit status is its result."""
    if os.geteuid() != 0:
        sys.exit("The demo needs root: it makes network namespaces and runs an sshd in them.")
    python = Path("/opt/pam-tailscale", *Path(sys.executable).relative_to(PROJECT).parts)
    console.print("Setting up: the PAM module and key helper, a host with Debian's sshd, and a tailnet of a few people")
    with Scene(ROOT, build_shims_on(ROOT), prepare=prepare_server, python=str(python)) as scene:
        version = scene.host.box.run(["ssh", "-V"]).stderr.strip()
        console.print(f"{escape(version)}; root has a password here ({shlex.quote(ROOT_PASSWORD)}), decoy an empty one")
        good = play(scene)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
