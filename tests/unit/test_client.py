"""The agent's client: one deadline, and an error with a hint for everything but an answer."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale import wire
from pam_tailscale.client import ask, ask_document, ask_explanation
from pam_tailscale.errors import AgentUnavailableError, NotPermittedError, WireError
from pam_tailscale.model import parse_address
from tests.support.scripted_agent import (
    ALLOW,
    Script,
    answer,
    chatter,
    deny,
    info,
    say,
    say_nothing_until_left,
    scripted_agent,
)

ASKED = {wire.KEY_REQUEST: wire.REQUEST_STATUS}


def asked(*scripts: Script, **more: Any) -> wire.Message:
    """The verdict of an agent that plays these."""
    with scripted_agent(*scripts) as agent:
        return ask(agent.path, ASKED, **more)


def test_a_verdict_and_what_came_before() -> None:
    """Each text in its order, the verdict with its pairs."""
    texts: list[str] = []
    verdict = asked(say(info("one"), info("two"), ALLOW), on_info=texts.append)
    assert texts == ["one", "two"]
    assert verdict == {"answer": "verdict", "verdict": "allow", "id": "a1b2"}


def test_the_request_arrives_as_it_was() -> None:
    """With any bytes in its values."""
    with scripted_agent(say(ALLOW)) as agent:
        ask(agent.path, {"user": "a\udcff\n"})
        assert agent.asked[0].pairs == {"user": "a\udcff\n"}


BROKEN: dict[str, Script] = {
    "closes": say(),
    "closes after info": say(info("wait")),
    "garbage": say(b"garbage"),
    "half": say(ALLOW[:-1]),
    "another version": say(ALLOW.replace(b"version\0001", b"version\0002")),
    "too long": say(b"version\0001\0answer\0verdict\0text\0" + b"a" * 9000 + b"\0"),
    "unknown answer": say(answer("prompt", text="x")),
    "no answer": say(wire.encode({"verdict": "allow"})),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_none(script: Script) -> None:
    """Also one that says allow in the wrong place."""
    with pytest.raises(WireError):
        asked(script)


@pytest.mark.parametrize("script", [say_nothing_until_left, chatter], ids=["silent", "talkative"])
def test_the_deadline_is_for_the_whole(script: Script) -> None:
    """An agent that says nothing, and one that goes on and on."""
    began = time.monotonic()
    with pytest.raises(AgentUnavailableError, match=r"did not answer within 0\.3 s: see 'systemctl status"):
        asked(script, timeout=0.3)
    assert time.monotonic() - began < 5


def test_nobody_there(tmp_path: Path) -> None:
    """The error says where, and what to look at."""
    with pytest.raises(AgentUnavailableError, match=r"nobody\.sock \(No such file or directory\): see 'systemctl"):
        ask(tmp_path / "nobody.sock", ASKED)


def test_nobody_listens(tmp_path: Path) -> None:
    """A socket that its agent left behind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as left:
        left.bind(str(tmp_path / "agent.sock"))
    with pytest.raises(AgentUnavailableError, match="Connection refused"):
        ask(tmp_path / "agent.sock", ASKED)


@contextmanager
def full_queue(path: Path) -> Iterator[tuple[socket.socket, list[socket.socket]]]:
    """A listener that takes nobody, and those who wait there: no more fit."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(str(path))
        listener.listen(1)
        waiting: list[socket.socket] = []
        with suppress(BlockingIOError):
            while True:
                one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                one.settimeout(0)
                one.connect(str(path))
                waiting.append(one)
        yield listener, waiting


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """Any local user can fill it for a moment; a running agent must not look dead to its watchdog for that."""
    path = tmp_path / "agent.sock"
    with full_queue(path) as (listener, waiting), ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        with pytest.raises(AgentUnavailableError, match=r"did not answer within 0\.3 s"):
            ask(path, ASKED, 0.3)
        assert time.monotonic() - began >= 0.3
        asking = pool.submit(ask, path, ASKED, 20.0)
        for _ in waiting:
            listener.accept()[0].close()
        taken, _ = listener.accept()
        with taken:
            taken.send(ALLOW)
            assert asking.result(20)["verdict"] == "allow"


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_something_else_is_there(tmp_path: Path, kind: str) -> None:
    """Not an agent's socket."""
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        if kind == "file":
            path.write_text("")
        else:
            other.bind(str(path))
            other.listen()
        with pytest.raises(AgentUnavailableError, match="cannot be reached"):
            ask(path, ASKED)


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """108 bytes is all a socket address has; the error has a text."""
    with pytest.raises(AgentUnavailableError, match="path too long"):
        ask(tmp_path / ("a" * 120), ASKED)


@pytest.fixture
def document() -> dict[str, Any]:
    """Something with all JSON has."""
    return {"a": [1, 2.5, None, True], "text": "\x1b[31m\u202e", "nested": {"b": "c" * 100}}


def test_a_document_is_put_together(document: dict[str, Any]) -> None:
    """From pieces that break anywhere."""
    text = json.dumps(document)
    pieces = [info(text[start : start + 7]) for start in range(0, len(text), 7)]
    with scripted_agent(say(*pieces, ALLOW)) as agent:
        assert ask_document(agent.path, ASKED) == document


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (deny("use sudo"), "use sudo"),
        (answer("verdict", verdict="deny"), "refused without saying why"),
        (answer("verdict", verdict="perhaps"), "refused"),
        (answer("verdict"), "refused"),
    ],
)
def test_anything_but_allow_is_a_refusal(verdict: bytes, text: str) -> None:
    """Whatever came before it."""
    with scripted_agent(say(info("{}"), verdict)) as agent, pytest.raises(NotPermittedError, match=text):
        ask_document(agent.path, ASKED)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "nan", "{} {}"])
def test_a_document_that_is_none(text: str) -> None:
    """An agent of another version, or half of one."""
    with scripted_agent(say(info(text), ALLOW)) as agent, pytest.raises(WireError, match="no JSON"):
        ask_document(agent.path, ASKED)


@pytest.mark.parametrize(("client", "port", "as_of"), [("100.64.0.2", 50000, ""), ("fd7a::2", 0, "2027-01-15T08:00Z")])
def test_an_explanation(document: dict[str, Any], client: str, port: int, as_of: str) -> None:
    """It is asked about the login as it was given, whole, and comes as it was told."""
    with scripted_agent(say(info(json.dumps(document)), ALLOW)) as agent:
        assert ask_explanation(agent.path, "alice", parse_address(client), port, as_of=as_of) == document
        assert agent.asked[0].pairs == {
            "request": "explain",
            "user": "alice",
            "client": client,
            "client_port": str(port),
            "as_of": as_of,
        }


def test_an_explanation_is_for_now_where_nothing_is_said() -> None:
    """The agent's now, which an empty time stands for."""
    with scripted_agent(say(info("{}"), ALLOW)) as agent:
        ask_explanation(agent.path, "alice", parse_address("100.64.0.2"), 0)
        assert agent.asked[0].pairs["as_of"] == ""


def test_an_explanation_that_is_refused() -> None:
    """Another user may not ask."""
    with scripted_agent(say(deny("use sudo"))) as agent, pytest.raises(NotPermittedError, match="use sudo"):
        ask_explanation(agent.path, "alice", parse_address("100.64.0.2"), 0)
