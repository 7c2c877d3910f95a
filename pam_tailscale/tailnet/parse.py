"""The LocalAPI's JSON, already decoded, to records. Pure.

tailscaled may add fields at any time: what is not asked for here is ignored. What is asked for must have its type.
"""

import datetime
import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pam_tailscale.errors import TailscaledError
from pam_tailscale.model import IPAddress, Peer, parse_address
from pam_tailscale.tailnet.records import BusEvent, NodeStatus, PeerStatus, Prefs, Status, Whois
from pam_tailscale.tailnet.trouble import shown

T = TypeVar("T")

Object = dict[str, Any]

# ipn/backend.go, State: the bus sends the number, `status` the name.
STATES = ("NoState", "InUseOtherUser", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting", "Running")


def document(text: bytes, what: str) -> Object:
    """Decode one JSON object. Raises TailscaledError, also for half a document and for one that is nested too deep."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise TailscaledError(
            f"tailscaled's answer to {what} is not complete JSON ({len(text)} bytes, {shown(str(err))}): "
            "restart tailscaled; if it stays, this version of tailscaled is not supported"
        ) from err
    return _object(value, what)


def peer(whois: Object) -> Peer:
    """The node that a whois answer names (apitype.WhoIsResponse). Raises TailscaledError."""
    node = _object(whois.get("Node"), "Node")
    user = _object(whois.get("UserProfile"), "UserProfile")
    return Peer(
        node_id=_need(node, "ID", int),
        stable_id=_need(node, "StableID", str),
        name=_need(node, "Name", str).removesuffix("."),
        addresses=tuple(_host(prefix) for prefix in _texts(node, "Addresses")),
        tags=_texts(node, "Tags"),
        user_id=_need(node, "User", int),
        login=_need(user, "LoginName", str),
        expired=_may(node, "Expired", default=False),
        key_expiry=moment(_may(node, "KeyExpiry", "")),
    )


def whois(raw: Object) -> Whois:
    """A whois answer (apitype.WhoIsResponse). Raises TailscaledError.

    Hostinfo is what the peer says of itself: what is odd in it counts against the peer, and ends nothing else.
    """
    node = _object(raw.get("Node"), "Node")
    host = node.get("Hostinfo")
    return Whois(
        peer=peer(raw),
        capabilities=_part(raw, "CapMap"),
        routes=tuple(_routes(node, host)),
        shared=bool(isinstance(host, dict) and host.get("ShareeNode")) or bool(_may(node, "Sharer", 0)),
    )


def _routes(node: Object, host: object) -> Iterator[str]:
    """What a tailcfg.Node routes, and says that it could route: the host cannot tell whom it lends its address."""
    own = set(_texts(node, "Addresses"))
    listed = (*_texts(node, "AllowedIPs"), *_texts(node, "PrimaryRoutes"), *_offered(host))
    yield from (prefix for prefix in dict.fromkeys(listed) if prefix not in own)


def _offered(host: object) -> Iterator[str]:
    try:
        info = {} if host is None else _object(host, "Hostinfo")
        yield from _texts(info, "RoutableIPs")
        if _may(info, "AppConnector", default=False):
            yield "app connector"
    except TailscaledError:
        yield "something that is not understood"


def status(raw: Object) -> Status:
    """Tailscaled's `status` (ipnstate.Status). Raises TailscaledError."""
    this = _part(raw, "Self")
    tailnet = _part(raw, "CurrentTailnet")
    user = _part(_part(raw, "User"), str(_may(this, "UserID", 0)))
    return Status(
        version=_need(raw, "Version", str),
        backend_state=_need(raw, "BackendState", str),
        tun=_need(raw, "TUN", bool),
        self_stable_id=_may(this, "ID", ""),
        self_name=_may(this, "DNSName", "").removesuffix("."),
        self_addresses=tuple(_address(text) for text in _texts(this, "TailscaleIPs")),
        self_user=_may(user, "LoginName", ""),
        self_tags=_texts(this, "Tags"),
        tailnet_id=_may(tailnet, "StableID", ""),
        tailnet_name=_may(tailnet, "Name", ""),
        health=_texts(raw, "Health"),
    )


def peers(raw: Object) -> tuple[PeerStatus, ...]:
    """The peers in a `status` (ipnstate.PeerStatus), in its order. Raises TailscaledError."""
    found = (_object(one, "Peer") for one in _part(raw, "Peer").values())
    return tuple(
        PeerStatus(
            addresses=tuple(_address(text) for text in _texts(one, "TailscaleIPs")),
            user_id=_need(one, "UserID", int),
            tags=_texts(one, "Tags"),
            online=_may(one, "Online", default=False),
        )
        for one in found
    )


def nodes(raw: Object) -> tuple[NodeStatus, ...]:
    """This node and its peers in a `status`, without those that another tailnet shares. Raises TailscaledError."""
    this, others = _part(raw, "Self"), _part(raw, "Peer").values()
    found = (_object(one, "Peer") for one in ([this, *others] if this else others))
    return tuple(
        NodeStatus(
            stable_id=_may(one, "ID", ""),
            name=_may(one, "DNSName", "").removesuffix(".") or _may(one, "HostName", ""),
            addresses=tuple(_address(text) for text in _texts(one, "TailscaleIPs")),
            user_id=_need(one, "UserID", int),
            tags=_texts(one, "Tags"),
        )
        for one in found
        if not _may(one, "ShareeNode", default=False) and not _may(one, "AltSharerUserID", 0)
    )


def logins(raw: Object) -> dict[int, str]:
    """User id to login name, of a `status`. Raises TailscaledError."""
    profiles = (_object(one, "User") for one in _part(raw, "User").values())
    return {_need(one, "ID", int): _need(one, "LoginName", str) for one in profiles}


def prefs(raw: Object) -> Prefs:
    """Tailscaled's `prefs` (ipn.Prefs). Raises TailscaledError."""
    return Prefs(
        control_url=_need(raw, "ControlURL", str),
        run_ssh=_need(raw, "RunSSH", bool),
        want_running=_need(raw, "WantRunning", bool),
        logged_out=_may(raw, "LoggedOut", default=False),
        operator_user=_may(raw, "OperatorUser", ""),
        shields_up=_may(raw, "ShieldsUp", default=False),
    )


def event(raw: Object) -> BusEvent:
    """One message of the bus (ipn.Notify). Raises TailscaledError, also for the one that ends a watch."""
    if message := _may(raw, "ErrMessage", ""):
        raise TailscaledError(f"tailscaled ended the watch of its bus: {shown(message)}")
    number = raw.get("State")
    settings = _part(raw, "Prefs")
    return BusEvent(
        # Up to 1.98 a changed netmap came whole, in NetMap; only that it came is of interest.
        self_change=raw.get("SelfChange") is not None or raw.get("NetMap") is not None,
        peers_changed=bool(raw.get("PeersChanged") or raw.get("PeersRemoved")),
        state=None if number is None else _state(number),
        prefs=prefs(settings) if settings else None,
    )


def moment(text: str) -> float | None:
    """A time as Go writes it (RFC 3339, nanoseconds) as Unix time; None for Go's zero time, which means none.

    Raises TailscaledError.
    """
    if not text or text.startswith("0001-01-01T00:00:00"):
        return None
    try:
        when = datetime.datetime.fromisoformat(text)
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise _odd(f"{shown(text)} in place of a time")
    return when.timestamp()


def _object(value: object, name: str) -> Object:
    if not isinstance(value, dict):
        raise _odd(f"no object for {name}")
    return value


def _need(raw: Object, name: str, kind: type[T]) -> T:
    value = raw.get(name)
    if type(value) is not kind:  # not isinstance: a bool is an int
        raise _odd(f"{type(value).__name__} for {name}")
    return value


def _may(raw: Object, name: str, default: T) -> T:
    """The field, or `default` where it is absent or null, as Go reads it."""
    value = raw.get(name)
    if value is None:
        return default
    if type(value) is not type(default):
        raise _odd(f"{type(value).__name__} for {name}")
    return value


def _part(raw: Object, name: str) -> Object:
    return _may(raw, name, dict[str, Any]())


def _texts(raw: Object, name: str) -> tuple[str, ...]:
    values: list[object] = _may(raw, name, [])
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(values):
        raise _odd(f"something that is no text in {name}")
    return texts


def _address(text: str) -> IPAddress:
    try:
        return parse_address(text)
    except ValueError as err:
        raise _odd(f"{shown(text)} in place of an address") from err


def _host(prefix: str) -> IPAddress:
    address, _, length = prefix.partition("/")
    parsed = _address(address)
    if length != str(parsed.max_prefixlen):
        raise _odd(f"{shown(prefix)} in place of one node's address")
    return parsed


def _state(number: object) -> str:
    if type(number) is not int or not 0 <= number < len(STATES):
        raise _odd(f"{shown(str(number))} in place of a state")
    return STATES[number]


def _odd(what: str) -> TailscaledError:
    return TailscaledError(
        f"tailscaled's answer has {what}: "
        "this version of Tailscale may be newer than pam-tailscale knows; upgrade pam-tailscale"
    )
