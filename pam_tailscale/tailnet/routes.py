"""What the kernel says about routes and addresses, over rtnetlink (rtnetlink(7)).

By socket and struct: pyroute2 would add tens of MiB to the agent, and the two questions asked here are small.
"""

import errno
import ipaddress
import itertools
import os
import socket as sockets
import struct
from collections.abc import Iterator
from typing import Final

from pam_tailscale.errors import TailscaledError
from pam_tailscale.model import IPAddress
from pam_tailscale.tailnet.records import Route

_KINDS: Final = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"}

_HEADER = struct.Struct("=LHHLL")  # length, type, flags, sequence, port
_ROUTE = struct.Struct("=BBBBBBBBL")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ADDRESS = struct.Struct("=BBBBL")  # family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_INT = struct.Struct("=i")
_UINT = struct.Struct("=L")

_ERROR, _DONE, _OVERRUN = 2, 3, 4
_NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE = 20, 22, 24, 26
_REQUEST, _DUMP = 0x1, 0x300
_DUMP_INTR = 0x10
_RTA_DST, _RTA_SRC, _RTA_OIF, _RTA_UID = 1, 2, 4, 25
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_ADDRESS_SIZES: Final = (4, 16)

_BUFFER = 1 << 16
_TIMEOUT = 1.0
_MESSAGES_MAX = 100_000
_DUMPS = 3
_SEQUENCE = itertools.count(1)
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL}


def route_to(destination: IPAddress, source: IPAddress) -> Route:
    """The route that sshd's packets from `source` to `destination` take.

    Raises TailscaledError, also where there is none.
    """
    # The rules of a host may look at the uid of the socket's owner, and sshd's is root.
    attributes = _attribute(_RTA_DST, destination.packed) + _attribute(_RTA_SRC, source.packed)
    attributes += _attribute(_RTA_UID, _UINT.pack(0))
    bits = destination.max_prefixlen
    body = _ROUTE.pack(_family(destination), bits, bits, 0, 0, 0, 0, 0, 0) + attributes
    try:
        for kind, payload in _ask(_GETROUTE, 0, body):
            if kind == _NEWROUTE:
                return _parse_route(payload)
    except OSError as err:
        if err.errno in _NO_ROUTE:
            raise TailscaledError(
                f"the kernel has no route from {source} to {destination} ({err}): is the tailnet's interface up?"
            ) from err
        raise _failed(err) from err
    raise _failed(OSError(errno.EPROTO, "no route in the answer"))


def interface_of(address: IPAddress) -> int | None:
    """Index of the interface that has an address; None when none has.

    Raises TailscaledError, also where more than one has.
    """
    found = {index for packed, index in _addresses(_family(address)) if packed == address.packed}
    if len(found) > 1:
        raise TailscaledError(f"{address} is on more than one interface: take it off all but the tailnet's")
    return next(iter(found), None)


def own_addresses() -> frozenset[tuple[IPAddress, int]]:
    """Every address of this host, with the index of the interface that has it. Raises TailscaledError."""
    return frozenset((ipaddress.ip_address(packed), index) for packed, index in _addresses(sockets.AF_UNSPEC))


def _addresses(family: int) -> set[tuple[bytes, int]]:
    """Addresses and the interfaces that have them. Raises TailscaledError."""
    body = _ADDRESS.pack(family, 0, 0, 0, 0)
    try:
        for _ in range(_DUMPS):
            found = _listed(body)
            if found is not None:
                return found
    except OSError as err:
        raise _failed(err) from err
    raise TailscaledError("the host's addresses change faster than they can be read: find out what changes them")


def _listed(body: bytes) -> set[tuple[bytes, int]] | None:
    """None when the addresses changed while they were listed."""
    found = set()
    for kind, payload in _ask(_GETADDR, _DUMP, body):
        if kind == _DUMP_INTR:
            return None
        if kind != _NEWADDR or len(payload) < _ADDRESS.size:
            continue
        *_, index = _ADDRESS.unpack_from(payload)
        attributes = dict(_attributes(payload[_ADDRESS.size :]))
        # On a point-to-point interface IFA_ADDRESS is the other end; where both are there, IFA_LOCAL is ours.
        address = attributes.get(_IFA_LOCAL, attributes.get(_IFA_ADDRESS, b""))
        if len(address) in _ADDRESS_SIZES:
            found.add((address, index))
    return found


def _ask(kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Ask and go through the answer's messages, as type and payload. Raises OSError.

    A dump that the kernel marks as interrupted gives a message of type _DUMP_INTR.
    """
    sequence = next(_SEQUENCE) & 0xFFFFFFFF
    request = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, sequence, 0) + body
    with sockets.socket(sockets.AF_NETLINK, sockets.SOCK_RAW, sockets.NETLINK_ROUTE) as connection:
        connection.settimeout(_TIMEOUT)
        connection.sendto(request, (0, 0))
        for _ in range(_MESSAGES_MAX):
            data, _, message_flags, (port, _) = connection.recvmsg(_BUFFER)
            if port != 0:
                continue  # not the kernel
            if message_flags & sockets.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, "an answer is longer than the buffer")
            for answer, answer_flags, payload in _messages(data, sequence):
                if answer == _DONE:
                    return
                if answer_flags & _DUMP_INTR and flags & _DUMP:
                    yield _DUMP_INTR, b""
                yield answer, payload
            if not flags & _DUMP:
                return
    raise OSError(errno.EMSGSIZE, "the answer does not end")


def _messages(data: bytes, sequence: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and payload of the messages in a datagram that answer this question. Raises OSError."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, flags, answered, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            raise OSError(errno.EPROTO, "a message of a wrong length")
        payload = data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3
        if answered != sequence:
            continue
        if kind == _OVERRUN:
            raise OSError(errno.ENOBUFS, "the kernel lost a part of the answer")
        if kind in (_ERROR, _DONE) and len(payload) >= _INT.size and (code := -_INT.unpack_from(payload)[0]) > 0:
            raise OSError(code, os.strerror(code))
        yield kind, flags, payload


def _parse_route(payload: bytes) -> Route:
    if len(payload) < _ROUTE.size:
        raise OSError(errno.EPROTO, "a route is cut short")
    kind = _ROUTE.unpack_from(payload)[7]
    oif = dict(_attributes(payload[_ROUTE.size :])).get(_RTA_OIF, b"")
    return Route(_KINDS.get(kind, "other"), _UINT.unpack(oif)[0] if len(oif) == _UINT.size else 0)


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value  # ours are all multiples of four bytes


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute. Raises OSError."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size or at + length > len(data):
            raise OSError(errno.EPROTO, "an attribute of a wrong length")
        yield kind, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _family(address: IPAddress) -> int:
    return sockets.AF_INET if len(address.packed) == 4 else sockets.AF_INET6  # noqa: PLR2004 -- bytes of an IPv4 address


def _failed(err: OSError) -> TailscaledError:
    return TailscaledError(
        f"the kernel's routes and addresses cannot be read ({err}): "
        "does the service's RestrictAddressFamilies still allow AF_NETLINK?"
    )
