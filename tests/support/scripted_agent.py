"""An agent that does as it is told: a SEQPACKET listener that plays one script per connection, right or wrong.

It knows the protocol only well enough to break it; what a real agent answers is tested elsewhere.
"""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pam_tailscale import wire

Script = Callable[[socket.socket], None]

_LISTEN = "import socket, sys; socket.socket(fileno=int(sys.argv[1])).listen()"


def answer(kind: str, **pairs: str) -> bytes:
    """One well-formed answer."""
    return wire.encode({wire.KEY_ANSWER: kind, **pairs})


def info(text: str) -> bytes:
    """A line for the person."""
    return answer(wire.ANSWER_INFO, **{wire.KEY_TEXT: text})


def prompt(text: str) -> bytes:
    """What the person is to do before they press Enter."""
    return answer(wire.ANSWER_PROMPT, **{wire.KEY_TEXT: text})


ALLOW = answer(wire.ANSWER_VERDICT, verdict=wire.VERDICT_ALLOW, id="a1b2")


def deny(text: str) -> bytes:
    """A refusal with its reason."""
    return answer(wire.ANSWER_VERDICT, verdict=wire.VERDICT_DENY, id="a1b2", text=text)


def limited(options: str) -> bytes:
    """A yes for the offered key, behind these options."""
    return answer(wire.ANSWER_VERDICT, verdict=wire.VERDICT_LIMITED, id="a1b2", options=options)


def check(text: str) -> bytes:
    """A refusal that a check would turn into a yes."""
    return answer(wire.ANSWER_VERDICT, verdict=wire.VERDICT_CHECK, id="a1b2", text=text)


def peer_of(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group at the other end."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    pid, uid, gid = struct.unpack("iII", raw)
    return pid, uid, gid


def say(*messages: bytes) -> Script:
    """Sends these messages and closes."""

    def script(connection: socket.socket) -> None:
        for message in messages:
            connection.send(message)

    return script


CONTINUE = wire.encode({wire.KEY_REQUEST: wire.REQUEST_CONTINUE})


def expect_continue(connection: socket.socket) -> None:
    """Waits for Enter. AssertionError for any other message; ConnectionResetError when the person has gone."""
    message = connection.recv(wire.MESSAGE_MAX + 1)
    if not message:
        raise ConnectionResetError
    assert message == CONTINUE


def prompting(*texts: str, then: Script) -> Script:
    """Puts these prompts, one after the other, each answered; then goes on with another script."""

    def script(connection: socket.socket) -> None:
        for text in texts:
            connection.send(prompt(text))
            expect_continue(connection)
        then(connection)

    return script


def say_nothing_until_left(connection: socket.socket) -> None:
    """Answers nothing; ends when the other end has given up."""
    while connection.recv(1):
        pass


def say_too_late(connection: socket.socket) -> None:
    """Says yes, but only to somebody who has already gone."""
    say_nothing_until_left(connection)
    connection.send(ALLOW)


def chatter(connection: socket.socket) -> None:
    """Sends `info` without end, faster than any deadline that starts anew with each message."""
    while True:
        connection.send(info("please wait"))


@dataclass(slots=True)
class Asked:
    """One request as it arrived, and the process that sent it."""

    message: bytes
    pid: int
    uid: int
    gid: int

    @property
    def pairs(self) -> wire.Message:
        return wire.decode(self.message)


@dataclass(slots=True)
class ScriptedAgent:
    """Listens at `path`. The n-th connection gets the n-th script, all later ones the last."""

    path: Path
    scripts: tuple[Script, ...]
    backlog: int = 16
    owner: int | None = None
    """The uid that the other end sees; needs root."""
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    ended: int = 0
    """How many of the connections the agent has closed."""
    _listener: socket.socket = field(init=False)
    _thread: threading.Thread = field(init=False)

    def open(self) -> None:
        """Binds and listens, so that others can connect; accepts nobody yet."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self.path.chmod(0o666)
        if self.owner is None:
            self._listener.listen(self.backlog)
        else:
            # SO_PEERCRED tells who called listen(), so somebody else has to.
            number = self._listener.fileno()
            command = [sys.executable, "-I", "-S", "-c", _LISTEN, str(number)]
            subprocess.run(command, pass_fds=[number], user=self.owner, check=True, cwd="/")

    def start(self) -> None:
        """Begins to accept."""
        self._thread = threading.Thread(target=self._serve, name="scripted-agent")
        self._thread.start()

    def close(self) -> None:
        """Stops accepting; a script that is under way is waited for."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        if hasattr(self, "_thread"):
            self._thread.join(timeout=10)
            if self._thread.is_alive():
                raise AssertionError("the scripted agent hangs: its script waits for something that does not come")
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            script = self.scripts[min(self.connections, len(self.scripts) - 1)]
            self.connections += 1
            with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._take_request(connection)
                script(connection)
            self.ended += 1

    def _take_request(self, connection: socket.socket) -> None:
        message = connection.recv(wire.MESSAGE_MAX + 1)
        if message:
            self.asked.append(Asked(message, *peer_of(connection)))


@contextlib.contextmanager
def scripted_agent(*scripts: Script, owner: int | None = None) -> Iterator[ScriptedAgent]:
    """A running agent at a path that any user reaches."""
    folder = Path(tempfile.mkdtemp(prefix="pam-tailscale-agent-"))
    folder.chmod(0o755)
    agent = ScriptedAgent(folder / "agent.sock", scripts, owner=owner)
    try:
        agent.open()
        agent.start()
        yield agent
    finally:
        agent.close()
        shutil.rmtree(folder)


def own_uid() -> int:
    """The uid that a shim has to be told for agents of this process."""
    return os.geteuid()


def altered(message: bytes, mask: int) -> list[Script]:
    """Agents that say it, each with one other byte changed by the mask."""
    return [say(message[:at] + bytes([message[at] ^ mask]) + message[at + 1 :]) for at in range(len(message))]
