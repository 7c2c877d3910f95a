"""The key helper prints the offered key when the agent says allow, and nothing in any other case."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_tailscale.wire import OFFERED_MAX, OPTIONS_MAX
from tests.native.helper_process import HELPER_UID, HelperRun, KeyHelper
from tests.support.pamstack import Built
from tests.support.scripted_agent import (
    ALLOW,
    Script,
    ScriptedAgent,
    answer,
    chatter,
    check,
    deny,
    info,
    limited,
    own_uid,
    peer_of,
    prompt,
    say,
    say_nothing_until_left,
    scripted_agent,
)

Tcp = tuple[socket.socket, socket.socket]

TYPE, KEY = "ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJ+/abcdefghijklmnopqrstuvwxyz0123456789AB=="
PRINTED = f"{TYPE} {KEY}\n".encode()
# OpenSSH's %C: server first.
CONNECTION = "100.64.0.1 22 100.64.0.7 50123"
LOOPBACK = "addresses=127.0.0.0/8"
DROP = f"run_as={HELPER_UID}:{HELPER_UID}"
NOTHING = HelperRun(0, b"", ())


@pytest.fixture
def helper(built: Built, tmp_path: Path) -> Iterator[KeyHelper]:
    """The helper of a build, with a log that any user may write to."""
    # The folders of pytest are closed to other users.
    log = Path("/tmp") / f"pam-tailscale-helper-{os.getpid()}-{tmp_path.name}"  # noqa: S108
    yield KeyHelper(built, log)
    log.unlink()


def options(agent: ScriptedAgent, *more: str) -> list[str]:
    """The options that lead to this agent."""
    return [f"socket={agent.path}", f"agent_uid={own_uid()}", *more]


def test_allow_prints_the_offered_key(helper: KeyHelper) -> None:
    """Whatever key it is: the connection says who comes. %C is read server first, as sshd writes it."""
    with scripted_agent(say(info("Welcome."), ALLOW)) as agent:
        run = helper.run(*options(agent), "alice", TYPE, KEY, CONNECTION)
    assert run == HelperRun(0, PRINTED, ())
    assert agent.asked[0].pairs == {
        "request": "decide",
        "user": "alice",
        "client": "100.64.0.7",
        "client_port": "50123",
        "server": "100.64.0.1",
        "server_port": "22",
        "method": "publickey",
        "phase": "auth",
        "mode": "enforce",
        "offered": KEY,
    }


def test_a_key_that_is_too_long_to_be_known_again_is_not_told(helper: KeyHelper) -> None:
    """The longest that is told is whole."""
    for length, told in ((OFFERED_MAX, "A" * OFFERED_MAX), (OFFERED_MAX + 1, None)):
        with scripted_agent(say(ALLOW)) as agent:
            run = helper.run(*options(agent), "alice", TYPE, "A" * length, CONNECTION)
        assert run.output == f"{TYPE} {'A' * length}\n".encode()
        assert agent.asked[0].pairs.get("offered") == told


FILLING = OPTIONS_MAX - len('restrict,command=""')


@pytest.mark.parametrize(
    "limits",
    [
        "restrict",
        "restrict,pty",
        "restrict,agent-forwarding,port-forwarding",
        "restrict,agent-forwarding,port-forwarding,pty",
        'restrict,port-forwarding,permitopen="255.255.255.255:1",pty',
        'restrict,command="x"',
        'restrict,pty,command="/usr/bin/id -un; echo \\"a, b\\" \\\\ ~"',
        'restrict,command="\\""',
        'restrict,command="a\\b"',
        'restrict,command="' + "x" * FILLING + '"',
    ],
    ids=lambda limits: limits[:60],
)
def test_limited_prints_the_key_behind_its_options(helper: KeyHelper, limits: str) -> None:
    """So that sshd enforces what the rule withholds."""
    with scripted_agent(say(info("Welcome."), limited(limits))) as agent:
        run = helper.run(*options(agent), "alice", TYPE, KEY, CONNECTION)
    assert run == HelperRun(0, f"{limits} ".encode() + PRINTED, ())


@pytest.mark.parametrize(
    "limits",
    [
        "",
        " ",
        "pty",
        "Restrict",
        "restrict ",
        "restrict,",
        "restrictive",
        "restrict,,pty",
        "restrict,pty,pty",
        "restrict,pty,agent-forwarding",
        "restrict,pty2",
        "restrict,user-rc",
        "restrict,X11-forwarding",
        "restrict,cert-authority",
        'restrict,environment="LD_PRELOAD=/tmp/x"',
        'restrict,permitopen="*:*"',
        'restrict,port-forwarding,permitopen="255.255.255.255:22"',
        'restrict,port-forwarding,permitopen="255.255.255.255:1',
        "restrict ssh-ed25519 AAAA",
        "restrict\nssh-ed25519 AAAA",
        'restrict,command="x',
        'restrict,command="x\\"',
        'restrict,command=""',
        "restrict,command=x",
        'restrict,command="x",pty',
        'restrict,command="x" ',
        'restrict,command="x","',
        'restrict,command="x" ssh-ed25519 AAAA',
        'restrict,command="x\nssh-ed25519 AAAA"',
        'restrict,command="x\ty"',
        'restrict,command="\x7f"',
        'restrict,command="jos\u00e9"',
        'restrict,command="\udcff"',
        'restrict,command="' + "x" * (FILLING + 1) + '"',
        'restrict,command="' + "x" * FILLING + '",pty',
    ],
    ids=lambda limits: ascii(limits[:60]),
)
def test_options_of_any_other_form_print_nothing(helper: KeyHelper, limits: str) -> None:
    """Whatever could allow more, end the line or mean something else; it is not cut to what would do."""
    with scripted_agent(say(limited(limits))) as agent:
        run = helper.run(*options(agent), "alice", TYPE, KEY, CONNECTION)
    assert (run.code, run.output, len(run.log)) == (0, b"", 1)
    assert 'decision=deny reason=agent_answer_damaged user="alice" method=publickey' in run.log[0]


@pytest.mark.parametrize("verdict", [deny("no"), check("approve first")], ids=["deny", "check"])
def test_denial_prints_nothing(helper: KeyHelper, verdict: bytes) -> None:
    """The agent has logged it; sshd goes on to the next method. No key passes a check."""
    with scripted_agent(say(verdict)) as agent:
        assert helper.run(*options(agent), "alice", TYPE, KEY, CONNECTION) == NOTHING


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (say(), "agent_unreachable"),
        (say(info("wait")), "agent_unreachable"),
        (say_nothing_until_left, "agent_unreachable"),
        (chatter, "agent_unreachable"),
        (say(b"garbage"), "agent_answer_damaged"),
        (say(ALLOW[:-1]), "agent_answer_damaged"),
        (say(ALLOW * 2), "agent_answer_damaged"),
        (say(answer("verdict", verdict="perhaps")), "agent_answer_damaged"),
        (say(prompt("?"), ALLOW), "agent_answer_damaged"),
        (say(answer("welcome", text="?"), ALLOW), "agent_answer_damaged"),
        (say(answer("verdict", verdict="limited")), "agent_answer_damaged"),
        (say(answer("verdict", verdict="allow", options="restrict")), "agent_answer_damaged"),
        (say(answer("verdict", verdict="deny", options="restrict")), "agent_answer_damaged"),
    ],
    ids=[
        "closes",
        "closes later",
        "never",
        "chatters",
        "garbage",
        "short",
        "twice",
        "unknown verdict",
        "prompt",
        "unknown answer",
        "limits without options",
        "options with allow",
        "options with deny",
    ],
)
def test_broken_agent_prints_nothing(helper: KeyHelper, script: Script, reason: str) -> None:
    """No answer but a yes is a yes; the administrator reads why."""
    with scripted_agent(script) as agent:
        run = helper.run(*options(agent, "timeout=1"), "alice", TYPE, KEY, CONNECTION)
    assert (run.code, run.output, len(run.log)) == (0, b"", 1)
    assert f'decision=deny reason={reason} user="alice" method=publickey' in run.log[0]


def test_missing_agent_prints_nothing(helper: KeyHelper) -> None:
    """The agent is not there at all."""
    run = helper.run("socket=/nonexistent/agent.sock", "alice", TYPE, KEY, CONNECTION)
    assert (run.code, run.output) == (0, b"")
    assert "reason=agent_unreachable" in run.log[0]


def test_somebody_elses_agent_prints_nothing(helper: KeyHelper) -> None:
    """An impostor is not asked."""
    with scripted_agent(say(ALLOW), owner=65533) as agent:
        run = helper.run(f"socket={agent.path}", "agent_uid=65532", "alice", TYPE, KEY, CONNECTION)
    assert (run.code, run.output, agent.asked) == (0, b"", [])


def test_other_connections_are_not_asked_about(helper: KeyHelper) -> None:
    """A LAN login keeps its own keys: silence, and no call."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*options(agent), "alice", TYPE, KEY, "192.0.2.1 22 192.0.2.7 50123")
    assert (run, agent.connections) == (NOTHING, 0)


@pytest.mark.parametrize("connection", ["", "x", "100.64.0.1 22", CONNECTION + " ", "100.64.0.1%1 22 100.64.0.7 5"])
def test_unreadable_connection_prints_nothing(helper: KeyHelper, connection: str) -> None:
    """Nobody is identified by half an address."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*options(agent), "alice", TYPE, KEY, connection)
    assert (run.code, run.output, agent.connections) == (0, b"", 0)
    assert "reason=connection_unreadable" in run.log[0]


def test_forgotten_connection_prints_nothing(helper: KeyHelper) -> None:
    """Without %C the words move, and none of them is a connection."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*options(agent), "alice", TYPE, KEY)
    assert (run.code, run.output, agent.connections) == (0, b"", 0)
    assert "%C is malformed" in run.log[0]


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("", KEY),
        (TYPE, ""),
        ("a" * 65, KEY),
        (TYPE, "A" * 16385),
        ('command="id"', KEY),
        ("ssh-ed25519 AAAA\nssh-rsa", KEY),
        ("cert-authority,ssh-rsa", KEY),
        (TYPE, f"{KEY}\nssh-rsa AAAA"),
        (TYPE, f"{KEY} comment"),
        (TYPE, "AAAA\0"[:4] + "-_"),
        (TYPE, "%s"),
        ("ssh-\x1b", KEY),
    ],
)
def test_words_that_no_key_has_are_not_printed(helper: KeyHelper, kind: str, key: str) -> None:
    """What is printed is one line with one key, never an option and never a second line."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*options(agent), "alice", kind, key, CONNECTION)
    assert (run.code, run.output, agent.connections) == (0, b"", 0)
    assert "reason=bad_key" in run.log[0]


@pytest.mark.parametrize(
    "kind", ["ssh-rsa", "ecdsa-sha2-nistp256", "sk-ssh-ed25519@openssh.com", "ssh-ed25519-cert-v01@openssh.com"]
)
def test_types_of_openssh_are_printed(helper: KeyHelper, kind: str) -> None:
    """The check of the type knows the names that are in use."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*options(agent), "alice", kind, "A" * 16384, CONNECTION)
    assert run.output == f"{kind} {'A' * 16384}\n".encode()


@pytest.mark.parametrize(
    "name",
    [
        b"run_as=0:0",
        b"socket=/tmp/x",
        b"timeout=0",
        b"--help",
        b"al ice",
        b"a\nb",
        b"\xff",
        b"x" * 255,
        b"0",
        b"DOM\\user",
    ],
)
def test_strange_names_are_names(helper: KeyHelper, name: bytes) -> None:
    """A name that looks like an option is not taken for one, and reaches the agent byte for byte."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*options(agent), name, TYPE, KEY, CONNECTION)
    assert run == HelperRun(0, PRINTED, ())
    assert agent.asked[0].pairs["user"].encode("utf-8", "surrogateescape") == name


@pytest.mark.parametrize("name", [b"", b"x" * 256])
def test_name_that_cannot_be_an_account_prints_nothing(helper: KeyHelper, name: bytes) -> None:
    """It is not cut to one that could be."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*options(agent), name, TYPE, KEY, CONNECTION)
    assert (run.code, run.output, agent.connections) == (0, b"", 0)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense", "alice", TYPE, KEY, CONNECTION],
        ["mode=observe", "alice", TYPE, KEY, CONNECTION],
        ["timeout=0", "alice", TYPE, KEY, CONNECTION],
        ["addresses=x", "alice", TYPE, KEY, CONNECTION],
        [DROP, "alice", TYPE, KEY, CONNECTION],
    ],
    ids=["none", "unknown", "module's", "bad timeout", "bad addresses", "run_as without root"],
)
def test_wrong_command_line_is_a_failure(helper: KeyHelper, arguments: list[str]) -> None:
    """A mistake in sshd's configuration is said, and lets nobody in."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(*(options(agent) if arguments else []), *arguments)
    assert (run.code, run.output, agent.connections) == (1, b"", 0)
    assert "correct AuthorizedKeysCommand" in run.log[0]


def test_reader_that_leaves_early_is_no_failure(helper: KeyHelper) -> None:
    """The pipe is closed once sshd has seen what it needs; no signal ends the helper."""
    is_closed = threading.Event()

    def script(connection: socket.socket) -> None:
        assert is_closed.wait(10)
        connection.send(ALLOW)

    with scripted_agent(script) as agent:
        process = helper.start([*options(agent), "alice", TYPE, KEY, CONNECTION])
        assert process.stdout is not None
        process.stdout.close()
        is_closed.set()
        assert process.wait(timeout=30) == 0
    assert process.stderr is not None
    with process.stderr as errors:
        assert errors.read() == b""


@pytest.mark.parametrize(
    "arguments",
    [
        ["alice", TYPE, KEY],
        ["alice", TYPE, KEY, CONNECTION],
        ["run_as=0:0"],
        [f"run_as=0:{HELPER_UID}"],
        [f"run_as={HELPER_UID}:0"],
        [f"run_as={HELPER_UID}"],
        ["run_as="],
        ["run_as=nobody:nogroup"],
        [f"run_as={HELPER_UID}:{HELPER_UID}:1"],
        [f"run_as=+{HELPER_UID}:{HELPER_UID}"],
        ["run_as=4294967295:4294967295"],
        [DROP, "nonsense"],
    ],
)
def test_as_root_it_refuses_to_stay_root(helper: KeyHelper, tcp: Tcp, arguments: list[str]) -> None:
    """Without a uid to become, or with one that is root's, it does nothing."""
    names = [] if arguments[0] == "alice" else ["alice", TYPE, KEY]
    with scripted_agent(say(ALLOW)) as agent:
        line = [*options(agent, LOOPBACK), *arguments, *names]
        run = helper.run(*line, as_root=True, held_by_parent=[tcp[1]])
    assert (run.code, run.output, agent.connections) == (1, b"", 0)
    assert len(run.log) == 1


def test_as_root_it_reads_the_parents_connection(helper: KeyHelper, tcp: Tcp) -> None:
    """Before OpenSSH 9.4: both ends come from the very socket of the process that asks."""
    with scripted_agent(say(ALLOW)) as agent:
        run = helper.run(
            DROP, *options(agent, LOOPBACK), "run_as=0:0", TYPE, KEY, as_root=True, held_by_parent=[tcp[1]]
        )
    assert run == HelperRun(0, PRINTED, ())
    client, client_port = tcp[1].getpeername()
    server, server_port = tcp[1].getsockname()
    pairs = agent.asked[0].pairs
    assert [pairs["client"], pairs["client_port"]] == [client, str(client_port)]
    assert [pairs["server"], pairs["server_port"]] == [server, str(server_port)]
    assert pairs["user"] == "run_as=0:0"


def test_root_is_given_up_for_good(helper: KeyHelper, tcp: Tcp) -> None:
    """When it asks, and so before it has looked at the key, nothing of root is left in any of its identities."""
    seen: dict[str, str] = {}

    def script(connection: socket.socket) -> None:
        for line in Path(f"/proc/{peer_of(connection)[0]}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            seen[name] = value
        connection.send(ALLOW)

    with scripted_agent(script) as agent:
        helper.run(DROP, *options(agent, LOOPBACK), "alice", TYPE, KEY, as_root=True, held_by_parent=[tcp[1]])
    ids = [str(HELPER_UID)] * 4
    assert seen["Uid"].split() == ids
    assert seen["Gid"].split() == ids
    assert seen["Groups"].split() == []
    assert {seen[name].strip("\t 0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {""}
    assert seen["NoNewPrivs"].strip() == "1"
    assert (agent.asked[0].uid, agent.asked[0].gid) == (HELPER_UID, HELPER_UID)


def test_parent_without_a_tailnet_connection_is_silent(helper: KeyHelper, tcp: Tcp) -> None:
    """A LAN login, or one that is not over TCP: no call, no line in the log."""
    with scripted_agent(say(ALLOW)) as agent:
        line = [DROP, *options(agent), "alice", TYPE, KEY]
        runs = [helper.run(*line, as_root=True, held_by_parent=held) for held in ([], [tcp[1]])]
    assert (runs, agent.connections) == ([NOTHING] * 2, 0)


def test_parent_with_two_connections_is_refused(helper: KeyHelper, tcp: Tcp) -> None:
    """Whose login it is cannot be said, so it is nobody's."""
    with scripted_agent(say(ALLOW)) as agent:
        line = [DROP, *options(agent, LOOPBACK), "alice", TYPE, KEY]
        run = helper.run(*line, as_root=True, held_by_parent=tcp)
    assert (run.code, run.output, agent.connections) == (0, b"", 0)
    assert "reason=connection_unreadable" in run.log[0]


@pytest.fixture
def copies(tcp: Tcp) -> Iterator[Callable[[], socket.socket]]:
    """More descriptors of the server's end."""
    made: list[socket.socket] = []

    def copy() -> socket.socket:
        made.append(tcp[1].dup())
        return made[-1]

    yield copy
    for one in made:
        one.close()


def test_parent_may_hold_its_connection_twice(helper: KeyHelper, tcp: Tcp, copies: Callable[[], socket.socket]) -> None:
    """It may have one descriptor for reading and another for writing: it is one connection."""
    with scripted_agent(say(ALLOW)) as agent:
        line = [DROP, *options(agent, LOOPBACK), "alice", TYPE, KEY]
        run = helper.run(*line, as_root=True, held_by_parent=[tcp[1], copies()])
    assert run == HelperRun(0, PRINTED, ())
