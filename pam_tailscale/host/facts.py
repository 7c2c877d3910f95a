"""What `enable` has found out about the host before it does anything. Records only; nothing is judged here.

What could not be found out is an `Unknown`, never a guess: preconditions refuse by it.
"""

import enum
from dataclasses import dataclass

from pam_tailscale.config import Config
from pam_tailscale.host.effective import Effective
from pam_tailscale.host.sshdconfig import SshdConfig
from pam_tailscale.host.version import OpenSSH
from pam_tailscale.model import IPAddress, Pin, in_tailnet


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that could not be found out."""

    what: str
    why: str


# sshd


@dataclass(frozen=True, slots=True)
class Socket:
    """Where something listens. The address is `0.0.0.0` or `::` for all of a family."""

    address: IPAddress
    port: int


@dataclass(frozen=True, slots=True)
class Listener:
    """A process of sshd that takes connections."""

    pid: int
    program: str
    """What it really runs; with ` (deleted)` behind it after an upgrade, until it is restarted."""
    is_installed: bool
    """It runs the file that is installed as /usr/sbin/sshd, or ran it until an upgrade."""
    config: str
    """The configuration file that it was started with."""
    options: tuple[str, ...]
    """What it was given with -o and its like, as `Keyword=value`."""
    sockets: tuple[Socket, ...]
    reads_drop_in: bool = False
    """One beside the host's own whose configuration includes our drop-in, or would if it were there."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What systemd says about ssh.service. None of it is known where systemd does not run."""

    booted: bool = False
    """systemd runs this host."""
    load_state: str = ""
    """`loaded`, `masked`, `not-found`."""
    active: bool = False
    socket_active: bool = False
    """ssh.socket listens, and sshd is started at the first connection."""
    guarded: bool = True
    """Its ExecStartPre and its ExecReload run check-halves, and ExecReload then tells sshd."""
    drop_ins: tuple[str, ...] = ()
    """Files of others than us that change what the unit runs."""
    main_pid: int = 0
    """Its main process; 0: none."""


@dataclass(frozen=True, slots=True)
class Sshd:
    """sshd as it is installed, configured and running."""

    openssh: OpenSSH | None
    """None: what it prints as its version names none."""
    complaint: str
    """What `sshd -t` said against the configuration as it is; empty where it has nothing against it."""
    config: SshdConfig
    """sshd_config with everything it includes but our drop-in, and the listener's own -o in front."""
    effective: Effective
    """What `sshd -T` says of connections in general; empty where `complaint` is not."""
    listener: Listener | None
    """The one that takes connections: ssh.service's, else the first with the installed program and configuration."""
    others: tuple[Listener, ...] = ()
    """The rest of them."""
    options: tuple[str, ...] = ()
    """What sshd is or would be started with by -o and its like, as far as it can be tried."""
    unproved: tuple[str, ...] = ()
    """Options of sshd's that cannot be tried: they name files or programs, or it is not sure that they are its own."""
    sockets: tuple[Socket, ...] = ()
    """Where connections are taken, by the listener or by systemd for it; by configuration where nothing runs."""
    unit: Unit = Unit()
    confinement: tuple[str, ...] = ()
    """What confines sshd: `SELinux` where it enforces, `AppArmor` where it has a profile that it enforces for sshd."""

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports on which connections are taken, in order."""
        return tuple(sorted({socket.port for socket in self.sockets}))


# PAM and files


class Written(enum.Enum):
    """What has become of a file, or of lines, that `enable` writes."""

    NOT_OURS = "the administrator's own"
    AS_WRITTEN = "as enable wrote it"
    ALTERED = "altered since"
    BY_OTHERS = "at our place, and not known to be ours"


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file that we write to, or that lies where ours would."""

    path: str
    trouble: str
    """Why it cannot be trusted or replaced: it is a link, no file, or others than root may write to it."""
    written: Written


@dataclass(frozen=True, slots=True)
class Pam:
    """The host's PAM, and our part in it."""

    service: HostFile | None
    """/etc/pam.d/sshd; None: it is not there."""
    is_edited: bool | None
    """It differs, beside our lines, from what openssh-server brought; None where dpkg could not say."""
    module_error: str
    """What the dynamic linker said against pam_tailscale.so; empty where it loads."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the package that sshd or systemd starts."""

    path: str
    error: str
    """Why it would not be started: it is missing, no program, or others than root may write to it or above it."""


@dataclass(frozen=True, slots=True)
class User:
    """An account with its numbers."""

    name: str
    uid: int
    gid: int


# tailscaled and the agent


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface."""

    name: str
    index: int


@dataclass(frozen=True, slots=True)
class HostAddress:
    """An address of this host, and the interface it is on."""

    interface: Interface
    address: IPAddress


@dataclass(frozen=True, slots=True)
class Tailscaled:
    """tailscaled's own answers, and what the kernel says of its addresses."""

    problem: str
    """Why it could not be asked; empty where it answered. Where it is not, the rest is empty."""
    state: str = ""
    """`Running` when the node is up."""
    logged_out: bool = False
    tun: bool = True
    """False with userspace networking."""
    run_ssh: bool = False
    operator: str = ""
    shields_up: bool = False
    addresses: tuple[IPAddress, ...] = ()
    """The node's own."""
    interface: Interface | None = None
    """What carries all of these addresses; None: no interface has them, or not one alone."""
    now: Pin | None = None
    """The control plane, tailnet and node that it is at; None where it is not running."""


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent's `status`, as far as it matters here."""

    problem: str
    """Why it could not be asked; empty where it answered."""
    problems: tuple[str, ...] = ()
    """What keeps it from deciding, in its own words, but for what the pin is about."""
    warnings: tuple[str, ...] = ()
    mode: str = ""
    """The mode it runs with; the configuration may say another since."""


# The host, and the people


@dataclass(frozen=True, slots=True)
class Way:
    """How somebody could log in from elsewhere than the tailnet."""

    account: str
    by: str
    """`key`, `password`, or the directive that names keys of everybody."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the agent would say to a login, by its `explain`."""

    decision: str
    """`allow`, `check` or `deny`."""
    reason: str
    detail: str
    can_tell: bool
    """False: not the policy says no, but something could not be had."""


@dataclass(frozen=True, slots=True)
class Session:
    """The SSH connection that this command is run from."""

    client: IPAddress
    client_port: int
    server: IPAddress
    server_port: int
    account: str
    """Who is logged in by it, whatever sudo has made of them since."""
    answer: Answer | Unknown | None = None
    """What would be said to it after enabling; None for one that does not come over the tailnet."""
    is_open: bool = True
    """The kernel has this connection. A terminal that outlives the connection it was opened by still names that one."""

    @property
    def over_tailnet(self) -> bool:
        """Whether both ends are tailnet addresses, as our Match block asks."""
        return in_tailnet(self.client) and in_tailnet(self.server)


@dataclass(frozen=True, slots=True)
class Host:
    """The rest of the host."""

    addresses: tuple[HostAddress, ...] = ()
    """All of them, loopback included."""
    read_only: tuple[str, ...] = ()
    """Directories that we write to and cannot."""
    keys_user: User | None = None
    """The key helper's account; None: it is missing."""
    agent_user: User | None = None
    ways_in: tuple[Way, ...] = ()
    """Who could log in from elsewhere than the tailnet; one for each account is enough."""
    console: bool = False
    """This command is run at the host's console."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that preconditions look at."""

    config: Config
    """The agent's configuration; its defaults where the file is damaged."""
    config_problem: str
    """Why it cannot be used; empty where it can."""
    allow_root: bool | None
    """What the administrator's own words in that file say about `allow_root`; None: nothing."""
    pin: Pin | None
    """What the host is pinned to."""
    pin_problem: str
    """Why the pin cannot be used; empty where it can, or there is none."""
    sshd: Sshd
    pam: Pam
    programs: tuple[Program, ...]
    files: tuple[HostFile, ...]
    """At the places of ours, whoever wrote them; those that are not there are left out."""
    is_guarded_off: bool
    """check-halves has taken the drop-in out of force."""
    tailscaled: Tailscaled
    agent: Agent
    host: Host
    own_session: Session | None = None
    """None: this command is not run from an SSH connection."""
    unknown: tuple[Unknown, ...] = ()
