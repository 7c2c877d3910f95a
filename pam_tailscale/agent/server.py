"""The agent's socket: accepts, learns who asks, reads one message, sends the answers. Knows no request by name.

A fixed set of threads waits for connections. Requests of root and of the key helper, which stand in the way of logins,
are worked on right there; those of anyone else are handed to one thread of their own with a short queue, so that no
local user can keep logins waiting by connecting and saying nothing.
"""

import logging
import os
import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pam_tailscale import wire
from pam_tailscale.errors import WireError

BACKLOG = 256
TRUSTED_PATIENCE = 5.0
"""Seconds that a shim may take to send its request, or to take an answer."""
PUBLIC_PATIENCE = 0.5
"""The same for anyone else."""
PUBLIC_QUEUE = 32
PUBLIC_COMPLAINTS = 10.0
"""Seconds between two lines about anyone else: a flood of them would make the journal drop lines about decisions."""

_CREDENTIALS = struct.Struct("3i")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who is at the other end (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class Channel:
    """The way back to whoever asked: call it to send one message."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.kept = False

    def __call__(self, pairs: Mapping[str, str]) -> None:
        """Send one message. Raises OSError and WireError."""
        self._connection.send(wire.encode(pairs), socket.MSG_NOSIGNAL)

    def keep(self) -> socket.socket:
        """Take the connection over: it is answered later, and closed, by whoever called this."""
        self.kept = True
        return self._connection


Send = Callable[[Mapping[str, str]], None]
Handle = Callable[[wire.Message, Asker, Channel], None]


class Server:
    """Serves a listening SOCK_SEQPACKET socket until told to stop.

    Args:
        listener: the socket; the server closes it when it stops.
        handle: answers one request over its channel; an exception closes the connection without a verdict, a denial.
        trusted: uids that are served at once.
        threads: how many of their requests are worked on at the same time.
    """

    def __init__(self, listener: socket.socket, handle: Handle, trusted: frozenset[int], threads: int) -> None:
        self._listener = listener
        self._handle = handle
        self._trusted = trusted
        self._stopping = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._public: queue.Queue[tuple[socket.socket, Asker] | None] = queue.Queue(PUBLIC_QUEUE)
        self._threads = [threading.Thread(target=self._accept, name=f"accept-{n}") for n in range(threads)]
        self._complain_from = 0.0
        self._public_thread = threading.Thread(target=self._serve_public, name="public")

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._listener.settimeout(0)  # another thread may have taken what this one was woken for
        for thread in [*self._threads, self._public_thread]:
            thread.start()

    def stop(self) -> None:
        """Take no more requests and wait for those that are being answered.

        The socket is not shut down: it may be systemd's, which passes it on to the next agent with whoever waits there.
        """
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        for thread in self._threads:
            thread.join()
        self._public.put(None)
        self._public_thread.join()
        self._listener.close()
        os.close(self._wake)

    def _accept(self) -> None:
        with select.epoll() as waiting:
            # Exclusive: a connection wakes one thread, not all of them.
            waiting.register(self._listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            waiting.register(self._wake, select.EPOLLIN)
            while True:
                waiting.poll()
                if self._stopping.is_set():
                    return
                try:
                    connection, _ = self._listener.accept()
                except BlockingIOError:
                    continue
                except OSError:
                    log.exception("accept() failed")
                    self._stopping.wait(0.1)  # as when descriptors run out: others give theirs back
                    continue
                self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        asker = Asker(*_CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)))
        if asker.uid in self._trusted:
            self._serve(connection, asker, TRUSTED_PATIENCE)
            return
        try:
            self._public.put_nowait((connection, asker))
        except queue.Full:
            connection.close()

    def _serve_public(self) -> None:
        while (item := self._public.get()) is not None:
            if self._stopping.is_set():
                item[0].close()
            else:
                self._serve(*item, PUBLIC_PATIENCE)

    def _serve(self, connection: socket.socket, asker: Asker, patience: float) -> None:
        channel = Channel(connection)
        try:
            connection.settimeout(patience)
            message = wire.decode(connection.recv(wire.MESSAGE_MAX + 1))
            self._handle(message, asker, channel)
        except WireError as err:
            if self._worth_a_line(asker):
                log.warning("a request of uid %d, pid %d is refused: %s", asker.uid, asker.pid, err)
        except OSError as err:
            if self._worth_a_line(asker):
                log.info("uid %d, pid %d went away: %s", asker.uid, asker.pid, err)
        except Exception:
            log.exception("a request of uid %d, pid %d failed", asker.uid, asker.pid)
        finally:
            if not channel.kept:
                connection.close()

    def _worth_a_line(self, asker: Asker) -> bool:
        """Always for the trusted, for anyone else now and then; one thread alone serves those."""
        if asker.uid in self._trusted:
            return True
        now = time.monotonic()
        due = now >= self._complain_from
        if due:
            self._complain_from = now + PUBLIC_COMPLAINTS
        return due
