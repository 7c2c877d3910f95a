"""What a rule withholds, the options by which sshd withholds it, and the methods that cannot."""

import dataclasses
import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_tailscale.model import NOTHING_WITHHELD, Decision, Method, Mode, Phase, Reason, Request, Verdict, Withheld
from pam_tailscale.policy.rules import Action, parse_action
from pam_tailscale.policy.withholding import (
    COMMAND_MAX,
    by_method,
    can_be_quoted,
    cannot_limit,
    key_options,
    names,
    needs_key,
    withheld,
)
from pam_tailscale.wire import OPTIONS_MAX
from tests.support.facts import ACCEPT, CHECK, PEER, REQUEST

EVERYTHING = Withheld(
    agent_forwarding=True, local_forwarding=True, remote_forwarding=True, pty=True, command="/usr/bin/id"
)
COMMANDS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
FORM = re.compile(
    r'restrict(,agent-forwarding)?(,port-forwarding)?(,permitopen="255\.255\.255\.255:1")?(,pty)?'
    r'(,command="(\\"|[ !#-~])+(?<!\\)")?'
)
"""As tailscale_wire.h has it."""

FLAGS = [
    ("allowAgentForwarding", "agent_forwarding"),
    ("allowLocalPortForwarding", "local_forwarding"),
    ("allowRemotePortForwarding", "remote_forwarding"),
]


def test_a_plain_accept_withholds_nothing() -> None:
    """And so nothing of it changes."""
    assert withheld(parse_action(ACCEPT)) == NOTHING_WITHHELD
    assert NOTHING_WITHHELD.nothing
    assert (key_options(NOTHING_WITHHELD), names(NOTHING_WITHHELD), needs_key(NOTHING_WITHHELD)) == ("", (), "")


@pytest.mark.parametrize(("flag", "part"), FLAGS)
def test_each_permission_that_is_missing_is_withheld(flag: str, part: str) -> None:
    """By itself, with its name for the administrator."""
    found = withheld(parse_action(ACCEPT | {flag: False}))
    assert [name for name in dataclasses.asdict(found) if getattr(found, name)] == [part]
    assert not found.nothing
    assert names(found) == (f"{flag} withheld",)
    assert flag in needs_key(found)


def test_accept_alone_withholds_every_forwarding() -> None:
    """`{"accept": true}` is a rule without any."""
    assert len(names(withheld(parse_action({"accept": True})))) == 3


def test_a_terminal_and_a_command_come_from_our_own_sources() -> None:
    """A terminal that is not spoken of is sshd's affair."""
    whole = dataclasses.replace(parse_action(ACCEPT), pty=False, command="id")
    assert withheld(whole) == Withheld(pty=True, command="id")
    assert names(withheld(whole)) == ("pty withheld", "one command alone")
    for pty in (None, True):
        assert withheld(dataclasses.replace(whole, pty=pty, command="")) == NOTHING_WITHHELD


def test_a_check_brings_its_permissions_with_its_answer() -> None:
    """Unless its source says them: then they count, and so do the other attributes in any case."""
    netmap = parse_action(CHECK)
    assert withheld(netmap) == NOTHING_WITHHELD
    assert withheld(dataclasses.replace(netmap, pty=False, command="id")) == Withheld(pty=True, command="id")
    said = dataclasses.replace(netmap, forwarding_said=True, allow_agent_forwarding=True)
    assert withheld(said) == Withheld(local_forwarding=True, remote_forwarding=True)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        (Withheld(agent_forwarding=True), "restrict,port-forwarding,pty"),
        (
            Withheld(local_forwarding=True),
            'restrict,agent-forwarding,port-forwarding,permitopen="255.255.255.255:1",pty',
        ),
        (Withheld(remote_forwarding=True), "restrict,agent-forwarding,pty"),
        (Withheld(pty=True), "restrict,agent-forwarding,port-forwarding"),
        (Withheld(command="id"), 'restrict,agent-forwarding,port-forwarding,pty,command="id"'),
        (EVERYTHING, 'restrict,command="/usr/bin/id"'),
        (Withheld(command='echo "a b"'), 'restrict,agent-forwarding,port-forwarding,pty,command="echo \\"a b\\""'),
    ],
    ids=str,
)
def test_options(what: Withheld, options: str) -> None:
    """All that is not given back is taken; the remote direction of ports takes the local one with it."""
    assert key_options(what) == options


def dequoted(options: str) -> str | None:
    """The command that sshd reads (misc.c, opt_dequote), where the options end behind it."""
    rest, command = options.partition('command="')[2], ""
    while rest and rest[0] != '"':
        rest = rest[1:] if rest.startswith('\\"') else rest
        command, rest = command + rest[0], rest[1:]
    return command if rest == '"' else None


@given(COMMANDS.filter(bool), st.booleans())
def test_sshd_reads_back_the_very_command_or_none(command: str, pty: bool) -> None:  # noqa: FBT001 (drawn)
    """Whatever quotes and backslashes it has."""
    if not can_be_quoted(command):
        assert command.endswith("\\")
        return
    options = key_options(Withheld(pty=pty, command=command))
    assert dequoted(options) == command
    assert FORM.fullmatch(options)


@pytest.mark.parametrize(
    "command",
    [
        "a\nssh-ed25519 AAAA",
        "a\r",
        "a\0",
        "a\tb",
        "\x1b[2J",
        "\x7f",
        "jos\u00e9",
        "a\\",
        '"\\',
        "x" * (COMMAND_MAX + 1),
    ],
    ids=ascii,
)
def test_what_could_leave_its_line_or_its_quotes_is_refused(command: str) -> None:
    """And not made to fit."""
    assert not can_be_quoted(command)
    with pytest.raises(ValueError, match="cannot be quoted"):
        key_options(Withheld(command=command))


def test_the_longest_options_fit_the_wire() -> None:
    """Every character may need a backslash."""
    longest = key_options(Withheld(command='"' * COMMAND_MAX))
    assert len(longest) <= OPTIONS_MAX


def limited(what: Withheld = EVERYTHING, **changes: object) -> Decision:
    """A login that is let in within limits."""
    decision = Decision(Verdict.ALLOW, Reason.ACCEPTED, "ab12", rule=3, peer=PEER, message="welcome", withheld=what)
    return dataclasses.replace(decision, **changes)  # type: ignore[arg-type]  # names and values of its fields


def asking(method: Method, phase: Phase = Phase.AUTH, mode: Mode = Mode.ENFORCE) -> Request:
    """A shim's question."""
    return dataclasses.replace(REQUEST, method=method, phase=phase, mode=mode)


@pytest.mark.parametrize("method", [Method.NONE, Method.KEYBOARD, Method.UNKNOWN])
def test_a_method_that_cannot_limit_fails(method: Method) -> None:
    """With the method that can, and without the rule's welcome."""
    found = by_method(limited(), asking(method))
    assert (found.verdict, found.reason) == (Verdict.DENY, Reason.METHOD_CANNOT_LIMIT)
    assert "log in with a key" in found.detail
    assert "allowAgentForwarding withheld" in found.detail
    assert (found.message, found.rule, found.peer) == ("", 3, PEER)


@pytest.mark.parametrize("what", [Withheld(pty=True), Withheld(command="id"), Withheld(agent_forwarding=True)], ids=str)
def test_any_limit_is_one(what: Withheld) -> None:
    """None of them can be carried by a method of PAM."""
    assert not by_method(limited(what), asking(Method.NONE)).allowed


def test_what_can_limit_or_need_not_is_left_alone() -> None:
    """A key, a rule without limits, a refusal, the phases without a method, and a host that only observes."""
    for decision, request in [
        (limited(), asking(Method.PUBLICKEY)),
        (limited(NOTHING_WITHHELD), asking(Method.NONE)),
        (limited(verdict=Verdict.DENY, reason=Reason.NO_RULE), asking(Method.NONE)),
        (limited(verdict=Verdict.CHECK, reason=Reason.CHECK_NEEDED), asking(Method.KEYBOARD)),
        (limited(), asking(Method.UNKNOWN, Phase.ACCOUNT)),
        (limited(), asking(Method.UNKNOWN, Phase.SESSION)),
        (limited(), asking(Method.UNKNOWN, Phase.SESSION, Mode.OBSERVE)),
    ]:
        assert by_method(decision, request) == decision


def test_a_refusal_for_want_of_limits_keeps_who_it_is_about() -> None:
    """The journal says rule and peer."""
    found = cannot_limit(limited(), "why")
    assert not found.allowed
    assert (found.detail, found.id, found.rule) == ("why", "ab12", 3)


def test_every_rule_has_options_of_the_form_that_the_helper_takes() -> None:
    """All that can be withheld together."""
    for agent, local, remote, pty in itertools.product((True, False), repeat=4):
        action = Action(
            accept=True,
            allow_agent_forwarding=agent,
            allow_local_port_forwarding=local,
            allow_remote_port_forwarding=remote,
            pty=None if pty else False,
        )
        options = key_options(withheld(action))
        assert (options == "") is (agent and local and remote and pty)
        assert not options or FORM.fullmatch(options)
        assert not options or ("port-forwarding" in options) is remote
        assert ("permitopen" in options) is (remote and not local)
