"""Facts about a host on which nothing is in the way, for tests that change one of them. No I/O."""

import dataclasses
import fnmatch
import ipaddress
from collections.abc import Mapping
from typing import Any

from pam_tailscale.config import Config
from pam_tailscale.host import effective
from pam_tailscale.host.facts import (
    Agent,
    Answer,
    Facts,
    Host,
    HostAddress,
    HostFile,
    Interface,
    Listener,
    Pam,
    Program,
    Session,
    Socket,
    Sshd,
    Tailscaled,
    Unit,
    Unknown,
    User,
    Way,
    Written,
)
from pam_tailscale.host.sshdconfig import MAIN, Reader, SshdConfig
from pam_tailscale.host.version import OpenSSH
from pam_tailscale.model import IPAddress, Pin

DROP_IN = "/etc/ssh/sshd_config.d/10-pam-tailscale.conf"
STOCK = "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\n"
"""What counts in Debian's sshd_config."""
EFFECTIVE = "port 22\nlogingracetime 120\nmaxstartups 10:30:100\nusedns no\nusepam yes\npubkeyauthentication yes\n"
PIN = Pin("https://control.tailnet.example", "nHostCNTRL", "tExampleCNTRL")
OTHER_PIN = Pin("https://elsewhere.example", "nOtherCNTRL", "")
TAILSCALE0, LAN0 = Interface("tailscale0", 7), Interface("lan0", 2)
BOOKWORM, TRIXIE = OpenSSH(9, 2), OpenSSH(10, 0)

BOOTED = Unit(booted=True, load_state="loaded", active=True, main_pid=400)
"""What systemd says of a host on which ssh.service runs sshd, and our package guards it."""


def address(text: str) -> IPAddress:
    """An address by its text."""
    return ipaddress.ip_address(text)


def config(main: str = STOCK, others: Mapping[str, str] | None = None, options: tuple[str, ...] = ()) -> SshdConfig:
    """Sshd's configuration, of which `05-a.conf` is a file in sshd_config.d."""
    files = {MAIN: main, **{f"/etc/ssh/sshd_config.d/{name}": text for name, text in (others or {}).items()}}
    expand = lambda pattern: [path for path in files if fnmatch.fnmatchcase(path, pattern)]  # noqa: E731
    return Reader(files.get, expand, DROP_IN).read(options=options)


def sockets(*texts: str, port: int = 22) -> tuple[Socket, ...]:
    """Where sshd listens."""
    return tuple(Socket(address(text), port) for text in texts)


def listener(**changes: Any) -> Listener:
    """Debian's own sshd."""
    listening = sockets("0.0.0.0", "::")
    stock = Listener(400, "/usr/sbin/sshd", is_installed=True, config=MAIN, options=(), sockets=listening)
    return dataclasses.replace(stock, **changes)


def healthy(openssh: OpenSSH = TRIXIE, **changes: Any) -> Facts:
    """A Debian host in a tailnet and a LAN, pinned; root runs this at no terminal. `changes` are the facts' own."""
    own = (address("100.64.0.1"), address("fd7a:115c:a1e0::1"))
    placed = [(Interface("lo", 1), "127.0.0.1"), (LAN0, "192.0.2.1"), *((TAILSCALE0, str(one)) for one in own)]
    facts = Facts(
        config=Config(),
        config_problem="",
        allow_root=None,
        pin=PIN,
        pin_problem="",
        sshd=Sshd(
            openssh, "", config(), effective.parse(EFFECTIVE), listener(), sockets=listener().sockets, unit=BOOTED
        ),
        pam=Pam(HostFile("/etc/pam.d/sshd", "", Written.NOT_OURS), is_edited=False, module_error=""),
        programs=(Program("/usr/libexec/pam-tailscale/authorized-keys", ""),),
        files=(),
        is_guarded_off=False,
        tailscaled=Tailscaled("", "Running", addresses=own, interface=TAILSCALE0, now=PIN),
        agent=Agent("", mode="enforce"),
        host=Host(
            addresses=tuple(HostAddress(interface, address(text)) for interface, text in placed),
            keys_user=User("pam-tailscale-keys", 998, 997),
            agent_user=User("pam-tailscale", 999, 998),
            ways_in=(Way("alice", "key"),),
        ),
    )
    return dataclasses.replace(facts, **changes)


def with_sshd(facts: Facts, **changes: Any) -> Facts:
    """Other facts about sshd; so the functions below of what they name."""
    return dataclasses.replace(facts, sshd=dataclasses.replace(facts.sshd, **changes))


def with_config(facts: Facts, main: str = STOCK, **others: str) -> Facts:
    """Another sshd_config; `others`: texts of `f05`, the file 05-a.conf, and so on."""
    files = {f"{name[1:]}-a.conf": text for name, text in others.items()}
    return with_sshd(facts, config=config(main, files))


def with_effective(facts: Facts, **values: str) -> Facts:
    """Other values that sshd prints."""
    lines = "".join(f"{keyword} {value}\n" for keyword, value in values.items())
    return with_sshd(facts, effective=effective.parse(lines + EFFECTIVE))


def with_pam(facts: Facts, **changes: Any) -> Facts:
    """Other facts about PAM."""
    return dataclasses.replace(facts, pam=dataclasses.replace(facts.pam, **changes))


def with_tailscaled(facts: Facts, **changes: Any) -> Facts:
    """Other facts about tailscaled."""
    return dataclasses.replace(facts, tailscaled=dataclasses.replace(facts.tailscaled, **changes))


def with_agent(facts: Facts, **changes: Any) -> Facts:
    """Other facts about the agent."""
    return dataclasses.replace(facts, agent=dataclasses.replace(facts.agent, **changes))


def with_host(facts: Facts, **changes: Any) -> Facts:
    """Other facts about the host."""
    return dataclasses.replace(facts, host=dataclasses.replace(facts.host, **changes))


def with_session(
    facts: Facts,
    client: str = "100.64.0.2",
    answer: Answer | Unknown | None = None,
    *,
    is_open: bool = True,
) -> Facts:
    """Run from an SSH connection of alice's."""
    server = "100.64.0.1" if client.startswith("100.") else "192.0.2.1"
    session = Session(address(client), 50000, address(server), 22, "alice", answer, is_open)
    return dataclasses.replace(facts, own_session=session)
