"""The module gives sshd the code and the person the text that each method and phase calls for."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pam_tailscale import wire
from tests.support import pamstack
from tests.support.pamstack import Login, PamStack
from tests.support.scripted_agent import ALLOW, answer, deny, info, limited, say, scripted_agent

MakeStack = Callable[..., PamStack]

NONE = Login()
KEYBOARD = Login(at_keyboard=True)
LAN = Login(connection="192.0.2.7 50123 192.0.2.1 22")
ALL_STEPS = ("auth", "account", "setcred", "open", "close")
EVERYTHING = {"descriptors", "environment", "user", "sigpipe"}
REASON = "tailnet policy does not permit you to SSH as alice"


@pytest.mark.parametrize("login", [NONE, KEYBOARD], ids=["none", "keyboard-interactive"])
def test_allow_opens_every_step_without_a_word(stack: MakeStack, login: Login) -> None:
    """An accepted login passes all of PAM, with no prompt and no text, and leaves no trace in the process."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent).run(*ALL_STEPS, login=login)
    assert run.codes == [pamstack.SUCCESS] * 5
    assert run.shown == []
    assert run.log == ()
    assert [step.kept for step in run.steps] == [EVERYTHING] * 5
    method = "keyboard-interactive" if login.at_keyboard else "none"
    assert [(a.pairs["method"], a.pairs["phase"]) for a in agent.asked] == [
        (method, "auth"),
        ("unknown", "account"),
        ("unknown", "session"),
    ]


def test_request_carries_the_whole_connection(stack: MakeStack) -> None:
    """The agent learns the account, both ends, and what the answer is for."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent).run("auth")
    assert agent.asked[0].pairs == {
        "request": "decide",
        "user": "alice",
        "client": "100.64.0.7",
        "client_port": "50123",
        "server": "100.64.0.1",
        "server_port": "22",
        "method": "none",
        "phase": "auth",
        "mode": "enforce",
        "interface": "0",
    }


KEY_LINE = "publickey ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJv"


@pytest.mark.parametrize(
    ("info", "earlier"),
    [
        ("", None),
        ("none", "none"),
        (KEY_LINE, "publickey"),
        (f"{KEY_LINE}\n{KEY_LINE}\nkeyboard-interactive/pam\n", "publickey,publickey,keyboard-interactive"),
        ("\n\nnone\n", "none"),
        ("x" * 300, "unknown"),
        ("none\n" * 80, ",".join([*["none"] * 49, "unknown"])),
    ],
    ids=["nothing", "one", "details", "several", "empty lines", "a long name", "many"],
)
def test_account_tells_which_methods_came_before(stack: MakeStack, info: str, earlier: str | None) -> None:
    """By their names alone, which are what AuthenticationMethods lists; a login beyond all bounds says so."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent).run("auth", "account", "open", login=Login(earlier=info))
    assert [asked.pairs.get(wire.KEY_EARLIER) for asked in agent.asked] == [None, earlier, None]


BLOB = KEY_LINE.split()[2]


@pytest.mark.parametrize(
    ("info", "key"),
    [
        ("", None),
        ("none\n", None),
        (KEY_LINE, BLOB),
        (f"{KEY_LINE}\n", BLOB),
        (f"{KEY_LINE}\npublickey ssh-rsa AAAAB3\n", "AAAAB3"),
        (f"{KEY_LINE} detail\n", BLOB),
        (f"{KEY_LINE}\nkeyboard-interactive/pam\n", None),
        ("publickey\n", None),
        ("publickey ssh-rsa\n", None),
        ("publickey ssh-rsa \n", None),
        ("publickeys ssh-rsa AAAAB3\n", None),
        (f"publickey ssh-rsa {'A' * wire.OFFERED_MAX}\n", "A" * wire.OFFERED_MAX),
        (f"publickey ssh-rsa {'A' * (wire.OFFERED_MAX + 1)}\n", None),
    ],
    ids=lambda value: str(value)[-40:].strip(),
)
def test_the_session_tells_the_key_that_sshd_took(stack: MakeStack, info: str, key: str | None) -> None:
    """That of the last method, where it was one of publickey."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent).run("auth", "account", "open", login=Login(earlier=info))
    assert [asked.pairs.get(wire.KEY_OFFERED) for asked in agent.asked] == [None, None, key]


@pytest.mark.parametrize(
    ("login", "step", "code", "is_told"),
    [
        (NONE, "auth", pamstack.AUTH_ERR, False),
        (KEYBOARD, "auth", pamstack.MAXTRIES, True),
        (NONE, "account", pamstack.PERM_DENIED, True),
        (NONE, "open", pamstack.SESSION_ERR, True),
    ],
    ids=["none", "keyboard-interactive", "account", "session"],
)
def test_denial_has_its_code_and_its_text(
    stack: MakeStack, login: Login, step: str, code: int, *, is_told: bool
) -> None:
    """At `none` nothing is shown: sshd would keep it and show it once another method has succeeded."""
    with scripted_agent(say(deny(REASON))) as agent:
        run = stack(agent).run(step, login=login)
    assert run.codes == [code]
    assert run.shown == ([(pamstack.ERROR_MSG, REASON.encode())] if is_told else [])
    assert run.log == ()
    assert run.steps[0].kept == EVERYTHING


@pytest.mark.parametrize(
    ("login", "step", "code"),
    [
        (NONE, "auth", pamstack.AUTH_ERR),
        (KEYBOARD, "auth", pamstack.MAXTRIES),
        (NONE, "account", pamstack.PERM_DENIED),
        (NONE, "open", pamstack.SESSION_ERR),
    ],
    ids=["none", "keyboard-interactive", "account", "session"],
)
def test_what_only_a_key_may_have_is_a_refusal_here(stack: MakeStack, login: Login, step: str, code: int) -> None:
    """The module has no key in front of which options could stand."""
    with scripted_agent(say(limited("restrict"))) as agent:
        run = stack(agent).run(step, login=login)
    assert run.codes == [code]
    assert (pamstack.TEXT_INFO, b"restrict") not in run.shown


def test_silence_is_kept_when_asked_for(stack: MakeStack) -> None:
    """PAM_SILENT refuses without a text."""
    with scripted_agent(say(deny(REASON))) as agent:
        run = stack(agent).run("silent-auth", login=KEYBOARD)
    assert (run.codes, run.shown) == ([pamstack.MAXTRIES], [])


@pytest.mark.parametrize("login", [NONE, KEYBOARD], ids=["none", "keyboard-interactive"])
def test_messages_of_the_rule_are_shown_on_success(stack: MakeStack, login: Login) -> None:
    """What the agent wants the person to read comes before the session, in order."""
    with scripted_agent(say(info("Maintenance at noon."), info("Be brief."), ALLOW)) as agent:
        run = stack(agent).run("auth", login=login)
    assert run.codes == [pamstack.SUCCESS]
    assert run.shown == [(pamstack.TEXT_INFO, b"Maintenance at noon."), (pamstack.TEXT_INFO, b"Be brief.")]


def test_messages_are_dropped_where_the_login_is_refused(stack: MakeStack) -> None:
    """A line sent before a refusal is not shown at `none`, and does not stand beside the reason elsewhere."""
    with scripted_agent(say(info("Welcome."), deny(REASON))) as agent:
        runs = [stack(agent).run("auth", login=login) for login in (NONE, KEYBOARD)]
    assert [run.shown for run in runs] == [[], [(pamstack.ERROR_MSG, REASON.encode())]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("%s%n%x", b"%s%n%x"),
        ("\x1b[2Jgone\x07", b"?[2Jgone?"),
        ("line\nline\ttab\rback", b"line\nline\ttab?back"),
        ("Grüße, 世界 \U0001f600", "Grüße, 世界 \U0001f600".encode()),
        ("C1 \x9b31m", b"C1 ??31m"),
        ("\udcff\udcc3", b"??"),
        ("half \udce4\udcb8", b"half ??"),
        ("\udcc0\udcaf \udced\udca0\udc80 \udcf4\udc90\udc80\udc80", b"?? ??? ????"),
        ("\x7f", b"?"),
        ("x" * 5000, b"x" * 1024),
        ("ä" * 600, "ä".encode() * 512),
    ],
    ids=[
        "format",
        "escape",
        "lines",
        "unicode",
        "c1",
        "not-utf8",
        "half",
        "overlong-surrogate-range",
        "del",
        "long",
        "cut",
    ],
)
def test_text_for_the_person_is_harmless(stack: MakeStack, text: str, shown: bytes) -> None:
    """Nothing from the agent is a format string or a terminal's command, and nothing is longer than the bound."""
    with scripted_agent(say(deny(text))) as agent:
        run = stack(agent).run("auth", login=KEYBOARD)
    assert run.shown == [(pamstack.ERROR_MSG, shown)]


def test_denial_without_text_still_says_something(stack: MakeStack) -> None:
    """A refusal is never mute at the keyboard."""
    with scripted_agent(say(answer("verdict", verdict="deny", id="1"))) as agent:
        run = stack(agent).run("auth", login=KEYBOARD)
    assert run.shown == [(pamstack.ERROR_MSG, wire.TEXT_TRY_AGAIN.encode())]


def test_other_connections_are_not_ours(stack: MakeStack) -> None:
    """A LAN login: every step ignored, nobody asked, nothing logged or shown, nothing changed in the process."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent).run(*ALL_STEPS, login=LAN)
    assert run.codes == [pamstack.IGNORED] * 5
    assert agent.connections == 0
    assert (run.shown, run.log) == ([], ())
    assert [step.kept for step in run.steps] == [EVERYTHING] * 5


@pytest.mark.parametrize("arguments", [["debug"], ["mode=enforce", "timeout=3"], ["nonsense"], ["addresses=x"]])
def test_other_connections_stay_untouched_whatever_the_arguments(stack: MakeStack, arguments: list[str]) -> None:
    """Neither debug nor a mistake in the line reaches a LAN login."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent, *arguments).run(*ALL_STEPS, login=LAN)
    assert (run.codes, run.shown, run.log, agent.connections) == ([pamstack.IGNORED] * 5, [], (), 0)


def test_credentials_and_close_ask_nobody(stack: MakeStack) -> None:
    """They come after a decision; asking again could only lock out somebody who is already in."""
    with scripted_agent(say(deny("no"))) as agent:
        run = stack(agent).run("setcred", "close")
    assert (run.codes, agent.connections) == ([pamstack.SUCCESS] * 2, 0)


@pytest.mark.parametrize("script", [say(ALLOW), say(deny("no")), say(b"garbage")], ids=["allow", "deny", "garbage"])
def test_observe_only_watches(stack: MakeStack, script: Callable[..., None]) -> None:
    """The session asks, so that the agent can log what it would have said; no answer changes anything."""
    with scripted_agent(script) as agent:
        run = stack(agent, "mode=observe").run(*ALL_STEPS, login=KEYBOARD)
    assert run.codes == [pamstack.IGNORED] * 5
    assert run.shown == []
    assert [(a.pairs["mode"], a.pairs["phase"]) for a in agent.asked] == [("observe", "session")]


def test_observe_lets_in_without_an_agent(stack: MakeStack) -> None:
    """An agent that is not there is logged and changes nothing."""
    run = stack(None, "mode=observe").run(*ALL_STEPS)
    assert run.codes == [pamstack.IGNORED] * 5
    assert "reason=agent_unreachable" in run.log[0]


def test_observe_asks_nobody_about_other_connections(stack: MakeStack) -> None:
    """Observing is about the tailnet alone."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent, "mode=observe").run("open", login=LAN)
    assert (run.codes, run.log, agent.connections) == ([pamstack.IGNORED], (), 0)


@pytest.mark.parametrize(
    "argument",
    [
        "nonsense",
        "mode=",
        "mode=permit",
        "Mode=observe",
        "debug=1",
        "socket=",
        "socket=relative.sock",
        "socket=/" + "x" * 108,
        "agent_uid=",
        "agent_uid=-1",
        "agent_uid=root",
        "agent_uid=4294967295",
        "agent_uid=99999999999999999999",
        "timeout=",
        "timeout=0",
        "timeout=-1",
        "timeout=1.5",
        "timeout=121",
        "addresses=",
        "addresses=100.64.0.0/10,",
        "addresses=,100.64.0.0/10",
        "addresses=100.64.0.0/33",
        "addresses=100.64.0.0",
        "addresses=100.64.0.1/10",
        "addresses=100.64.0.0/010",
        "addresses=fd7a:115c:a1e0::/129",
        "addresses=fe80::1%lo/64",
        "addresses=tailnet",
        "addresses=" + ",".join(["10.0.0.0/8"] * 17),
    ],
)
def test_bad_argument_refuses_the_tailnet(stack: MakeStack, argument: str) -> None:
    """A line nobody can read for certain lets nobody in over the tailnet, not even in mode=observe, and is logged."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent, "mode=observe", argument).run(*ALL_STEPS)
    refusals = [pamstack.AUTH_ERR, pamstack.PERM_DENIED, pamstack.CRED_ERR, pamstack.SESSION_ERR, pamstack.SESSION_ERR]
    assert run.codes == refusals
    assert agent.connections == 0
    assert all("reason=bad_argument" in line for line in run.log)
    assert len(run.log) == 5


def test_bad_argument_does_not_hide_the_configured_networks(stack: MakeStack) -> None:
    """A tailnet with addresses of its own stays a tailnet when another argument is misspelt."""
    login = replace(NONE, connection="10.9.0.7 50123 10.9.0.1 22")
    run = stack(None, "addresses=10.9.0.0/16", "nonsense").run("auth", login=login)
    assert run.codes == [pamstack.AUTH_ERR]


def test_configured_networks_replace_the_default(stack: MakeStack) -> None:
    """addresses= says what the tailnet is: what it leaves out is not ours."""
    with scripted_agent(say(ALLOW)) as agent:
        made = stack(agent, "addresses=10.9.0.0/16,fd00::/8")
        connections = ["10.9.0.7 5 10.9.0.1 22", "fd00::7 5 fd00::1 22", "100.64.0.7 5 100.64.0.1 22"]
        codes = [made.run("auth", login=Login(connection=text)).codes[0] for text in connections]
    assert codes == [pamstack.SUCCESS, pamstack.SUCCESS, pamstack.IGNORED]


def test_debug_adds_the_decision_to_the_log(stack: MakeStack) -> None:
    """With debug the id of the decision leads from sshd's log to the agent's."""
    with scripted_agent(say(ALLOW)) as agent:
        run = stack(agent, "debug").run("auth")
    assert len(run.log) == 1
    assert 'decision=allow id="a1b2" phase=auth method=none ms=' in run.log[0]


@pytest.mark.parametrize("connection", ["100.64.0.7 5 100.64.0.1 22", "192.0.2.7 5 192.0.2.1 22"], ids=["ours", "lan"])
@pytest.mark.parametrize("step", ALL_STEPS)
def test_errno_survives_each_call(stack: MakeStack, connection: str, step: str) -> None:
    """Called as libpam calls it, a function leaves errno as it was, whatever failed inside."""
    run = stack(None).run(f"direct-{step}", login=Login(connection=connection))
    assert run.steps[0].errno == pamstack.ERRNO_BEFORE
    assert run.steps[0].kept == EVERYTHING
