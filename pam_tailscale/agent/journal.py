"""One line for every decision, in the journal with its fields, or on standard error where there is no journal.

Values come from the network: they are quoted and cut, so that a line stays one line and a field one field. Under
systemd the line goes to the journal's own socket (systemd.io, Native Journal Protocol), which keeps the fields apart.
"""

import logging
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from pam_tailscale import paths
from pam_tailscale.model import Decision, Request, join_port
from pam_tailscale.policy.words import quoted

_VALUE_MAX = 400
_PRIORITY_INFO, _PRIORITY_NOTICE = "6", "5"

log = logging.getLogger(__name__)


def fields_of(decision: Decision, request: Request, milliseconds: float, provider: str = "") -> dict[str, str]:
    """The line's keys and values, in their order; values as they are, not yet quoted.

    `provider` is whoever was to say whether a check is passed; empty where none was asked for.
    """
    peer = decision.peer
    fields = {
        "decision": decision.verdict.value,
        "id": decision.id,
        "reason": decision.reason.value,
        "user": request.user,
        "login": peer.identity if peer else "",
        "node": peer.name if peer else "",
        "addr": join_port(request.connection.client, request.connection.client_port),
        "rule": str(decision.rule) if decision.rule is not None else "",
        "source": decision.source,
        "method": request.method.value,
        "phase": request.phase.value,
        "mode": request.mode.value,
        "ms": f"{milliseconds:.1f}",
    }
    fields |= {"check": provider} if provider else {}
    return fields | ({"detail": decision.detail} if decision.detail else {})


_FREE = frozenset({"user", "login", "node", "detail"})


def line_of(fields: Mapping[str, str]) -> str:
    """`key=value` separated by spaces; what a stranger may have chosen is quoted, what is unknown is empty."""
    return " ".join(f"{key}={quoted(value, _VALUE_MAX) if key in _FREE else value}" for key, value in fields.items())


class Journal:
    """Where decisions are written. Losing a line never changes a decision."""

    def __init__(self, path: Path = paths.JOURNAL_SOCKET) -> None:
        self._socket: socket.socket | None = None
        if "JOURNAL_STREAM" in os.environ:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(0)  # a journal that hangs must not make a login hang
            self._path = str(path)

    def write(self, decision: Decision, request: Request, milliseconds: float, provider: str = "") -> None:
        """Write one decision."""
        fields = fields_of(decision, request, milliseconds, provider)
        line = line_of(fields)
        if self._socket is not None:
            try:
                self._socket.sendto(datagram(fields, line, allowed=decision.allowed), self._path)
            except OSError:
                pass  # the journal restarts or is full: standard error, which it also reads, is the second best
            else:
                return
        log.info("%s", line)


def datagram(fields: Mapping[str, str], line: str, *, allowed: bool) -> bytes:
    """The line and its fields as the journal reads them. Values are sent with their length: they may hold anything."""
    entries = {
        "MESSAGE": line,
        "PRIORITY": _PRIORITY_INFO if allowed else _PRIORITY_NOTICE,
        "SYSLOG_IDENTIFIER": "pam-tailscale-agent",
    }
    entries |= {f"TAILSCALE_{key.upper()}": value[:_VALUE_MAX] for key, value in fields.items()}
    parts = []
    for key, value in entries.items():
        encoded = value.encode("utf-8", "backslashreplace")
        parts.append(key.encode() + b"\n" + struct.pack("<Q", len(encoded)) + encoded + b"\n")
    return b"".join(parts)
