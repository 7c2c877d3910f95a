"""The records that leave this package: what tailscaled says about itself, its settings and the netmap.

Values only; they are made in parse.py and netmap.py.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pam_tailscale.errors import TailscaledError
from pam_tailscale.model import IPAddress, Peer
from pam_tailscale.policy.rules import Policy

DEFAULT_CONTROL_URL = "https://controlplane.tailscale.com"
"""What an empty ControlURL means (ipn/prefs.go)."""

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?![\d.])", re.ASCII)


@dataclass(frozen=True, slots=True)
class Status:
    """tailscaled's `status`, without peers (ipn/ipnstate, Status)."""

    version: str
    backend_state: str
    """`Running` when the node is up; ipn.State names the others."""
    tun: bool
    """False with userspace networking, where sshd sees 127.0.0.1 as everybody's address."""
    self_stable_id: str
    """Empty while the node is logged out; so are the other `self_` fields."""
    self_name: str
    """MagicDNS name without the final dot."""
    self_addresses: tuple[IPAddress, ...]
    self_user: str
    """Login name of the node's user; empty where tailscaled does not name it."""
    self_tags: tuple[str, ...]
    tailnet_id: str
    """Stable id of the tailnet; empty where the control plane has none (headscale)."""
    tailnet_name: str
    health: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Whois:
    """Who is behind an address (apitype.WhoIsResponse)."""

    peer: Peer
    capabilities: Mapping[str, object] = field(default_factory=dict)
    """What the tailnet's policy grants the peer on this node: an app capability's name to its values, not looked at."""
    routes: tuple[str, ...] = ()
    """By what the peer routes for others: prefixes that are not its own addresses, `app connector`."""
    shared: bool = False
    """The node is of another tailnet."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A peer in tailscaled's `status` (ipn/ipnstate, PeerStatus)."""

    addresses: tuple[IPAddress, ...]
    user_id: int
    tags: tuple[str, ...]
    online: bool
    """As the control plane sees it."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """This node or a peer in tailscaled's `status`, as a policy names it."""

    stable_id: str
    name: str
    """MagicDNS name without the final dot; the host's own name where there is none."""
    addresses: tuple[IPAddress, ...]
    user_id: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prefs:
    """The settings of tailscaled that matter for who may log in (ipn, Prefs)."""

    control_url: str
    """Empty means Tailscale's own service."""
    run_ssh: bool
    want_running: bool
    logged_out: bool
    operator_user: str
    shields_up: bool


@dataclass(frozen=True, slots=True)
class Netmap:
    """What a decision needs of the netmap."""

    cached: bool
    """It comes from tailscaled's disk, from before the control plane was heard."""
    self_stable_id: str
    self_addresses: tuple[IPAddress, ...]
    policy: Policy | None
    """None when the netmap has no SSHPolicy."""
    bytes_read: int
    """Size of the netmap as tailscaled sent it."""


@dataclass(frozen=True, slots=True)
class BusEvent:
    """One message of tailscaled's notification bus (ipn, Notify)."""

    self_change: bool
    """This node or something it was sent, the SSH policy included, has changed."""
    peers_changed: bool
    state: str | None
    """New state of the backend, where the message says one."""
    prefs: Prefs | None


@dataclass(frozen=True, slots=True)
class BusDown:
    """The bus cannot be heard at the moment: changes may have been missed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where the kernel would send a packet."""

    kind: str
    """`unicast`, `local`, `broadcast`, `multicast`, or `other`."""
    interface: int
    """Index of the interface; 0 where the route has none."""


def tailscaled_version(text: str) -> tuple[int, int, int]:
    """The numbers in front of a version of tailscaled (`1.104.5-t0123abc-g4567def`).

    Raises TailscaledError.
    """
    match = _VERSION.match(text)
    if match is None:
        raise TailscaledError(
            f"tailscaled names its version as {text[:80]!r}, which cannot be read: install a release of Tailscale"
        )
    major, minor, patch = (int(number) for number in match.groups())
    return major, minor, patch
