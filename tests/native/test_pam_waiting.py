"""The module waits for the agent after a prompt: in vain never long, and never for a client that has gone."""

import socket
import struct
import time
from collections.abc import Callable

import pytest

from pam_tailscale import wire
from tests.native.at_prompt import ASKED, ENTER, LATER, SHOWN, Keyboard, reason_of
from tests.support import pamstack
from tests.support.pamstack import HASTY_WAIT_MS, Login, PamStack, Run
from tests.support.scripted_agent import (
    ALLOW,
    Script,
    answer,
    chatter,
    expect_continue,
    info,
    prompt,
    prompting,
    say,
    say_nothing_until_left,
    say_too_late,
    scripted_agent,
)
from tests.support.waiting import wait_until

MakeStack = Callable[..., PamStack]
Tcp = tuple[socket.socket, socket.socket]

EVERYTHING = {"descriptors", "environment", "user", "sigpipe"}
LOOPBACK = "addresses=127.0.0.0/8,::1/128"


def let_pass(seconds: float) -> None:
    """Waits until a deadline of the module's would be over; nothing but the time tells."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 5, "time goes by")


# The agent fails


def test_agent_that_leaves_during_the_prompt_is_no(stack: MakeStack, keyboard: Keyboard) -> None:
    """It is noticed as soon as the person has answered."""
    with scripted_agent(say(prompt(ASKED))) as agent:
        made = stack(agent)
        process = made.start("auth", login=keyboard.login)
        wait_until(lambda: agent.ended, 10, "the agent has closed")
        keyboard.type(ENTER)
        run = made.finish(process)
    assert (run.codes, run.shown) == ([pamstack.MAXTRIES], [SHOWN, LATER])
    assert reason_of(run) == "agent_unreachable"


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ((), "agent_unreachable"),
        ((info("wait"),), "agent_unreachable"),
        ((b"",), "agent_unreachable"),
        ((b"garbage",), "agent_answer_damaged"),
        ((ALLOW[:-1],), "agent_answer_damaged"),
        ((b"garbage", ALLOW), "agent_answer_damaged"),
        ((answer("prompt"), ALLOW), "agent_answer_damaged"),
        ((answer("continue"), ALLOW), "agent_answer_damaged"),
        ((answer("verdict"),), "agent_answer_damaged"),
        ((answer("verdict", verdict="continue"), ALLOW), "agent_answer_damaged"),
    ],
    ids=[
        *("closes", "closes after info", "empty message", "garbage", "short", "garbage, then good"),
        *("prompt without text", "unknown answer", "no verdict", "unknown verdict"),
    ],
)
def test_agent_that_fails_after_enter_is_no(
    stack: MakeStack, keyboard: Keyboard, messages: tuple[bytes, ...], reason: str
) -> None:
    """That somebody has pressed Enter is no reason to let them in."""
    keyboard.type(ENTER)
    with scripted_agent(prompting(ASKED, then=say(*messages))) as agent:
        run = stack(agent).run("auth", login=keyboard.login)
    assert (run.codes, run.shown) == ([pamstack.MAXTRIES], [SHOWN, LATER])
    assert reason_of(run) == reason


def test_prompts_are_counted(stack: MakeStack, keyboard: Keyboard) -> None:
    """An agent that prompts without end is a broken one, also when somebody goes on pressing Enter."""
    texts = [ASKED] * (wire.PROMPTS_MAX + 1)
    keyboard.type(ENTER * len(texts))
    with scripted_agent(prompting(*texts, then=say(ALLOW))) as agent:
        run = stack(agent).run("auth", login=keyboard.login)
    assert run.codes == [pamstack.MAXTRIES]
    assert run.shown == [*[SHOWN] * wire.PROMPTS_MAX, LATER]
    assert reason_of(run) == "agent_answer_damaged"


# Time


def test_the_person_has_as_long_as_they_need(hasty: MakeStack, keyboard: Keyboard) -> None:
    """No deadline of the agent's runs while somebody reads and approves, nor is it shorter for it afterwards."""
    with scripted_agent(prompting(ASKED, then=say(ALLOW))) as agent:
        made = hasty(agent, "timeout=1")
        process = made.start("auth", login=keyboard.login)
        wait_until(lambda: agent.asked, 10, "the agent is asked")
        let_pass(1 + HASTY_WAIT_MS / 1000 + 0.5)
        keyboard.type(ENTER)
        run = made.finish(process)
    assert run.codes == [pamstack.SUCCESS]


@pytest.mark.parametrize("script", [say_nothing_until_left, say_too_late, chatter], ids=["never", "late", "chatters"])
def test_agent_is_not_waited_for_without_end(hasty: MakeStack, keyboard: Keyboard, script: Script) -> None:
    """After Enter it has TSW_WAIT_MS, and no `info` puts that off."""
    keyboard.type(ENTER)
    with scripted_agent(prompting(ASKED, then=script)) as agent:
        run = hasty(agent).run("auth", login=keyboard.login)
    assert (run.codes, run.shown) == ([pamstack.MAXTRIES], [SHOWN, LATER])
    assert reason_of(run) == "agent_unreachable"
    assert "Connection timed out" in run.log[0]


def test_each_stretch_has_its_own_deadline(hasty: MakeStack, keyboard: Keyboard) -> None:
    """The agent may wait after every Enter; `timeout=` is about the first stretch alone."""
    stretch = HASTY_WAIT_MS / 1000 * 0.6

    def script(connection: socket.socket) -> None:
        for _ in range(2):
            connection.send(prompt(ASKED))
            expect_continue(connection)
            let_pass(stretch)
        connection.send(ALLOW)

    keyboard.type(ENTER * 2)
    with scripted_agent(script) as agent:
        run = hasty(agent, "timeout=1").run("auth", login=keyboard.login)
    assert run.codes == [pamstack.SUCCESS]


# The client goes


def reset(client: socket.socket) -> None:
    """The client's machine breaks the connection off."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def half_close(client: socket.socket) -> None:
    """The client says that it will send nothing more, which sshd takes for its end."""
    client.shutdown(socket.SHUT_WR)


GOING = [socket.socket.close, reset, half_close]
GOING_IDS = ["closes", "resets", "half closes"]


def assert_left(run: Run) -> None:
    """Refused because nobody is there any more, with a line that is no alarm, and nothing shown after the prompt."""
    assert (run.codes, run.shown) == ([pamstack.MAXTRIES], [SHOWN])
    assert reason_of(run) == "client_gone"
    assert run.log[-1].startswith("6 ")
    assert run.steps[0].kept == EVERYTHING


@pytest.mark.parametrize("go", GOING, ids=GOING_IDS)
@pytest.mark.parametrize("first", [[], ["interrupts"]], ids=["quiet", "interrupted"])
def test_nobody_waits_for_a_client_that_has_gone(
    stack: MakeStack, keyboard: Keyboard, tcp: Tcp, go: Callable[[socket.socket], None], first: list[str]
) -> None:
    """While PAM waits sshd would not notice; the module does, and leaves the agent at once."""
    left: list[bytes] = []

    def script(connection: socket.socket) -> None:
        go(tcp[0])
        left.append(connection.recv(1))

    keyboard.type(ENTER)
    login = Login.over(tcp[1], at_keyboard=True, keyboard=keyboard.end)
    with scripted_agent(prompting(ASKED, then=script)) as agent:
        run = stack(agent, LOOPBACK).run(*first, "auth", login=login)
    assert_left(run)
    assert left == [b""]


def test_client_that_goes_during_the_prompt_is_noticed(stack: MakeStack, keyboard: Keyboard, tcp: Tcp) -> None:
    """Should sshd still hand over an Enter, the agent's yes comes too late."""
    login = Login.over(tcp[1], at_keyboard=True, keyboard=keyboard.end)
    with scripted_agent(prompting(ASKED, then=say(ALLOW))) as agent:
        made = stack(agent, LOOPBACK)
        process = made.start("auth", login=login)
        wait_until(lambda: agent.asked, 10, "the agent is asked")
        tcp[0].close()
        keyboard.type(ENTER)
        assert_left(made.finish(process))


def test_a_client_is_watched_while_the_agent_chatters(stack: MakeStack, keyboard: Keyboard, tcp: Tcp) -> None:
    """Something to read at the one socket does not hide the end of the other."""

    def script(connection: socket.socket) -> None:
        tcp[0].close()
        chatter(connection)

    keyboard.type(ENTER)
    login = Login.over(tcp[1], at_keyboard=True, keyboard=keyboard.end)
    with scripted_agent(prompting(ASKED, then=script)) as agent:
        assert_left(stack(agent, LOOPBACK).run("auth", login=login))


def test_client_that_sends_is_still_there(stack: MakeStack, keyboard: Keyboard, tcp: Tcp) -> None:
    """What it sends meanwhile is sshd's to read: no hang-up, and not read by us."""

    def script(connection: socket.socket) -> None:
        tcp[0].send(b"next packet")
        connection.send(info("wait"))
        connection.send(ALLOW)

    keyboard.type(ENTER)
    login = Login.over(tcp[1], at_keyboard=True, keyboard=keyboard.end)
    with scripted_agent(prompting(ASKED, then=script)) as agent:
        run = stack(agent, LOOPBACK).run("auth", login=login)
    assert run.codes == [pamstack.SUCCESS]
    assert tcp[1].recv(100) == b"next packet"


def test_connection_that_is_not_found_is_not_watched(stack: MakeStack, keyboard: Keyboard, tcp: Tcp) -> None:
    """Then the agent alone is waited for; another connection of the process is none of ours."""
    tcp[0].close()
    keyboard.type(ENTER)
    login = Login(at_keyboard=True, keyboard=keyboard.end, descriptors=(tcp[1].fileno(),))
    with scripted_agent(prompting(ASKED, then=say(ALLOW))) as agent:
        run = stack(agent).run("auth", login=login)
    assert run.codes == [pamstack.SUCCESS]
