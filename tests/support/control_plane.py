"""An embedded control plane: ts2021 and HTTP/2 as headscale serves them, on loopback, as scripted.

`ControlPlane` is the transport, in which everything can be made to go wrong; `Checks` is what a control plane knows of
checks, and speaks of them as headscale does.
"""

import asyncio
import base64
import json
import re
import secrets
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, RequestReceived, StreamReset
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from pam_tailscale.check.noise import RESPONSE, Records, Symmetric, frame, raw
from pam_tailscale.errors import CheckError

T = TypeVar("T")

EARLY = b"\xff\xff\xffTS"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a GET is answered with."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


def action(**fields: object) -> Reply:
    """An SSHAction as answer."""
    return Reply(body=json.dumps(fields).encode() + b"\n")


def accept(**fields: object) -> Reply:
    """An answer that lets the person in, with all that headscale permits."""
    permissions = {f"allow{what}Forwarding": True for what in ("Agent", "LocalPort", "RemotePort")}
    return action(accept=True, **permissions, **fields)


@dataclass(frozen=True, slots=True)
class Asked:
    """A GET as it came in."""

    target: str
    authority: str
    machine: str
    """The machine key of whoever asks: `mkey:` and hexadecimal digits."""

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query's values."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}


Handler = Callable[[Asked], Reply | Future[Reply]]
"""Answers a GET, at once or, by a future that somebody resolves later, when they like."""


def public(key: X25519PrivateKey) -> str:
    """A public key as control planes write it."""
    return "mkey:" + raw(key.public_key()).hex()


def key_answer(key: X25519PrivateKey) -> bytes:
    """The HTTP answer that names a control plane's key."""
    document = json.dumps({"legacyPublicKey": "mkey:" + "0" * 64, "publicKey": public(key)}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(document), document)


def respond(initiation: bytes, control: X25519PrivateKey) -> tuple[bytes, Records, str]:
    """The server's half of the handshake: the message to send, the connection, and whose it is. Raises CheckError."""
    version, _, _ = struct.unpack_from(">HBH", initiation)
    theirs = X25519PublicKey.from_public_bytes(initiation[5:37])
    state = Symmetric(version, control.public_key())
    state.mix_hash(initiation[5:37])
    state.mix_shared(control, theirs)
    machine = X25519PublicKey.from_public_bytes(state.open(initiation[37:85]))
    state.mix_shared(control, machine)
    state.open(initiation[85:])
    ephemeral = X25519PrivateKey.generate()
    offered = raw(ephemeral.public_key())
    state.mix_hash(offered)
    state.mix_shared(ephemeral, theirs)
    state.mix_shared(ephemeral, machine)
    message = frame(RESPONSE, offered + state.seal(b""))
    receiving, sending = state.split()
    return message, Records(sending, receiving), "mkey:" + raw(machine).hex()


class ControlPlane:
    """Listens on 127.0.0.1. Its attributes hold for what comes next; a stop keeps them, and the port and the key."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="embedded control plane")
        self._server: asyncio.Server | None = None
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._port = 0
        self.key = X25519PrivateKey.generate()
        self.handlers: dict[str, Handler] = {}
        """By path without query; the path `` is asked for all others."""
        self.asked: list[Asked] = []
        self.given_up: list[str] = []
        """Targets whose answer was no longer wanted."""
        self.dials = 0
        """Connections that were upgraded."""
        self.delay = 0.0
        """Seconds by which every answer is late."""
        self.early: bytes | None = b'{"nodeKeyChallenge":"chalpub:00"}'
        self.streams_max = 250
        """As Go's server has it."""
        self.key_answer: bytes | None = None
        """What is sent in place of the HTTP answer with the key."""
        self.upgrade_answer: bytes | None = None
        """What is sent in place of the HTTP answer to the upgrade."""
        self.handshake_answer: bytes | None = None
        """What is sent in place of the handshake's answer."""
        self.altered: Callable[[bytes], bytes] = bytes
        """What becomes of records on their way."""

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def base_url(self) -> str:
        """The control URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen: on the same port as before, if there was one."""
        self._do(self._start())

    def stop(self) -> None:
        """Close the port and every connection, as if killed."""
        self._do(self._stop())

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def goaway(self) -> None:
        """Tell every connection that nothing more is taken, and close it."""
        self._do(self._goaway())

    def mute(self) -> None:
        """Send nothing more on the connections there are: a firewall on the way has forgotten them."""
        self._do(self._mute())

    def send(self, data: bytes) -> None:
        """Send bytes of HTTP/2 on every connection, whatever they are."""
        self._do(self._send(data))

    def targets(self, path: str = "") -> list[str]:
        """The targets that were asked for, of one path or of all."""
        return [asked.target for asked in list(self.asked) if path in ("", asked.path)]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, ssl=self._tls, limit=1 << 16)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._connections.values())
        for connection in list(self._connections):
            connection.abort()
        if tasks:
            await asyncio.wait(tasks)

    async def _goaway(self) -> None:
        for connection in list(self._connections):
            connection.goaway()

    async def _mute(self) -> None:
        for connection in self._connections:
            connection.muted = True

    async def _send(self, data: bytes) -> None:
        for connection in list(self._connections):
            connection.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, task = _Connection(self, reader, writer), asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.run()
        except (OSError, EOFError, CheckError, H2Error, asyncio.IncompleteReadError):
            pass  # whoever is at the other end has gone, or is told nothing more
        finally:
            connection.abort()
            del self._connections[connection]


class _Connection:
    """One TCP connection of the control plane; everything happens in its event loop."""

    def __init__(self, plane: ControlPlane, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._plane = plane
        self._reader = reader
        self._writer = writer
        self._machine = ""
        self.muted = False
        self._records: Records | None = None
        self._answers: dict[int, tuple[Asked, asyncio.Task[None]]] = {}
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        limits = {SettingCodes.MAX_CONCURRENT_STREAMS: plane.streams_max}
        self._h2.local_settings = Settings(client=False, initial_values=limits)

    def abort(self) -> None:
        """Close at once."""
        for _, task in self._answers.values():
            task.cancel()
        self._writer.transport.abort()

    def goaway(self) -> None:
        """End HTTP/2 in an orderly way, and close."""
        if self._records is not None:
            self._h2.close_connection()
            self._flush()
            self._writer.close()

    def write(self, text: bytes) -> None:
        """Send bytes inside Noise."""
        if text and self._records is not None and not self.muted:
            self._writer.write(self._plane.altered(self._records.seal(text)))

    async def run(self) -> None:
        """Serve until the other end closes. Raises what ends a connection."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if head.startswith("GET /key?v="):
            document = json.dumps(
                {"legacyPublicKey": "mkey:" + "0" * 64, "publicKey": public(self._plane.key)}
            ).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(document), document)
            await self._finish(self._plane.key_answer if self._plane.key_answer is not None else answer)
            return
        offer = re.search(r"\r\nX-Tailscale-Handshake: (\S+)\r\n", head)
        if not head.startswith("POST /ts2021 HTTP/1.1\r\n") or offer is None:
            await self._finish(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        if self._plane.upgrade_answer is not None:
            await self._finish(self._plane.upgrade_answer)
            return
        await self._upgrade(base64.b64decode(offer[1]))

    async def _upgrade(self, initiation: bytes) -> None:
        plane = self._plane
        plane.dials += 1
        switch = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n"
        )
        message, records, self._machine = respond(initiation, plane.key)
        if plane.handshake_answer is not None:
            await self._finish(switch + plane.handshake_answer)
            return
        self._writer.write(switch + message)
        self._records = records
        if plane.early is not None:
            self.write(EARLY + struct.pack(">I", len(plane.early)) + plane.early)
        self._h2.initiate_connection()
        self._flush()
        while data := await self._reader.read(1 << 16):
            for event in self._h2.receive_data(records.open(data)):
                self._handle(event)
            self._flush()

    async def _finish(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
        self._writer.close()
        await self._writer.wait_closed()

    def _flush(self) -> None:
        self.write(self._h2.data_to_send())

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            stream = event.stream_id or 0
            head = {str(name): str(value) for name, value in event.headers or ()}
            asked = Asked(head[":path"], head[":authority"], self._machine)
            self._plane.asked.append(asked)
            self._answers[stream] = (asked, asyncio.create_task(self._answer(stream, asked)))
        elif isinstance(event, StreamReset):
            asked, task = self._answers.pop(event.stream_id or 0)
            task.cancel()
            self._plane.given_up.append(asked.target)
        elif isinstance(event, ConnectionTerminated):
            self.abort()

    async def _answer(self, stream: int, asked: Asked) -> None:
        handler = self._plane.handlers.get(asked.path) or self._plane.handlers.get("")
        found = handler(asked) if handler else Reply(404, b"404 page not found\n")
        # Shielded: that one request is given up does not take the answer away from others.
        reply = await asyncio.shield(asyncio.wrap_future(found)) if isinstance(found, Future) else found
        if self._plane.delay:
            await asyncio.sleep(self._plane.delay)
        self._h2.send_headers(stream, [(":status", str(reply.status)), *reply.headers])
        left = reply.body
        while left:
            part = left[: min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size)]
            self._h2.send_data(stream, part)
            self._flush()
            left = left[len(part) :]
            await asyncio.sleep(0 if part else 0.001)
        self._h2.end_stream(stream)
        self._flush()
        self._answers.pop(stream, None)


@dataclass(slots=True)
class _Session:
    pair: tuple[str, str]
    waiting: list[Future[Reply]] = field(default_factory=list)
    verdict: Reply | None = None
    told: bool = False


class Checks:
    """Checks as headscale 0.29.2 keeps them (hscontrol/noise.go): installs itself as handler of everything.

    Begun by a GET without auth_id; one with it is held until the verdict; a pair that has passed is remembered.
    A verdict is told once: as headscale does, it then says `accept` to whoever asks with the same auth_id again.
    """

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self.remembered: set[tuple[str, str]] = set()
        plane.handlers[""] = self._handle

    @property
    def delegate(self) -> str:
        """The holdAndDelegate of a rule of this control plane."""
        return self._plane.base_url + "/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER"

    @property
    def pending(self) -> list[str]:
        """The auth_ids nobody has decided about, the newest last."""
        with self._lock:
            return [name for name, session in self._sessions.items() if session.verdict is None]

    def approve(self, auth_id: str) -> None:
        """`headscale auth approve`."""
        self._decide(auth_id, accept())

    def reject(self, auth_id: str) -> None:
        """`headscale auth reject`."""
        self._decide(auth_id, action(reject=True))

    def lose(self) -> None:
        """Forget all that is in memory, as a restart does."""
        with self._lock:
            self._sessions.clear()
            self.remembered.clear()

    def forget(self) -> None:
        """Forget who has passed, as a change of the policy does."""
        with self._lock:
            self.remembered.clear()

    def _decide(self, auth_id: str, verdict: Reply) -> None:
        with self._lock:
            session = self._sessions[auth_id]
            session.verdict = verdict
            waiting, session.waiting = session.waiting, []
        for future in waiting:
            future.set_result(self._tell(session))

    def _tell(self, session: _Session) -> Reply:
        verdict = accept() if session.told or session.verdict is None else session.verdict
        session.told = True
        if b'"accept"' in verdict.body:
            self.remembered.add(session.pair)
        return verdict

    def _handle(self, asked: Asked) -> Reply | Future[Reply]:
        found = re.fullmatch(r"/machine/ssh/action/(\d+)/to/(\d+)", asked.path)
        if found is None:
            return Reply(404, b"404 page not found\n")
        pair = (found[1], found[2])
        auth_id = asked.query.get("auth_id", "")
        with self._lock:
            session = self._sessions.get(auth_id)
            if session is not None and session.pair == pair:
                if session.verdict is not None:
                    return self._tell(session)
                future = Future[Reply]()
                session.waiting.append(future)
                return future
            if not auth_id and pair in self.remembered:
                return accept()
            return self._hold(pair)

    def _hold(self, pair: tuple[str, str]) -> Reply:
        auth_id = f"hskey-authreq-{secrets.token_urlsafe(18)}"
        self._sessions[auth_id] = _Session(pair)
        url = self._plane.base_url
        return action(
            message="# Headscale SSH requires an additional check.\n"
            f"# To authenticate, visit: {url}/auth/{auth_id}\n"
            "# Authentication checked with Headscale SSH.\n",
            holdAndDelegate=f"{url}/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID"
            f"?auth_id={auth_id}&local_user=%24LOCAL_USER",
        )
