"""The records that all layers share: a connection, a peer, an account, a decision and its reason.

Frozen values and enums only: no I/O, no rule of who gets in, no text that a person sees.
"""

import enum
import ipaddress
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

TAILNET_NETWORKS: tuple[IPNetwork, ...] = (
    ipaddress.IPv4Network("100.64.0.0/10"),
    ipaddress.IPv6Network("fd7a:115c:a1e0::/48"),
)
"""The ranges every tailnet numbers its nodes from (tailscale net/tsaddr)."""


class Verdict(enum.Enum):
    """What is answered. CHECK is a no as well, but for the method by which a check can be passed."""

    ALLOW = "allow"
    CHECK = "check"
    DENY = "deny"


class Method(enum.Enum):
    """The SSH authentication method for which a shim asks (RFC 4252, RFC 4256)."""

    NONE = "none"
    KEYBOARD = "keyboard-interactive"
    PUBLICKEY = "publickey"
    UNKNOWN = "unknown"


class Phase(enum.Enum):
    """The step of a login in which a shim asks."""

    AUTH = "auth"
    ACCOUNT = "account"
    SESSION = "session"


class Mode(enum.Enum):
    """enforce: the tailnet's policy alone decides. observe: what it would decide is logged, nothing else."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class Reason(enum.Enum):
    """Why a decision came out as it did; the numbers in comments are the steps of the decision."""

    ACCEPTED = "accepted"
    # 0: is this the right tailscaled, and do we know its state?
    AGENT_STARTING = "agent_starting"
    MODE_MISMATCH = "mode_mismatch"
    TAILSCALED_UNREACHABLE = "tailscaled_unreachable"
    TAILSCALED_NOT_ROOT = "tailscaled_not_root"
    TAILSCALED_NOT_RUNNING = "tailscaled_not_running"
    NETMAP_CACHED = "netmap_cached"
    KNOWLEDGE_STALE = "knowledge_stale"
    NOT_PINNED = "not_pinned"
    PIN_DAMAGED = "pin_damaged"
    PIN_MISMATCH = "pin_mismatch"
    OPERATOR = "operator"
    STATE_CHANGED = "state_changed"
    POLICY_UNAVAILABLE = "policy_unavailable"
    NARROW_DAMAGED = "narrow_damaged"
    # 1: the account
    ACCOUNT_UNKNOWN = "account_unknown"
    ACCOUNT_ALIAS = "account_alias"
    ACCOUNT_NUMERIC = "account_numeric"
    ACCOUNT_SHELL = "account_shell"
    ROOT_NOT_ALLOWED = "root_not_allowed"
    # 2: the addresses
    SERVER_NOT_SELF = "server_not_self"
    CLIENT_NOT_TAILNET = "client_not_tailnet"
    CLIENT_IS_LOCAL = "client_is_local"
    ARRIVED_ELSEWHERE = "arrived_elsewhere"
    ROUTE_NOT_TAILNET = "route_not_tailnet"
    # 3: the identity
    PEER_UNKNOWN = "peer_unknown"
    PEER_ADDRESS_MISMATCH = "peer_address_mismatch"
    PEER_EXPIRED = "peer_expired"
    PEER_IS_SELF = "peer_is_self"
    # 4: the rule
    NO_RULE = "no_rule"
    USER_NOT_IN_RULE = "user_not_in_rule"
    RULE_REJECTS = "rule_rejects"
    RULE_MALFORMED = "rule_malformed"
    POLICY_SHAPE = "policy_shape"
    # 5: our limits
    RULE_MAPS_USER = "rule_maps_user"
    SYSTEM_ACCOUNT = "system_account"
    NOLOGIN_ACCOUNT = "nologin_account"
    ATTRIBUTE_NOT_ENFORCED = "attribute_not_enforced"
    METHOD_CANNOT_LIMIT = "method_cannot_limit"
    NARROWED = "narrowed"
    # 6: the check
    CHECK_NEEDED = "check_needed"
    CHECK_PASSED = "check_passed"
    CHECK_TAGGED = "check_tagged"
    CHECK_REJECTED = "check_rejected"
    CHECK_WRONG_PERSON = "check_wrong_person"
    CHECK_EXPIRED = "check_expired"
    CHECK_UNAVAILABLE = "check_unavailable"
    CHECK_BUSY = "check_busy"
    SECOND_METHOD = "second_method"
    # not a decision about the connection at all
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Connection:
    """One TCP connection, as sshd sees it; v4-mapped addresses are already unmapped."""

    client: IPAddress
    client_port: int
    server: IPAddress
    server_port: int

    def __str__(self) -> str:
        return f"{join_port(self.client, self.client_port)} to {join_port(self.server, self.server_port)}"


@dataclass(frozen=True, slots=True)
class Peer:
    """The node behind an address, as tailscaled's whois names it."""

    node_id: int
    stable_id: str
    name: str
    """MagicDNS name without the final dot."""
    addresses: tuple[IPAddress, ...]
    tags: tuple[str, ...]
    user_id: int
    login: str
    """Login name of the node's user; for a tagged node meaningless (`tagged-devices`): a tagged node has no person."""
    expired: bool
    key_expiry: float | None
    """Unix time at which the node's key expires; None when it does not."""

    @property
    def identity(self) -> str:
        """Login name, or the tags joined by commas."""
        return ",".join(self.tags) if self.tags else self.login


@dataclass(frozen=True, slots=True)
class Account:
    """A local account as getpwnam returned it."""

    name: str
    uid: int
    shell: str
    shell_usable: bool
    """The shell exists, is a regular file and has an execute bit: what sshd asks (auth.c, allowed_user)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a shim asks: may `user` go on over this connection?"""

    user: str
    """Bytes that are not UTF-8 are kept by surrogateescape."""
    connection: Connection
    method: Method
    phase: Phase
    mode: Mode = Mode.ENFORCE
    interface: int | None = None
    """Index of the interface the connection came in by, 0 where that is not known; None from the key helper."""
    earlier: tuple[str, ...] = ()
    """In the account phase: methods that sshd has counted before the last one, by their names in its configuration."""
    key: str = ""
    """A public key in base64: from the key helper the one that is offered, in the session phase the one sshd took."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a check rule demands of a connection: that the person behind the peer has authenticated recently."""

    peer: Peer
    user: str
    """The account that is asked for."""
    connection: Connection
    delegate: str
    """The rule's holdAndDelegate, with its variables as they came; empty where the rule names none."""
    period: float | None
    """Seconds for which an authentication counts, 0 for `always`; None where the rule does not say."""

    @property
    def person(self) -> str:
        """Login name of the person."""
        return self.peer.login

    @property
    def key(self) -> tuple[str, str]:
        """The person and the node: what a pending check belongs to."""
        return self.peer.login, self.peer.stable_id

    def like(self, other: "Demand") -> bool:
        """Whether the answer to one is the answer to the other: all but the connection is the same."""
        mine = (self.key, self.user, self.delegate, self.period)
        return mine == (other.key, other.user, other.delegate, other.period)


@dataclass(frozen=True, slots=True)
class Pin:
    """The control plane, tailnet and node that root has pinned this host to."""

    control_url: str
    node_id: str
    """Stable id of this host's own node."""
    tailnet_id: str
    """Stable id of the tailnet; empty where the control plane has none (headscale)."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """What somebody is let in without. The default withholds nothing."""

    agent_forwarding: bool = False
    local_forwarding: bool = False
    """Ports and sockets of the host, for the client (`ssh -L`)."""
    remote_forwarding: bool = False
    """Ports and sockets of the client, for the host (`ssh -R`)."""
    pty: bool = False
    command: str = ""
    """The one command that is run, in place of whatever is asked for; empty: any may be."""

    @property
    def nothing(self) -> bool:
        """Whether the login may do all that sshd lets it."""
        return self == NOTHING_WITHHELD


NOTHING_WITHHELD = Withheld()


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one request and what the journal says about it."""

    verdict: Verdict
    reason: Reason
    id: str
    detail: str = ""
    """For the administrator: what was seen and what to do. Never shown to whoever logs in."""
    rule: int | None = None
    """Number of the rule that decided, counted from 1 within its source."""
    source: str = ""
    peer: Peer | None = None
    message: str = ""
    """The rule's own message for the person who logs in."""
    mapped_user: str = ""
    """Where a rule maps the requested name to another: that name."""
    demand: Demand | None = None
    """With the verdict CHECK: what has to be shown."""
    told: Reason | None = None
    """The reason that whoever logs in is told by, where `reason` itself would tell which accounts exist."""
    withheld: Withheld = NOTHING_WITHHELD
    """What sshd has to withhold from whoever is let in; only a login by key can be."""

    @property
    def allowed(self) -> bool:
        """Whether the connection may go on."""
        return self.verdict is Verdict.ALLOW


def join_port(address: IPAddress, port: int) -> str:
    """`address:port`, with an IPv6 address in brackets (RFC 3986 section 3.2.2)."""
    return f"[{address}]:{port}" if isinstance(address, ipaddress.IPv6Address) else f"{address}:{port}"


def folded(login: str) -> str:
    """A login name as it is compared: upper case means nothing, but only in ASCII."""
    return login.lower() if login.isascii() else login


def parse_address(text: str) -> IPAddress:
    """Parse an IP address, unmapping IPv4-mapped IPv6.

    A scope id (`fe80::1%eth0`) is refused: no tailnet address has one. Raises ValueError.
    """
    if "%" in text:
        raise ValueError(f"{text!r} has a scope id")
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def in_tailnet(address: IPAddress) -> bool:
    """Whether the address is from the ranges of a tailnet."""
    return any(address in network for network in TAILNET_NETWORKS)
