"""What a rule lets somebody in without, and how stock sshd is made to withhold it. Pure.

A login by key can be limited: the helper prints the offered key behind options (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
`none` and keyboard-interactive cannot: for them sshd knows only its static settings, the same for everybody on the
tailnet, so they fail for a rule that withholds anything.

The options begin with `restrict`, so that nothing is allowed that is not named, also of what later versions of sshd may
do; X11 forwarding, which no rule can allow, goes with it.

`port-forwarding` is one switch for both directions, and a second option can narrow one of them [ran, 9.2 and 10.0]:
`permitopen` is asked for ports and for Unix sockets, so that a destination to which there is no TCP (the broadcast
address) leaves `ssh -L` nothing. `permitlisten` is asked for ports alone, and `ssh -R` could still make Unix sockets on
the host that lead to the client: a rule that withholds the remote direction gets no forwarding of ports in either.
`none`, which sshd_config's PermitOpen takes, both refuse: a line with it is no key at all.

`acceptEnv` is not here. It only ever allows, and under every rule Tailscale's own server also takes TERM, LANG and LC_*
(ssh/tailssh, acceptEnvPair): what Debian's sshd_config accepts (in 13 COLORTERM and NO_COLOR, too). A variable that is
not accepted limits more than the rule does, which is safe. One that is accepted beyond that was named by root of this
host, in sshd_config, for whoever logs in; sshd has no option of a key that would take it back.

Two settings of sshd's own come before the options: ForceCommand runs in place of `command`, and PermitTunnel (off
unless root turns it on) is no forwarding to them.
"""

import dataclasses
from typing import Final

from pam_tailscale.model import Decision, Method, Mode, Phase, Reason, Request, Verdict, Withheld
from pam_tailscale.policy.rules import Action

NOWHERE: Final = 'permitopen="255.255.255.255:1"'
COMMAND_MAX: Final = 1024
"""Characters of a forced command; in quotes they may be twice as many, which still fits the wire (OPTIONS_MAX)."""


def withheld(action: Action) -> Withheld:
    """What an accepting action, or one that asks for a check, withholds."""
    says = not action.hold_and_delegate or action.forwarding_said
    return Withheld(
        agent_forwarding=says and not action.allow_agent_forwarding,
        local_forwarding=says and not action.allow_local_port_forwarding,
        remote_forwarding=says and not action.allow_remote_port_forwarding,
        pty=action.pty is False,
        command=action.command,
    )


def names(what: Withheld) -> tuple[str, ...]:
    """What is withheld, for the administrator, in the policy's words."""
    found = {
        "allowAgentForwarding withheld": what.agent_forwarding,
        "allowLocalPortForwarding withheld": what.local_forwarding,
        "allowRemotePortForwarding withheld": what.remote_forwarding,
        "pty withheld": what.pty,
        "one command alone": bool(what.command),
    }
    return tuple(name for name, is_withheld in found.items() if is_withheld)


def can_be_quoted(command: str) -> bool:
    """Whether sshd would read a forced command back as it is.

    A line end would begin another key, and a backslash in front of the closing quote would take it for a part of the
    command (misc.c, opt_dequote).
    """
    fits = len(command) <= COMMAND_MAX and not command.endswith("\\")
    return fits and command.isascii() and (not command or command.isprintable())


def key_options(what: Withheld) -> str:
    """The options in front of the offered key; empty where nothing is withheld.

    Raises ValueError for a command that cannot be quoted.
    """
    if what.nothing:
        return ""
    if not can_be_quoted(what.command):
        raise ValueError("a command that cannot be quoted is no option of a key")
    given = {
        "agent-forwarding": not what.agent_forwarding,
        "port-forwarding": not what.remote_forwarding,
        NOWHERE: what.local_forwarding and not what.remote_forwarding,
        "pty": not what.pty,
    }
    options = ["restrict", *(name for name, stands in given.items() if stands)]
    if what.command:
        quoted = what.command.replace('"', '\\"')
        options.append(f'command="{quoted}"')
    return ",".join(options)


def needs_key(what: Withheld) -> str:
    """What the administrator reads about a login that is limited; empty where nothing is withheld."""
    if what.nothing:
        return ""
    return f"by key alone, since sshd can withhold it ({', '.join(names(what))}) from no other method"


def by_method(decision: Decision, request: Request) -> Decision:
    """The decision, or a refusal where its limits cannot be carried by the method that asks.

    A connection's later phases do not know the method: there the agent's memory of what it granted decides. Where the
    host only observes, it is the policy's answer that is logged.
    """
    asks = request.phase is Phase.AUTH and request.mode is Mode.ENFORCE
    if not decision.allowed or decision.withheld.nothing or not asks or request.method is Method.PUBLICKEY:
        return decision
    return cannot_limit(decision, f"the rule lets in {needs_key(decision.withheld)}: log in with a key, any will do")


def cannot_limit(decision: Decision, detail: str) -> Decision:
    """A login that the policy accepts, refused because nothing would enforce what it withholds."""
    return dataclasses.replace(
        decision, verdict=Verdict.DENY, reason=Reason.METHOD_CANNOT_LIMIT, detail=detail, message=""
    )
