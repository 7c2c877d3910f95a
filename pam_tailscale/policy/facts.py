"""What a decision is made of: everything the agent found out, as values. Gathering it is the agent's business."""

from dataclasses import dataclass
from typing import Self

from pam_tailscale.config import CheckBy, Config
from pam_tailscale.model import Account, IPAddress, Mode, Peer, Pin, Reason
from pam_tailscale.policy.narrow import Narrowing
from pam_tailscale.policy.roster import Node
from pam_tailscale.policy.rules import Policy


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be found out, with its reason and what the administrator should do."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Knowledge:
    """tailscaled's state as last read; one value, replaced as a whole."""

    backend_state: str
    """tailscaled's word: Running, Stopped, NeedsLogin, Starting…"""
    version: str
    control_url: str
    node_id: str
    """Stable id of this host's own node."""
    tailnet_id: str
    self_addresses: frozenset[IPAddress]
    interface: int | None
    """Index of the network interface that carries these addresses; None where there is none (no TUN)."""
    cached: bool
    """The netmap came from tailscaled's disk, not from the control plane."""
    policies: tuple[Policy, ...]
    problem: Problem | None = None
    """Set where tailscaled could not be asked; then nothing else here may be relied on."""
    policy_problem: Problem | None = None
    """Set where the policy could not be read; `policies` is empty then."""
    operator: str = ""
    """Account that is tailscale's operator, or was since this tailscaled started; empty where there was none."""
    warnings: tuple[str, ...] = ()
    """Settings of tailscaled that keep people out or let them past sshd, each with what to do about it."""
    own: Node | None = None
    """This host's own node as a policy file names it; None where tailscaled has not said."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The host's own limits, from the configuration and /etc/login.defs."""

    mode: Mode
    allow_root: bool
    uid_min: int
    """Accounts below it, root aside, are system accounts."""
    trust_operator: bool = False
    """tailscale's operator counts as root: the policy is believed although they could replace it."""
    max_age: float = 60.0
    """Seconds that knowledge may be old."""
    check_period: float | None = None
    """Seconds for which an authentication counts where a rule does not say, 0 for always; None where the control plane
    checks, which has its own and knows no other."""
    narrowing: Narrowing | Problem | None = None
    """What root of this host takes away; None: nothing. A problem lets nobody in."""

    @classmethod
    def of(cls, settings: Config, uid_min: int, narrowing: Narrowing | Problem | None = None) -> Self:
        """What the agent's configuration says, with UID_MIN of login.defs(5)."""
        return cls(
            settings.mode,
            settings.allow_root,
            uid_min,
            trust_operator=settings.trust_operator,
            check_period=float(settings.check.period) if settings.check.by is CheckBy.OIDC else None,
            narrowing=narrowing,
        )


@dataclass(frozen=True, slots=True)
class RouteBack:
    """Which way the kernel would send packets to the client."""

    local: bool
    """The client's address is this host's own."""
    interface: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that one decision may use. A Problem stands where a value could not be had."""

    knowledge: Knowledge
    age: float
    """Seconds since the knowledge was last known to be true; 0 with a live bus."""
    pin: Pin | Problem
    account: Account | None
    route: RouteBack | Problem
    peer: Peer | Problem | None
    """None: tailscaled knows nobody at that address."""
    routes: tuple[str, ...] = ()
    """By what the peer routes for others, as far as tailscaled says."""
    shared: bool = False
    """The peer is of another tailnet."""
