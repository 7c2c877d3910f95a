"""A check at the module: where it may be passed, and what the person is shown and asked."""

import socket
from collections.abc import Callable

import pytest

from pam_tailscale import wire
from tests.native.at_prompt import ASKED, ENTER, LATER, SHOWN, Keyboard, reason_of
from tests.support import pamstack
from tests.support.pamstack import Login, PamStack
from tests.support.scripted_agent import (
    ALLOW,
    altered,
    answer,
    check,
    deny,
    expect_continue,
    info,
    prompt,
    prompting,
    say,
    say_too_late,
    scripted_agent,
)

MakeStack = Callable[..., PamStack]

NONE = Login()
KEYBOARD = Login(at_keyboard=True)
EVERYTHING = {"descriptors", "environment", "user", "sigpipe"}
REASON = "tailnet policy needs you to authenticate"

# The verdict


@pytest.mark.parametrize(
    ("login", "step", "code", "is_told"),
    [
        (NONE, "auth", pamstack.TRY_AGAIN, False),
        (KEYBOARD, "auth", pamstack.MAXTRIES, True),
        (NONE, "account", pamstack.PERM_DENIED, True),
        (KEYBOARD, "account", pamstack.PERM_DENIED, True),
        (NONE, "open", pamstack.SESSION_ERR, True),
    ],
    ids=["none", "keyboard-interactive", "account", "account after keyboard-interactive", "session"],
)
def test_check_is_a_no_everywhere(stack: MakeStack, login: Login, step: str, code: int, *, is_told: bool) -> None:
    """At `none` it is the no after which sshd goes on to the prompt; elsewhere it is like any other."""
    with scripted_agent(say(check(REASON))) as agent:
        run = stack(agent).run(step, login=login)
    assert run.codes == [code]
    assert run.shown == ([(pamstack.ERROR_MSG, REASON.encode())] if is_told else [])
    assert run.log == ()
    assert run.steps[0].kept == EVERYTHING


def test_check_at_none_does_not_spoil_what_comes_after(stack: MakeStack) -> None:
    """The result of the first method is kept for pam_setcred(), which has to succeed once the check is passed."""
    with scripted_agent(say(check(REASON)), say(deny(REASON))) as agent:
        made = stack(agent)
        runs = [made.run("auth", "setcred"), made.run("auth", "setcred")]
    assert runs[0].codes == [pamstack.TRY_AGAIN, pamstack.SUCCESS]
    assert runs[1].codes[0] == pamstack.AUTH_ERR
    assert runs[1].codes[1] != pamstack.SUCCESS


@pytest.mark.parametrize("word", ["CHECK", "check ", "checked", "chec", "check\n", "prompt", "continue"])
def test_only_the_exact_word_is_a_check(stack: MakeStack, word: str) -> None:
    """What is nearly a check is a broken answer."""
    with scripted_agent(say(answer("verdict", verdict=word))) as agent:
        run = stack(agent).run("auth")
    assert run.codes == [pamstack.AUTH_ERR]
    assert reason_of(run) == "agent_answer_damaged"


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_no_altered_check_lets_in(stack: MakeStack, mask: int) -> None:
    """There is no byte of it that makes a yes; what is no check any more is a plain no."""
    scripts = altered(answer("verdict", verdict="check"), mask)
    with scripted_agent(*scripts) as agent:
        run = stack(agent).run(*["auth"] * len(scripts))
    assert run.codes == [pamstack.AUTH_ERR] * len(scripts)


def test_observe_ignores_a_check(stack: MakeStack) -> None:
    """The agent logs that one would be needed; the login goes on as if we were not there."""
    with scripted_agent(say(check(REASON))) as agent:
        run = stack(agent, "mode=observe").run("auth", "account", "open", login=KEYBOARD)
    assert (run.codes, run.shown, run.log) == ([pamstack.IGNORED] * 3, [], ())


def test_debug_names_the_check(stack: MakeStack) -> None:
    """The word of the agent, not another no."""
    with scripted_agent(say(check(REASON))) as agent:
        run = stack(agent, "debug").run("auth")
    assert 'decision=check id="a1b2" phase=auth method=none ms=' in run.log[0]


# Where a prompt may stand


@pytest.mark.parametrize(
    ("at_keyboard", "step", "code"),
    [
        (False, "auth", pamstack.AUTH_ERR),
        (False, "account", pamstack.PERM_DENIED),
        (True, "account", pamstack.PERM_DENIED),
        (False, "open", pamstack.SESSION_ERR),
    ],
    ids=["none", "account", "account after keyboard-interactive", "session"],
)
def test_prompt_elsewhere_is_a_broken_answer(
    stack: MakeStack, keyboard: Keyboard, step: str, code: int, *, at_keyboard: bool
) -> None:
    """Nobody can be asked there: it is not shown, not answered, and no yes behind it counts."""
    keyboard.type(ENTER)
    login = Login(at_keyboard=at_keyboard, keyboard=keyboard.end)
    with scripted_agent(say(prompt(ASKED), ALLOW)) as agent:
        run = stack(agent).run(step, login=login)
    assert run.codes == [code]
    assert run.shown == ([] if step == "auth" else [LATER])
    assert reason_of(run) == "agent_answer_damaged"


def test_observe_prompts_nobody(stack: MakeStack, keyboard: Keyboard) -> None:
    """A login that is only watched is not held up."""
    keyboard.type(ENTER)
    with scripted_agent(say(prompt(ASKED), ALLOW)) as agent:
        run = stack(agent, "mode=observe").run("auth", "account", "open", login=keyboard.login)
    assert (run.codes, run.shown) == ([pamstack.IGNORED] * 3, [])
    assert reason_of(run) == "agent_answer_damaged"


# The prompt


@pytest.mark.parametrize(
    ("verdict", "code", "told"),
    [
        (ALLOW, pamstack.SUCCESS, ()),
        (deny(REASON), pamstack.MAXTRIES, ((pamstack.ERROR_MSG, REASON.encode()),)),
        (check(REASON), pamstack.MAXTRIES, ((pamstack.ERROR_MSG, REASON.encode()),)),
    ],
    ids=["allow", "deny", "check"],
)
@pytest.mark.parametrize("count", [1, 3, wire.PROMPTS_MAX])
def test_after_enter_the_agent_has_the_word(
    stack: MakeStack, keyboard: Keyboard, count: int, verdict: bytes, code: int, told: tuple[tuple[int, bytes], ...]
) -> None:
    """Each prompt is shown and answered in turn, on the one connection; the verdict is what counts in the end."""
    keyboard.type(ENTER * count)
    with scripted_agent(prompting(*[ASKED] * count, then=say(verdict))) as agent:
        run = stack(agent).run("auth", login=keyboard.login)
    assert run.codes == [code]
    assert run.shown == [*[SHOWN] * count, *told]
    assert run.log == ()
    assert run.steps[0].kept == EVERYTHING
    assert agent.connections == 1


def test_request_of_the_keyboard_says_nothing_new(stack: MakeStack) -> None:
    """That a prompt is possible follows from the method."""
    with scripted_agent(say(ALLOW)) as agent:
        stack(agent).run("auth", login=KEYBOARD)
    assert set(agent.asked[0].pairs) == {
        *("request", "user", "client", "client_port", "server", "server_port"),
        *("method", "phase", "mode", "interface"),
    }


def test_what_is_typed_goes_nowhere(stack: MakeStack, keyboard: Keyboard) -> None:
    """Somebody may type a password from habit: it is not sent, not logged, and does not stay in memory."""
    typed = b"\xee" * 1000
    keyboard.type(typed + ENTER)
    with scripted_agent(prompting(ASKED, then=say(ALLOW))) as agent:
        run = stack(agent, "debug").run("auth", login=keyboard.login)
    # That `continue` is all the agent gets, `prompting` has made sure of.
    assert run.codes == [pamstack.SUCCESS]
    assert "\\xee" not in "".join(run.log)
    assert "\udcee" not in "".join(run.log)
    # The allocator writes a little of its own into what it gets back.
    assert run.steps[0].left <= 16


def test_messages_of_the_rule_wait_for_the_verdict(stack: MakeStack, keyboard: Keyboard) -> None:
    """What the agent says on the way is read once the person is in, in its order; then PAM has it."""
    keyboard.type(ENTER)

    def script(connection: socket.socket) -> None:
        connection.send(info("Maintenance at noon."))
        connection.send(prompt(ASKED))
        expect_continue(connection)
        connection.send(info("Be brief."))
        connection.send(ALLOW)

    with scripted_agent(script) as agent:
        run = stack(agent).run("auth", login=keyboard.login)
    assert run.codes == [pamstack.SUCCESS]
    texts = [(pamstack.TEXT_INFO, b"Maintenance at noon."), (pamstack.TEXT_INFO, b"Be brief.")]
    assert run.shown == [SHOWN, *texts]


QR_CODE = "\n".join("█▀▄ "[row % 4] * 45 for row in range(23))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", b""),
        (f"{QR_CODE}\n{ASKED}", f"{QR_CODE}\n{ASKED}".encode()),
        ("x" * wire.PROMPT_MAX, b"x" * wire.PROMPT_MAX),
        ("x" * (wire.PROMPT_MAX + 1), b"x" * wire.PROMPT_MAX),
        ("x" + "█" * 2100, b"x" + "█".encode() * 2047),
        ("%s%n%x", b"%s%n%x"),
        ("\x1b]0;gone\x07\x1b[2J", b"?]0;gone??[2J"),
        ("C1 \x9b31m\r", b"C1 ??31m?"),
        ("\udcff\udce2\udc96", b"???"),
    ],
    ids=["empty", "QR code", "longest", "too long", "cut at a character", "format", "escape", "c1", "not UTF-8"],
)
def test_prompt_is_shown_whole_and_harmless(stack: MakeStack, keyboard: Keyboard, text: str, shown: bytes) -> None:
    """A QR code is longer than any other text; it obeys the same rules."""
    keyboard.type(ENTER)
    with scripted_agent(prompting(text, then=say(ALLOW))) as agent:
        run = stack(agent).run("auth", login=keyboard.login)
    assert run.codes == [pamstack.SUCCESS]
    assert run.shown == [(pamstack.PROMPT_ECHO_ON, shown)]


# Nobody answers it


def answers_nothing(keyboard: Keyboard) -> Login:
    """The conversation fails at once, as in a program that can show no prompt."""
    del keyboard
    return KEYBOARD


def leaves(keyboard: Keyboard) -> Login:
    """The connection ends while the prompt stands."""
    keyboard.leave()
    return keyboard.login


def answers_without_an_answer(keyboard: Keyboard) -> Login:
    """The conversation claims success and has nothing to show for it."""
    keyboard.type(pamstack.NO_ANSWER)
    return keyboard.login


def answers_in_vain(keyboard: Keyboard) -> Login:
    """The conversation fails, and hands over an answer all the same."""
    keyboard.type(pamstack.BROKEN_OFF)
    return keyboard.login


PERSONS = [answers_nothing, leaves, answers_without_an_answer, answers_in_vain]


@pytest.mark.parametrize("person", PERSONS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("count", [0, 1], ids=["first prompt", "second prompt"])
def test_prompt_without_an_answer_is_no(
    stack: MakeStack, keyboard: Keyboard, person: Callable[[Keyboard], Login], count: int
) -> None:
    """Nobody is taken to have pressed Enter; the agent is left at once, and there is nobody to tell."""
    keyboard.type(ENTER * count)
    login = person(keyboard)
    asked = count + 1 if login.keyboard is not None else 1
    with scripted_agent(prompting(*[ASKED] * (count + 1), then=say_too_late)) as agent:
        run = stack(agent).run("auth", login=login)
    assert run.codes == [pamstack.MAXTRIES]
    assert run.shown == [SHOWN] * asked
    assert reason_of(run) == "client_gone"
    assert run.log[-1].startswith("6 ")
    assert run.steps[0].kept == EVERYTHING


def test_nobody_is_prompted_in_silence(stack: MakeStack, keyboard: Keyboard) -> None:
    """PAM_SILENT forbids the prompt, so there is no Enter either."""
    keyboard.type(ENTER)
    with scripted_agent(prompting(ASKED, then=say_too_late)) as agent:
        run = stack(agent).run("silent-auth", login=keyboard.login)
    assert (run.codes, run.shown) == ([pamstack.MAXTRIES], [])
