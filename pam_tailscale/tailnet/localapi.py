"""tailscaled's LocalAPI: questions with one short answer, over one connection that is kept open.

http.client rather than requests: a whois stands in the way of every login, and this way it costs half. What streams
(the bus) or is large (the netmap) is in bus.py and reader.py.
"""

import http.client
import socket as sockets
import time
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from pam_tailscale.errors import TailscaledError
from pam_tailscale.model import IPAddress
from pam_tailscale.tailnet import parse, stream
from pam_tailscale.tailnet.records import PeerStatus, Prefs, Status, Whois
from pam_tailscale.tailnet.trouble import refused, unreachable

BODY_MAX: Final = 1 << 20
"""Bytes. A whois answer, `prefs` and `status` without peers have a few KiB; a node with many capabilities tens."""

STATUS_MAX: Final = 1 << 26
"""Bytes. `status` with peers has about a KiB for each."""
_CHUNK = 1 << 16
_OK, _NOT_FOUND = 200, 404
_CLOSED = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)


class LocalAPI:
    """A client for one thread. It follows the socket's path: after a restart of tailscaled it asks the new one.

    Every method raises TailscaledError, and TailscaledNotRootError where the other end of the socket is not root.

    Args:
        socket: path of tailscaled's socket.
        timeout: seconds for each wait on tailscaled, and for one whole answer.
    """

    def __init__(self, socket: Path, timeout: float = 5.0) -> None:
        self._path = str(socket)
        self._timeout = timeout
        self._connection: _Connection | None = None

    def status(self) -> Status:
        """How tailscaled is doing and which node of which tailnet this is."""
        return parse.status(self._object("status?peers=false"))

    def peers(self) -> tuple[PeerStatus, ...]:
        """The nodes that this one sees. With thousands of them this takes a while; no login asks it."""
        return parse.peers(self.status_document())

    def status_document(self) -> parse.Object:
        """The whole of `status` (ipnstate.Status), peers and all. It takes as long as `peers`."""
        return self._object("status", STATUS_MAX)

    def prefs(self) -> Prefs:
        """Which settings tailscaled has."""
        return parse.prefs(self._object("prefs"))

    def whois(self, address: IPAddress, port: int) -> Whois | None:
        """Who is behind an address, and what they are granted here; None where tailscaled knows nobody."""
        host = f"%5B{address}%5D" if isinstance(address, IPv6Address) else str(address)
        path = f"whois?addr={host}:{port}&proto=tcp"
        code, body = self._get(path)
        if code == _NOT_FOUND:
            return None
        return parse.whois(self._checked(path, code, body))

    def close(self) -> None:
        """Close the connection; the next question opens one again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _object(self, path: str, limit: int = BODY_MAX) -> parse.Object:
        return self._checked(path, *self._get(path, limit))

    @staticmethod
    def _checked(path: str, code: int, body: bytes) -> parse.Object:
        what = path.partition("?")[0]
        if code != _OK:
            raise refused(what, code, body)
        return parse.document(body, what)

    def _get(self, path: str, limit: int = BODY_MAX) -> tuple[int, bytes]:
        identity = self._identity()
        kept = self._connection
        if kept is not None and kept.identity != identity:
            self.close()
        elif kept is not None:
            try:
                return self._ask(kept, path, limit)
            except _CLOSED:
                pass  # tailscaled may close a connection that nobody uses; a GET can be asked twice
        self._connection = connection = _Connection(self._path, self._timeout, identity)
        try:
            return self._ask(connection, path, limit)
        except _CLOSED as err:
            raise unreachable(self._path, err) from err

    def _identity(self) -> tuple[int, int]:
        try:
            return stream.identity(self._path)
        except OSError as err:
            self.close()
            raise unreachable(self._path, err) from err

    def _ask(self, connection: "_Connection", path: str, limit: int) -> tuple[int, bytes]:
        """One request. A failure closes the connection, so that no answer is taken for that of a later question."""
        whole = False
        try:
            connection.putrequest("GET", f"/localapi/v0/{path}", skip_accept_encoding=True)
            connection.endheaders()
            response = connection.getresponse()
            body = self._body(response, limit)
            whole = True
        except _CLOSED:
            raise
        except (OSError, http.client.HTTPException) as err:
            raise unreachable(self._path, err) from err
        finally:
            if not whole:
                self.close()
        return response.status, body

    def _body(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        deadline = time.monotonic() + self._timeout
        parts, size = [], 0
        while part := response.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise TailscaledError(
                    f"tailscaled's answer is longer than {limit} bytes and is refused: "
                    "is the configured socket really tailscaled's?"
                )
            if time.monotonic() > deadline:
                raise TimeoutError(f"no whole answer in {self._timeout:g} s")
        if response.length:  # read1 takes an early end for the end
            raise http.client.IncompleteRead(b"", response.length)
        response.close()  # nor does it end the response, which the connection waits for
        return b"".join(parts)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket, to a server that must be root's."""

    def __init__(self, path: str, timeout: float, identity: tuple[int, int]) -> None:
        super().__init__(stream.HOST, timeout=timeout)
        self.path = path
        self.identity = identity
        """Device and inode of the socket when it was opened."""

    def connect(self) -> None:
        """Called by http.client before the first request."""
        self.sock = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self.path)
        except (ConnectionResetError, BrokenPipeError) as err:
            raise unreachable(self.path, err) from err
        stream.require_root(self.sock, self.path)
