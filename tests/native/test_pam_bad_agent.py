"""Nobody is let in over the tailnet by an agent that is missing, slow, broken, or not the agent."""

import os
import platform
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_tailscale import wire
from tests.support import pamstack
from tests.support.pamstack import Login, PamStack, Run
from tests.support.scripted_agent import (
    ALLOW,
    Script,
    ScriptedAgent,
    altered,
    answer,
    chatter,
    deny,
    info,
    peer_of,
    say,
    say_nothing_until_left,
    say_too_late,
    scripted_agent,
)
from tests.support.waiting import wait_until

MakeStack = Callable[..., PamStack]

KEYBOARD = Login(at_keyboard=True)
LATER = [(pamstack.ERROR_MSG, wire.TEXT_TRY_AGAIN.encode())]
VERSION = b"version\x001\x00"
BARE_ALLOW = VERSION + b"answer\0verdict\0verdict\0allow\0"
CONNECT_CALL = {"x86_64": "42", "aarch64": "203"}[platform.machine()]

DAMAGED = {
    "closes at once": (),
    "closes after info": (info("wait"),),
    "empty message": (b"",),
    "garbage": (b"\xff\xfe\x00\x01garbage\x00",),
    "one NUL": (b"\0",),
    "only NULs": (b"\0" * 8,),
    "too long": (BARE_ALLOW + b"x\0" + b"y" * wire.MESSAGE_MAX + b"\0",),
    "too long by whole pairs": ((BARE_ALLOW + b"x\0").ljust(wire.MESSAGE_MAX - 1, b"y") + b"\0" + b"more\0\0",),
    "one byte too long": ((BARE_ALLOW + b"x\0").ljust(wire.MESSAGE_MAX, b"y") + b"\0",),
    "missing NUL": (BARE_ALLOW[:-1],),
    "odd count": (BARE_ALLOW + b"more\0",),
    "key twice": (BARE_ALLOW + b"verdict\0allow\0",),
    "other verdict second": (VERSION + b"answer\0verdict\0verdict\0deny\0verdict\0allow\0",),
    "unknown key twice": (BARE_ALLOW + b"x\0one\0x\0two\0",),
    "version twice": (BARE_ALLOW + VERSION,),
    "empty key": (BARE_ALLOW + b"\0value\0",),
    "no version": (BARE_ALLOW.removeprefix(VERSION),),
    "version not first": (BARE_ALLOW.removeprefix(VERSION) + VERSION,),
    "version 2": (BARE_ALLOW.replace(b"1", b"2", 1),),
    "version 01": (BARE_ALLOW.replace(b"1", b"01", 1),),
    "version 11": (BARE_ALLOW.replace(b"1", b"11", 1),),
    "unknown answer": (answer("welcome", verdict="allow"), ALLOW),
    "prompt without text": (answer("prompt"), ALLOW),
    "continue": (answer("continue", text=""), ALLOW),
    "no answer": (VERSION + b"verdict\0allow\0",),
    "info with a verdict": (answer("info", verdict="allow"),),
    "info without text": (answer("info"), ALLOW),
    "no verdict": (answer("verdict"),),
    "empty verdict": (answer("verdict", verdict=""),),
    "unknown verdict": (answer("verdict", verdict="ignore"),),
    "other case": (answer("verdict", verdict="ALLOW"),),
    "verdict with a space": (answer("verdict", verdict="allow "),),
    "verdict with more": (answer("verdict", verdict="allowed"),),
    "verdict with less": (answer("verdict", verdict="allo"),),
    "verdict with newline": (answer("verdict", verdict="allow\n"),),
    "key in other case": (answer("verdict", Verdict="allow"),),
    "damaged, then good": (b"garbage", ALLOW),
}


def assert_refused(run: Run, reason: str) -> None:
    """Refused at the keyboard with the text that tells nothing, and with a line for the administrator."""
    assert run.codes == [pamstack.MAXTRIES]
    assert run.shown == LATER
    assert len(run.log) == 1
    who = 'user="alice" addr=100.64.0.7:50123 method=keyboard-interactive'
    assert f"decision=deny reason={reason} {who} ms=" in run.log[0]
    assert run.log[0].startswith("3 ")
    assert run.steps[0].kept == {"descriptors", "environment", "user", "sigpipe"}


@pytest.mark.parametrize("messages", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_answer_is_no(stack: MakeStack, messages: tuple[bytes, ...]) -> None:
    """Only a well-formed message with the word allow lets in."""
    with scripted_agent(say(*messages)) as agent:
        run = stack(agent).run("auth", login=KEYBOARD)
    closes = messages in ((), (b"",), DAMAGED["closes after info"])
    assert_refused(run, "agent_unreachable" if closes else "agent_answer_damaged")


@pytest.mark.parametrize("step", ["auth", "account", "open"])
def test_damaged_answer_is_no_in_every_phase(stack: MakeStack, step: str) -> None:
    """No phase takes an error for a yes, or for none of its business."""
    with scripted_agent(say(b"garbage")) as agent:
        run = stack(agent).run(step)
    codes = {"auth": pamstack.AUTH_ERR, "account": pamstack.PERM_DENIED, "open": pamstack.SESSION_ERR}
    assert run.codes == [codes[step]]


def test_good_answer_of_the_greatest_length_is_taken(stack: MakeStack) -> None:
    """The bound is exact: one byte less than too long is fine."""
    message = (BARE_ALLOW + b"x\0").ljust(wire.MESSAGE_MAX - 1, b"y") + b"\0"
    with scripted_agent(say(message)) as agent:
        run = stack(agent).run("auth")
    assert run.codes == [pamstack.SUCCESS]


def test_every_shortened_answer_is_no(stack: MakeStack) -> None:
    """An answer cut after any byte lets nobody in."""
    scripts = [say(BARE_ALLOW[:length]) for length in range(len(BARE_ALLOW))]
    with scripted_agent(*scripts) as agent:
        run = stack(agent).run(*["auth"] * len(scripts))
    assert run.codes == [pamstack.AUTH_ERR] * len(scripts)
    assert agent.connections == len(scripts)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, 0xFF])
def test_every_altered_answer_is_no(stack: MakeStack, mask: int) -> None:
    """There is no byte of the shortest yes that does not matter."""
    scripts = altered(BARE_ALLOW, mask)
    with scripted_agent(*scripts) as agent:
        run = stack(agent).run(*["auth"] * len(scripts))
    assert run.codes == [pamstack.AUTH_ERR] * len(scripts)


@pytest.mark.parametrize("more", [deny("no"), b"garbage", b"", ALLOW], ids=["deny", "garbage", "empty", "allow"])
def test_first_verdict_counts(stack: MakeStack, more: bytes) -> None:
    """Whatever comes after a verdict is not read: neither does it take a yes back nor make a no a yes."""
    with scripted_agent(say(ALLOW, more), say(deny("no"), more)) as agent:
        run = stack(agent).run("auth", "auth")
    assert run.codes == [pamstack.SUCCESS, pamstack.AUTH_ERR]


@pytest.mark.parametrize("script", [say_nothing_until_left, say_too_late, chatter], ids=["never", "late", "chatters"])
def test_deadline_is_absolute(stack: MakeStack, script: Script) -> None:
    """An agent that does not decide in time refuses, also one that goes on talking."""
    with scripted_agent(script) as agent:
        run = stack(agent, "timeout=1").run("auth", login=KEYBOARD)
    assert_refused(run, "agent_unreachable")
    milliseconds = int(run.log[0].partition(" ms=")[2].partition(" ")[0])
    assert milliseconds >= 1000
    assert "Connection timed out" in run.log[0]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes."""
    del tmp_path
    with tempfile.TemporaryDirectory(prefix="pam-tailscale-") as folder:
        yield Path(folder, "agent.sock")


def run_at(stack: MakeStack, path: Path, *arguments: str) -> Run:
    """One login at the keyboard with the agent's socket there."""
    return stack(ScriptedAgent(path, ()), *arguments).run("auth", login=KEYBOARD)


def test_missing_socket_is_no(stack: MakeStack, place: Path) -> None:
    """Before the agent was ever started."""
    run = run_at(stack, place)
    assert_refused(run, "agent_unreachable")
    assert "No such file or directory; see: systemctl status pam-tailscale-agent" in run.log[0]


def test_dead_socket_is_no(stack: MakeStack, place: Path) -> None:
    """After the agent was killed its socket is still there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(place))
    run = run_at(stack, place)
    assert_refused(run, "agent_unreachable")
    assert "Connection refused" in run.log[0]


def test_file_instead_of_a_socket_is_no(stack: MakeStack, place: Path) -> None:
    """Something else has that name."""
    place.write_bytes(BARE_ALLOW)
    assert_refused(run_at(stack, place), "agent_unreachable")


def test_socket_of_another_type_is_no(stack: MakeStack, place: Path) -> None:
    """A stream has no message boundaries; nothing that listens on one is our agent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(str(place))
        stream.listen()
        assert_refused(run_at(stack, place), "agent_unreachable")


def test_somebody_elses_socket_is_no(stack: MakeStack) -> None:
    """An impostor at the agent's path, running as neither root nor the agent, is not even sent the request."""
    with scripted_agent(say(ALLOW), owner=65533) as agent:
        run = stack(agent, "agent_uid=65532").run("auth", login=KEYBOARD)
    assert_refused(run, "agent_unreachable")
    assert "its owner is neither root nor agent_uid" in run.log[0]
    assert agent.asked == []


def test_agents_own_uid_is_accepted(stack: MakeStack) -> None:
    """The uid in the arguments is the agent's."""
    with scripted_agent(say(ALLOW), owner=65533) as agent:
        run = stack(agent, "agent_uid=65533").run("auth")
    assert run.codes == [pamstack.SUCCESS]


def waits_in_connect(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process is inside connect()."""
    return Path(f"/proc/{process.pid}/syscall").read_text().split()[0] == CONNECT_CALL


def fill_backlog(agent: ScriptedAgent) -> list[socket.socket]:
    """Connects until nobody else can."""
    held: list[socket.socket] = []
    while True:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            client.connect(str(agent.path))
        except BlockingIOError:
            client.close()
            return held
        held.append(client)


@pytest.mark.parametrize("first", [[], ["interrupts"]], ids=["quiet", "interrupted"])
def test_full_backlog_is_waited_for(stack: MakeStack, place: Path, first: list[str]) -> None:
    """When many log in at once the module waits for its turn, also when signals arrive meanwhile."""
    agent = ScriptedAgent(place, (say(ALLOW),), backlog=0)
    agent.open()
    held = fill_backlog(agent)
    made = stack(agent)
    process = made.start(*first, "auth", login=Login())
    wait_until(lambda: waits_in_connect(process), 10, "the module waits in connect()")
    if first:
        wait_until_woken(process.pid)
    for client in held:
        client.close()
    agent.start()
    try:
        run = made.finish(process)
    finally:
        agent.close()
    assert run.codes == [pamstack.SUCCESS]


def test_full_backlog_is_bounded_by_the_deadline(stack: MakeStack, place: Path) -> None:
    """An agent that accepts nobody refuses everybody, in time."""
    agent = ScriptedAgent(place, (), backlog=0)
    agent.open()
    held = fill_backlog(agent)
    try:
        assert_refused(run_at(stack, place, "timeout=1"), "agent_unreachable")
    finally:
        for client in held:
            client.close()
        agent.close()


def wait_until_woken(pid: int) -> None:
    """Waits until a waiting process has been interrupted several times."""

    def switches() -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])

    before = switches()
    wait_until(lambda: switches() >= before + 5, 10, "the waiting module is interrupted")


def test_signals_do_not_end_the_wait(stack: MakeStack) -> None:
    """EINTR is no answer."""

    def script(connection: socket.socket) -> None:
        wait_until_woken(peer_of(connection)[0])
        connection.send(ALLOW)

    with scripted_agent(script) as agent:
        run = stack(agent).run("interrupts", "auth")
    assert run.codes == [pamstack.SUCCESS]


def test_socket_is_kept_from_children_and_off_the_standard_descriptors(stack: MakeStack) -> None:
    """With stdin closed the next descriptor would be 0; and no descriptor of ours passes into a program sshd starts."""
    seen: list[tuple[int, bool]] = []

    def script(connection: socket.socket) -> None:
        folder = Path(f"/proc/{peer_of(connection)[0]}/fd")
        for entry in folder.iterdir():
            if str(entry.readlink()).startswith("socket:"):
                flags = (folder.parent / "fdinfo" / entry.name).read_text().partition("flags:")[2].split()[0]
                seen.append((int(entry.name), bool(int(flags, 8) & os.O_CLOEXEC)))
        connection.send(ALLOW)

    with scripted_agent(script) as agent:
        run = stack(agent).run("auth", login=Login(closes_stdin=True))
    assert run.codes == [pamstack.SUCCESS]
    assert len(seen) == 1
    number, is_closed_on_exec = seen[0]
    assert number > 2
    assert is_closed_on_exec
