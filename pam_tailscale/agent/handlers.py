"""What the agent answers to each request, and who may ask it. One function a request; sockets are in server.py.

    decide    root and the key helper's account
    explain   root and members of the admin group
    whois     root and members of the admin group
    checks    root and members of the admin group
    forget    root and members of the admin group
    status    anyone

The command line's documents are JSON, sent in pieces as `info` before a verdict; a verdict that denies says that this
account may not ask.
"""

import dataclasses
import datetime
import grp
import json
import logging
import os
import pwd
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from pam_tailscale import wire
from pam_tailscale.agent import report
from pam_tailscale.agent.checking import Checking
from pam_tailscale.agent.gather import Gatherer
from pam_tailscale.agent.logins import Logins, let_in
from pam_tailscale.agent.server import Asker, Channel, Send
from pam_tailscale.agent.store import KnowledgeStore
from pam_tailscale.errors import WireError
from pam_tailscale.model import (
    Connection,
    IPAddress,
    Method,
    Mode,
    Phase,
    Request,
    parse_address,
)
from pam_tailscale.policy.decision import decide_with_trace
from pam_tailscale.policy.facts import Limits
from pam_tailscale.policy.words import quoted

PIECE = 6000
"""Characters of a document in one message; JSON here is ASCII, so they are bytes."""
PORT_MAX = 65535
_NOT_FOR_ADMINISTRATORS_ALONE = frozenset({wire.REQUEST_DECIDE, wire.REQUEST_STATUS})
"""Whoever asks for a decision is looked at there; anyone may know how things stand."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """Who may ask what."""

    keys_uid: int
    admin_group: str

    def may_decide(self, asker: Asker, method: Method, phase: Phase) -> bool:
        """Root for everything, the key helper for its own method."""
        helper = asker.uid == self.keys_uid and method is Method.PUBLICKEY and phase is Phase.AUTH
        return asker.uid == 0 or helper

    def may_administer(self, asker: Asker) -> bool:
        """Root, and members of the admin group as the group database has them now."""
        if asker.uid == 0:
            return True
        try:
            name = pwd.getpwuid(asker.uid).pw_name
            return grp.getgrnam(self.admin_group).gr_gid in os.getgrouplist(name, asker.gid)
        except KeyError:
            return False


class Handlers:
    """Answers requests; called from many threads.

    Args:
        store: the knowledge of tailscaled.
        gatherer: finds out the facts.
        logins: answers about logins.
        checking: who is asked for checks.
        access: who may ask what.
        limits: the host's limits as the configuration has them now.
        status: builds the status document.
    """

    def __init__(
        self,
        store: KnowledgeStore,
        gatherer: Gatherer,
        logins: Logins,
        checking: Checking,
        access: Access,
        limits: Callable[[], Limits],
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._store = store
        self._gatherer = gatherer
        self._logins = logins
        self._checking = checking
        self._access = access
        self._limits = limits
        self._status = status
        self._requests: dict[str, Callable[[wire.Message, Asker, Channel], None]] = {
            wire.REQUEST_DECIDE: self._decide,
            wire.REQUEST_EXPLAIN: self._explain,
            wire.REQUEST_WHOIS: self._whois,
            wire.REQUEST_CHECKS: self._checks,
            wire.REQUEST_FORGET: self._forget,
            wire.REQUEST_STATUS: self._answer_status,
        }

    def handle(self, message: wire.Message, asker: Asker, send: Channel) -> None:
        """Answer one request. Raises WireError where it is no request."""
        request = message.get(wire.KEY_REQUEST, "")
        handler = self._requests.get(request)
        if handler is None:
            raise WireError(f"unknown request {request!r}")
        if request not in _NOT_FOR_ADMINISTRATORS_ALONE and not self._administers(asker, send):
            return
        handler(message, asker, send)

    def _decide(self, message: wire.Message, asker: Asker, send: Channel) -> None:
        request = parse_request(message)
        if not self._access.may_decide(asker, request.method, request.phase):
            raise WireError("this account may not ask about connections")
        self._logins.answer(request, send)

    def _explain(self, message: wire.Message, asker: Asker, send: Send) -> None:  # noqa: ARG002 (one signature)
        knowledge = self._store.snapshot(time.monotonic()).knowledge
        client = address_of(message, wire.KEY_CLIENT)
        own = [address for address in knowledge.self_addresses if address.version == client.version]
        request = Request(
            user=message.get(wire.KEY_USER, ""),
            connection=Connection(client, port_of(message, wire.KEY_CLIENT_PORT), own[0] if own else client, 22),
            method=Method.NONE,
            phase=Phase.AUTH,
            mode=self._limits().mode,
        )
        facts = self._gatherer.gather(request)
        now = _moment(message.get(wire.KEY_AS_OF, ""))
        decision, outcome = decide_with_trace(request, facts, self._limits(), now, secrets.token_hex(4))
        check = None
        if decision.demand is not None:
            check = self._checking.about(decision.demand)
            if self._checking.provider.recall(decision.demand, now) is not None:
                decision = let_in(decision)
        _send_document(send, report.explanation(request, decision, outcome, now, check))

    def _whois(self, message: wire.Message, asker: Asker, send: Send) -> None:  # noqa: ARG002 (one signature)
        address, port = address_of(message, wire.KEY_CLIENT), port_of(message, wire.KEY_CLIENT_PORT)
        knowledge = self._store.snapshot(time.monotonic()).knowledge
        _send_document(send, report.whois(address, self._gatherer.whois(address, port), knowledge))

    def _checks(self, message: wire.Message, asker: Asker, send: Send) -> None:  # noqa: ARG002 (one signature)
        _send_document(send, self._checking.document(self._logins.room.pending(), time.monotonic()))

    def _forget(self, message: wire.Message, asker: Asker, send: Send) -> None:
        person = message.get(wire.KEY_PERSON, "")
        if not person:
            raise WireError("whose checks are to be forgotten is missing")
        log.info("check=forgotten person=%s by_uid=%d", quoted(person), asker.uid)
        _send_document(send, {"person": person, "not_reached": self._logins.forget(person)})

    def _answer_status(self, message: wire.Message, asker: Asker, send: Send) -> None:  # noqa: ARG002 (one signature)
        _send_document(send, self._status())

    def _administers(self, asker: Asker, send: Send) -> bool:
        if self._access.may_administer(asker):
            return True
        text = f"only root and members of the group {self._access.admin_group} may ask this: use sudo"
        send({wire.KEY_ANSWER: wire.ANSWER_VERDICT, wire.KEY_VERDICT: wire.VERDICT_DENY, wire.KEY_TEXT: text})
        return False


def parse_request(message: wire.Message) -> Request:
    """The request in a `decide` message. Raises WireError; the connection is then closed, which denies."""
    try:
        return Request(
            user=message[wire.KEY_USER],
            connection=Connection(
                client=address_of(message, wire.KEY_CLIENT),
                client_port=port_of(message, wire.KEY_CLIENT_PORT),
                server=address_of(message, wire.KEY_SERVER),
                server_port=port_of(message, wire.KEY_SERVER_PORT),
            ),
            method=Method(message[wire.KEY_METHOD]),
            phase=Phase(message[wire.KEY_PHASE]),
            mode=Mode(message[wire.KEY_MODE]),
            interface=_interface(message),
            earlier=tuple(filter(None, message.get(wire.KEY_EARLIER, "").split(","))),
            key=message.get(wire.KEY_OFFERED, ""),
        )
    except (KeyError, ValueError) as err:
        raise WireError(f"the request misses a key or has a value that is unknown: {err}") from err


def _interface(message: wire.Message) -> int | None:
    text = message.get(wire.KEY_INTERFACE)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):  # noqa: PLR2004 (digits of 32 bits)
        raise ValueError(f"interface is no index: {text[:16]!r}")
    return int(text)


def address_of(message: wire.Message, key: str) -> IPAddress:
    """An address of a request. Raises WireError."""
    try:
        return parse_address(message.get(key, ""))
    except ValueError as err:
        raise WireError(f"{key}: {err}") from err


def port_of(message: wire.Message, key: str) -> int:
    """A port of a request. Raises WireError."""
    text = message.get(key, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= PORT_MAX):  # noqa: PLR2004 (digits)
        raise WireError(f"{key} is no port: {text[:16]!r}")
    return int(text)


def _moment(as_of: str) -> float:
    if not as_of:
        return time.time()
    try:
        return datetime.datetime.fromisoformat(as_of).astimezone(datetime.UTC).timestamp()
    except (ValueError, OverflowError) as err:
        raise WireError(f"as_of is no ISO 8601 time: {as_of[:40]!r}") from err


def _send_document(send: Send, document: Mapping[str, Any]) -> None:
    text = json.dumps(document)
    for start in range(0, len(text), PIECE):
        send({wire.KEY_ANSWER: wire.ANSWER_INFO, wire.KEY_TEXT: text[start : start + PIECE]})
    send({wire.KEY_ANSWER: wire.ANSWER_VERDICT, wire.KEY_VERDICT: wire.VERDICT_ALLOW})
