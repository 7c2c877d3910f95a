"""The ways to use a login: a shell, a command, copying, forwarding, one connection for many. Each says if it worked."""

import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from contrib.demo.tailnet import Node
from tests.support.scene import LAN, Family, Scene, tailnet_address
from tests.support.waiting import wait_until

USER = "alice"
_READ_BANNER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10) as connection:
    sys.stdout.write(connection.recv(64).decode())
"""


@dataclass(frozen=True, slots=True)
class Trip:
    """From which node, and over which family, alice logs in."""

    scene: Scene
    node: Node
    family: Family

    @property
    def source(self) -> str:
        return self.node.addresses[0 if self.family == 4 else 1]

    @property
    def target(self) -> str:
        return f"{USER}@{tailnet_address(1, self.family)}"

    @property
    def bracketed(self) -> str:
        return f"{USER}@[{tailnet_address(1, self.family)}]"

    @property
    def options(self) -> list[str]:
        return self.scene.client.options(source=self.source)


def shell(trip: Trip) -> bool:
    """An interactive shell on a terminal."""
    done = trip.scene.client.box.run(
        ["ssh", *trip.options, "-tt", trip.target], input="tty; echo I am $(id -un)\nexit\n", check=False
    )
    return done.returncode == 0 and "/dev/pts/" in done.stdout and f"I am {USER}" in done.stdout


def command(trip: Trip) -> bool:
    """One command."""
    done = trip.scene.client.box.run(["ssh", *trip.options, trip.target, "id -un; cat"], input="sent", check=False)
    return done.returncode == 0 and done.stdout == f"{USER}\nsent"


def scp(trip: Trip) -> bool:
    """A copy to the host, by scp as it is today and by the old protocol."""
    box = trip.scene.client.box
    name, text = secrets.token_hex(8), secrets.token_hex(8)
    box.write(f"/root/{name}", text)
    results = [
        box.run(
            ["scp", "-q", *option, *trip.options, f"/root/{name}", f"{trip.bracketed}:{name}{len(option)}"], check=False
        )
        for option in ([], ["-O"])
    ]
    copies = [_content(trip, f"{name}{number}") for number in range(2)]
    if copies == [None, None]:
        return False
    assert [done.returncode for done in results] == [0, 0]
    return copies == [text, text]


def sftp(trip: Trip) -> bool:
    """A file put and got back by sftp."""
    box = trip.scene.client.box
    name, text = secrets.token_hex(8), secrets.token_hex(8)
    box.write(f"/root/{name}", text)
    batch = f"put /root/{name} {name}\nget {name} /root/{name}.back\n"
    done = box.run(["sftp", "-q", "-b", "-", *trip.options, trip.bracketed], input=batch, check=False)
    return done.returncode == 0 and _content(trip, name) == text and box.read(f"/root/{name}.back") == text


def local_forward(trip: Trip) -> bool:
    """`-N -L`: no session, a port of the device leads to one of the host."""
    with _held(trip, "-N", "-L", "127.0.0.1:7001:127.0.0.1:22") as held:
        return _leads_to_sshd(trip, held, 7001)


def remote_forward(trip: Trip) -> bool:
    """`-N -R`: a port of the host leads to one the device can reach."""
    with _held(trip, "-N", "-R", f"127.0.0.1:7002:{LAN[4]}:22") as held:
        return _leads_to_sshd(trip, held, 7002, on_host=True)


def multiplexed(trip: Trip) -> bool:
    """Several sessions over one connection."""
    control = f"/run/control-{secrets.token_hex(4)}"
    with _held(trip, "-N", "-M", "-S", control) as held:
        box = trip.scene.client.box
        wait_until(lambda: held.poll() is not None or box.exists(control), 20, "ssh is in, or gave up")
        if held.poll() is not None:
            return False
        runs = [box.run(["ssh", "-S", control, "-o", "ProxyCommand=false", trip.target, "id -un"]) for _ in range(3)]
        return [run.stdout.strip() for run in runs] == [USER] * 3


WAYS: tuple[Callable[[Trip], bool], ...] = (shell, command, scp, sftp, local_forward, remote_forward, multiplexed)


def _content(trip: Trip, name: str) -> str | None:
    path = f"/home/{USER}/{name}"
    return trip.scene.host.box.read(path) if trip.scene.host.box.exists(path) else None


@contextmanager
def _held(trip: Trip, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """An ssh that runs until the block ends."""
    options = [*trip.options, "-o", "ExitOnForwardFailure=yes"]
    held = trip.scene.client.box.popen(["ssh", *options, *args, trip.target], Path("/dev/null"))
    try:
        yield held
    finally:
        held.kill()
        held.wait()


def _leads_to_sshd(trip: Trip, held: subprocess.Popen[bytes], port: int, *, on_host: bool = False) -> bool:
    box = trip.scene.host.box if on_host else trip.scene.client.box

    def banner() -> str | None:
        done = box.run(["/usr/bin/python3", "-c", _READ_BANNER, str(port)], check=False)
        return done.stdout or ("ssh gave up" if held.poll() is not None else None)

    said = wait_until(banner, 20, "the forwarded port leads somewhere, or ssh gave up")
    return said is not None and said.startswith("SSH-2.0-")
