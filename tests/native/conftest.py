"""Each test of the shims runs twice: as they are shipped, and under AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.native.at_prompt import Keyboard
from tests.support.pamstack import Built, Kind, PamStack, build
from tests.support.scripted_agent import ScriptedAgent, own_uid

KINDS: tuple[Kind, ...] = ("plain", "sanitized")


@pytest.fixture(scope="session", params=KINDS)
def built(request: pytest.FixtureRequest) -> Built:
    """The shims, built both ways."""
    kind: Kind = request.param
    return build(kind)


@pytest.fixture(scope="session")
def shipped() -> Built:
    """The shims as they are shipped, for what only the file itself shows."""
    return build("plain")


@pytest.fixture
def stack(built: Built, tmp_path: Path) -> Callable[..., PamStack]:
    """Makes a stack for an agent, or for none, with further arguments."""
    return stack_maker(built, tmp_path)


def stack_maker(built: Built, tmp_path: Path) -> Callable[..., PamStack]:
    """Makes stacks of one build."""

    def make(agent: ScriptedAgent | None, *arguments: str) -> PamStack:
        path = tmp_path / "nobody.sock" if agent is None else agent.path
        folder = tmp_path / f"stack-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return PamStack(built, folder, [f"socket={path}", f"agent_uid={own_uid()}", *arguments])

    return make


@pytest.fixture
def keyboard() -> Iterator[Keyboard]:
    """A person at the prompt."""
    made = Keyboard(*os.pipe())
    yield made
    made.leave()
    os.close(made.end)


@pytest.fixture
def hasty(tmp_path: Path) -> Callable[..., PamStack]:
    """As `stack`, with the build that does not wait long for the agent after a prompt."""
    return stack_maker(build("hasty"), tmp_path)


@pytest.fixture
def tcp() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection over the loopback interface: the client's end, the server's end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
    with client, server:
        yield client, server
