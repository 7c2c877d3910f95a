"""The room where connections wait for their checks: carries out what the desk says, in threads of its own.

One thread hears all connections that wait, whatever their number; a few put questions to the provider, which takes its
time. The threads that answer logins never wait here: they hand their connection over.
"""

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pam_tailscale import wire
from pam_tailscale.check import flow
from pam_tailscale.check.desk import Cancel, Desk, Effect, Job, PendingCheck, Prompt, Settle
from pam_tailscale.check.flow import Provider
from pam_tailscale.errors import WireError
from pam_tailscale.model import Decision, Demand, Request

ASKING_THREADS = 4
"""Threads for questions that do not wait for a person, beside one for each connection that may."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """A login whose check is not passed yet, and the connection of the shim that asks about it."""

    request: Request
    decision: Decision
    demand: Demand
    shim: socket.socket
    began: float
    """Monotonic seconds."""


Finish = Callable[[Login, flow.Verdict | None], None]
"""Tells the shim how its check came out; the room closes the connection afterwards."""
Words = Callable[[Login, flow.Hold], str]
"""The text of a prompt."""


class WaitingRoom:
    """Lets logins wait for their checks.

    Args:
        desk: which checks are pending; used under a lock.
        provider: who is asked.
        finish: called for each login once, when its check is over; it must not wait.
        words: what the person reads.
        waiting: how many threads may wait for a person's answer at the provider.
    """

    def __init__(self, desk: Desk, provider: Provider, finish: Finish, words: Words, waiting: int) -> None:
        self._desk = desk
        self._provider = provider
        self._finish = finish
        self._words = words
        self._lock = threading.Lock()
        self._logins: dict[int, Login] = {}
        self._cancelled: dict[int, threading.Event] = {}
        self._stopping = threading.Event()
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._pool = ThreadPoolExecutor(waiting + ASKING_THREADS, "check")
        self._thread = threading.Thread(target=self._listen, name="waiting-room")

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End: whoever waits is left without an answer, which is a no."""
        self._stopping.set()
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        with self._lock:
            for cancelled in self._cancelled.values():
                cancelled.set()
        self._pool.shutdown(cancel_futures=True)
        for login in self._logins.values():
            login.shim.close()
        self._epoll.close()
        os.close(self._wake)

    @property
    def alive(self) -> bool:
        """Whether it works; it ends only with stop()."""
        return self._thread.is_alive()

    def admit(self, login: Login, *, interactive: bool) -> None:
        """Take a login over, its connection with it. `interactive`: it can wait for a person."""
        number = login.shim.fileno()
        login.shim.settimeout(0)
        with self._lock:
            try:
                self._epoll.register(number, select.EPOLLIN)
                self._logins[number] = login
                effects = self._desk.arrive(number, login.demand, time.monotonic(), interactive=interactive)
            except BaseException:
                self._logins.pop(number, None)
                login.shim.close()
                raise
            self._perform(effects)
        os.eventfd_write(self._wake, 1)

    def prepare(self) -> None:
        """Let the provider make ready, in a thread of the room's; returns at once."""
        self._pool.submit(self._prepare)

    def pending(self) -> list[PendingCheck]:
        """What is pending now."""
        with self._lock:
            return list(self._desk.pending())

    def forget(self, person: str) -> None:
        """End what is pending of this person; whoever waits is refused."""
        with self._lock:
            self._perform(self._desk.forget(person))

    def _prepare(self) -> None:
        try:
            self._provider.prepare()
        except Exception:
            log.exception("the provider of checks could not be made ready")

    def _listen(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                due = self._desk.next_due()
            events = self._epoll.poll(None if due is None else max(0.0, due - time.monotonic()))
            try:
                self._take(events)
            except Exception:
                log.exception("a login that waits for its check was lost")

    def _take(self, events: Iterable[tuple[int, int]]) -> None:
        for descriptor, _ in events:
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
                continue
            with self._lock:
                self._hear(descriptor)
        with self._lock:
            self._perform(self._desk.tick(time.monotonic()))

    def _hear(self, number: int) -> None:
        login = self._logins.get(number)
        if login is None:  # it was answered while its event was on the way
            return
        try:
            message = wire.decode(login.shim.recv(wire.MESSAGE_MAX + 1))
        except BlockingIOError:
            return
        except (OSError, WireError):
            message = {}
        now = time.monotonic()
        if message.get(wire.KEY_REQUEST) == wire.REQUEST_CONTINUE:
            self._perform(self._desk.entered(number, now))
            return
        # It has gone, or does not speak the protocol: either way nobody is there to be let in.
        self._leave(number)
        self._perform(self._desk.gone(number, now))

    def _leave(self, number: int) -> None:
        login = self._logins.pop(number)
        self._epoll.unregister(number)
        login.shim.close()

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            try:
                self._carry_out(effect)
            except Exception:
                # The others are about other connections, or keep the check going: the desk takes all as done.
                log.exception("a login that waits for its check was lost")

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Job():
                self._cancelled[effect.number] = cancelled = threading.Event()
                self._pool.submit(self._work, effect, cancelled)
            case Cancel():
                if (wanted := self._cancelled.get(effect.number)) is not None:
                    wanted.set()
            case Prompt():
                self._prompt(effect)
            case Settle():
                self._settle(effect)

    def _work(self, job: Job, cancelled: threading.Event) -> None:
        answer: flow.Answer
        try:
            answer = self._ask(job, cancelled)
        except Exception:
            log.exception("the provider of checks failed")
            answer = flow.Trouble("the provider of checks failed: see the agent's journal")
        with self._lock:
            del self._cancelled[job.number]
            if not self._stopping.is_set():
                self._perform(self._desk.done(job.number, answer, time.monotonic()))
        if not self._stopping.is_set():
            os.eventfd_write(self._wake, 1)

    def _ask(self, job: Job, cancelled: threading.Event) -> flow.Answer:
        match job.step:
            case flow.Ask():
                return self._provider.ask(job.demand)
            case flow.Begin():
                return self._provider.begin(job.demand)
            case flow.Poll(hold):
                return self._provider.poll(job.demand, hold, job.patience, cancelled.is_set)

    def _prompt(self, effect: Prompt) -> None:
        login = self._logins[effect.connection]
        text = self._words(login, effect.hold)
        try:
            pairs = {wire.KEY_ANSWER: wire.ANSWER_PROMPT, wire.KEY_TEXT: text}
            login.shim.send(wire.encode(pairs), socket.MSG_NOSIGNAL)
        except OSError:
            return  # its end is heard as well, and ends its waiting

    def _settle(self, effect: Settle) -> None:
        login = self._logins[effect.connection]
        try:
            self._finish(login, effect.verdict)
        except OSError as err:
            log.info("a login went away before it was answered: %s", err)
        finally:
            self._leave(effect.connection)
