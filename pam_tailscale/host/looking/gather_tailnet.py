"""Finds out about tailscaled, the interface of its addresses, and the agent. Judges nothing."""

import contextlib
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pam_tailscale import wire
from pam_tailscale.client import ask_document, ask_explanation
from pam_tailscale.config import Config, TailscaledConfig
from pam_tailscale.errors import PamTailscaleError, TailscaledError
from pam_tailscale.host.facts import Agent, Answer, HostAddress, Interface, Session, Tailscaled, Unknown
from pam_tailscale.host.pinning import pin_of
from pam_tailscale.model import IPAddress
from pam_tailscale.tailnet import routes
from pam_tailscale.tailnet.localapi import LocalAPI

_ABOUT_THE_PIN = "pinned"
"""Stands in what the agent says of a pin that is missing or differs: that is judged by the pin itself."""


def addresses() -> tuple[HostAddress, ...]:
    """This host's addresses. Raises TailscaledError."""
    listed = sorted(routes.own_addresses(), key=lambda one: (one[1], one[0].version, int(one[0])))
    return tuple(HostAddress(Interface(_name(index), index), address) for address, index in listed)


def _name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"interface {index}"  # it went away since


def tailscaled(config: TailscaledConfig, own: Iterable[HostAddress]) -> Tailscaled:
    """What tailscaled says. `own`: this host's addresses."""
    with contextlib.closing(LocalAPI(config.socket, config.timeout)) as api:
        try:
            status, prefs = api.status(), api.prefs()
        except TailscaledError as err:
            return Tailscaled(problem=str(err))
    return Tailscaled(
        problem="",
        state=status.backend_state,
        logged_out=prefs.logged_out or status.backend_state == "NeedsLogin",
        tun=status.tun,
        run_ssh=prefs.run_ssh,
        operator=prefs.operator_user,
        shields_up=prefs.shields_up,
        addresses=status.self_addresses,
        interface=_carrier(status.self_addresses, own),
        now=pin_of(status, prefs),
    )


def _carrier(wanted: Iterable[IPAddress], own: Iterable[HostAddress]) -> Interface | None:
    """The one interface that has the node's addresses; a host without IPv6 has only one of the two."""
    found = {one.interface for one in own if one.address in set(wanted)}
    return found.pop() if len(found) == 1 else None


Ask = Callable[..., dict[str, Any]]


def agent(config: Config, ask: Ask = ask_document) -> Agent:
    """What the agent says of itself."""
    try:
        status = ask(config.agent.socket, {wire.KEY_REQUEST: wire.REQUEST_STATUS})
        return _agent(status, config.agent.pin)
    except PamTailscaleError as err:
        return Agent(problem=str(err))
    except (KeyError, TypeError, AttributeError) as err:
        return Agent(problem=f"the agent's status cannot be read ({err!r}): restart it after an upgrade")


def _agent(status: dict[str, Any], pin: Path) -> Agent:
    problems = [text for text in status["problems"] if _ABOUT_THE_PIN not in text and str(pin) not in text]
    return Agent("", tuple(problems), tuple(status["warnings"]), status["agent"]["mode"])


def answer(session: Session, config: Config, ask: Ask = ask_explanation) -> Answer | Unknown:
    """What the agent would say to a login like the one that a session came by."""
    try:
        told = ask(config.agent.socket, session.account, session.client, session.client_port)
        return Answer(
            str(told["decision"]), str(told["reason"]), str(told["detail"]), can_tell=told["can_tell"] is True
        )
    except PamTailscaleError as err:
        return Unknown("what the policy says to this connection", str(err))
    except KeyError as err:
        return Unknown("what the policy says to this connection", f"the agent's answer has no {err}")
