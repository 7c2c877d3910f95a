"""Provider `control`: the control plane itself says whether the person has authenticated, and remembers it.

It is asked as Tailscale's own SSH server asks it: the rule's holdAndDelegate over the Noise transport, with this node's
machine key. Nothing is remembered here but that key, and only for the control plane and the node it was read for.
"""

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pam_tailscale.check.delegate import OWN_ID, Next, expand, judge
from pam_tailscale.check.dial import MOMENT, Patience, parse_origin
from pam_tailscale.check.flow import Hold, Lost, Passed, Polled, Refused, Trouble, Unanswered
from pam_tailscale.check.noise import HandshakeError
from pam_tailscale.check.retry import retry_after
from pam_tailscale.check.streams import Answer
from pam_tailscale.check.trouble import shown
from pam_tailscale.check.ts2021 import Client, Request, SilentError
from pam_tailscale.errors import CheckError, PolicyShapeError
from pam_tailscale.model import Demand, IPAddress, Reason
from pam_tailscale.secret import Secret

ASK_SECONDS: Final = 5.0
"""For the whole of an `ask`, while somebody's login waits."""
SLOW: Final = 1.0
COOL_DOWN: Final = 5.0
"""Seconds: after an `ask` that took so long in vain, others are in vain at once for a while.

Logins would otherwise wait one after the other, and hold sshd's places for those that are not complete.
"""
HOLD_SECONDS: Final = 1800.0
"""For which a check can be approved; Tailscale's own server holds as long (ssh/tailssh, clientAuth)."""
HOPS_MAX: Final = 10
"""Delegates one after the other that tell the person nothing."""
HELD_MAX: Final = 100
"""Requests that wait for a person while nobody waits for the request; Go's servers take 250 at once."""
STALE: Final = 150.0
"""Seconds after which an answer that nobody has waited for counts no more: it was about the moment when it came.

What the control plane still remembers then, it says when it is asked anew. As long as a pass waits for its session.
"""
BEGUN_MAX: Final = 10_000
"""Checks of which it is remembered that they were asked about; more than ever wait, since those end in HOLD_SECONDS."""
REST: Final = 1.0
"""Seconds before a control plane is asked again that sends us back to the same place without waiting."""

_MACHINE_KEY = re.compile(r"privkey:([0-9a-f]{64})")
_OK, _UNAUTHORIZED, _TOO_MANY, _SERVER_ERROR = 200, 401, 429, 500


class _BadAnswerError(CheckError):
    """The control plane can be reached, and answers that it cannot be asked."""


class ControlProvider:
    """Asks the control plane. `close` ends its connection; nothing may be asked after that.

    `control` gives the control URL and this node's stable id as they are known now, `machine_key` the text
    `privkey:` and 64 hexadecimal digits, `own_node_id` the number of the node that has an address, which is this host.
    The three raise CheckError where they cannot. `wall` is Unix time.
    """

    name = "control"

    def __init__(
        self,
        *,
        control: Callable[[], tuple[str, str]],
        machine_key: Callable[[], Secret],
        own_node_id: Callable[[IPAddress], int],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._control = control
        self._machine_key = machine_key
        self._own_node_id = own_node_id
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._client_of = ("", "")
        self._closed = False
        self._held: dict[str, Request] = {}
        self._begun: OrderedDict[str, None] = OrderedDict()
        """What was asked for the end of, and has not answered."""
        self._problem = ""
        self._rests_until = 0.0
        self._answered = False
        """The problem is an answer of the control plane."""

    def recall(self, demand: Demand, now: float) -> Passed | None:  # noqa: ARG002
        """Nothing: only the control plane remembers."""
        return None

    def ask(self, demand: Demand) -> Passed | Hold | Refused | Trouble:
        """What the control plane remembers; where it remembers nothing, it begins a check by being asked."""
        if not demand.delegate:
            return Refused(
                Reason.CHECK_UNAVAILABLE,
                'the rule names no control plane that could be asked: set by = "oidc" in [check] to check its people',
            )
        began = self._monotonic()
        if began < self._rests_until:
            return Trouble(self._problem)
        answer = self._ask(demand, began)
        if isinstance(answer, Trouble) and self._monotonic() - began >= SLOW:
            self._rests_until = self._monotonic() + COOL_DOWN
        return answer

    begin = ask

    def _ask(self, demand: Demand, began: float) -> Passed | Hold | Refused | Trouble:
        patience = Patience(began + ASK_SECONDS, lambda: False, self._monotonic)
        outcome = self._guarded(lambda: self._pursue(demand, self._target(demand, demand.delegate), None, patience))
        if isinstance(outcome, Unanswered):
            return self._trouble(
                CheckError(f"the control plane did not answer within {ASK_SECONDS:.0f} s: see its log")
            )
        return self._trouble(CheckError(outcome.detail)) if isinstance(outcome, Lost) else outcome

    def poll(self, demand: Demand, hold: Hold, patience: float, cancelled: Callable[[], bool]) -> Polled:
        """Ask for the end of a check. The control plane keeps the answer back until somebody has acted."""
        waiting = Patience(self._monotonic() + patience, cancelled, self._monotonic)
        outcome = self._guarded(lambda: self._pursue(demand, hold.ticket.reveal(), hold, waiting))
        if isinstance(outcome, Hold) and (outcome.ticket, outcome.text) == (hold.ticket, hold.text):
            self._rest(waiting.until(REST))
            return Unanswered()
        return outcome

    def prepare(self) -> None:
        """Read the machine key and connect, so that neither has to be done in a login."""
        patience = Patience(self._monotonic() + ASK_SECONDS, lambda: False, self._monotonic)
        try:
            self._connected().connect(patience)
        except CheckError as err:
            self._trouble(err)
        else:
            if not self._answered:  # whether the next answer is a better one is not known
                self._problem = ""

    def problem(self) -> str:
        """Why the control plane could not be asked when that was last tried; empty where it could."""
        return self._problem

    def close(self) -> None:
        """End the connection; whoever waits is answered with trouble."""
        with self._lock:
            self._closed = True
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _guarded(self, step: Callable[[], Polled]) -> Polled:
        """What comes of a step. What one control plane says about one node is not believed after a login elsewhere."""
        try:
            asked, outcome = self._control(), step()
            return outcome if self._control() == asked else Lost("the node was logged in elsewhere meanwhile")
        except PolicyShapeError as err:
            return Refused(Reason.POLICY_SHAPE, str(err))
        except SilentError as err:
            return Lost(str(err))
        except CheckError as err:
            return self._trouble(err)

    def _trouble(self, err: CheckError) -> Trouble:
        self._problem, self._answered = str(err), isinstance(err, _BadAnswerError)
        return Trouble(str(err), err.retry_after)

    def _pursue(self, demand: Demand, target: str, told: Hold | None, patience: Patience) -> Polled:
        """From delegate to delegate, until there is something to tell. `told` is what the person has been told."""
        known = told
        for _ in range(HOPS_MAX):
            answer = self._get(target, patience, keep=told is not None)
            if answer is None:
                return Unanswered() if known is None or known == told else known
            outcome = self._read(answer, lost=told is not None)
            if not isinstance(outcome, Next):
                return outcome
            self._free(target)
            target = self._target(demand, outcome.delegate)
            if outcome.text or known is None:
                known = Hold(outcome.text, outcome.page, Secret(target), 0.0, HOLD_SECONDS, self._wall())
            else:
                known = replace(known, ticket=Secret(target))
            if outcome.text:
                return known
        raise CheckError("the control plane sends from one place to the next and tells the person nothing: see its log")

    def _target(self, demand: Demand, delegate: str) -> str:
        own_id = self._own_node_id(demand.connection.server) if OWN_ID in delegate else 0
        return expand(delegate, demand, own_id)

    def _read(self, answer: Answer, *, lost: bool) -> Passed | Refused | Lost | Next:
        """What an answer says; `lost`: one that blames the request is about a check that is known no more."""
        if answer.status == _OK:
            outcome = judge(answer.body)
            self._problem = ""
            return outcome
        said = f"the control plane answered with {answer.status}"
        if not lost:  # what it says of a check that has begun may repeat the address of its page, and anyone reads it
            said += f" {shown(answer.body.decode('utf-8', 'replace').strip())}"
        if answer.status == _UNAUTHORIZED:
            raise _BadAnswerError(
                f"{said}: is the node still logged in as the one whose machine key tailscaled has kept?"
            )
        if answer.status == _TOO_MANY or answer.status >= _SERVER_ERROR:
            raise _BadAnswerError(f"{said}: see its log", retry_after(answer.retry_after, self._wall()))
        if lost:
            return Lost(said)
        raise _BadAnswerError(
            f"{said}: does this control plane support check rules, and is this node still in its tailnet?"
        )

    def _get(self, target: str, patience: Patience, *, keep: bool) -> Answer | None:
        """The answer; None where patience ended first. The machine key is read again where it is not taken, once."""
        client = self._connected()
        try:
            answer = self._wait(client, target, patience) if keep else client.get(target, patience)
            if answer is None or answer.status != _UNAUTHORIZED:
                return answer
        except HandshakeError:
            pass
        self._forget(client)
        client = self._connected()
        return self._wait(client, target, patience) if keep else client.get(target, patience)

    def _wait(self, client: Client, target: str, patience: Patience) -> Answer | None:
        """Wait for an answer that the control plane keeps back, in the request that was begun for it before.

        headscale 0.29 tells a rejection once; whoever asks for the same check beside that, or after it, is told that it
        has passed (types/common.go, FinishAuth closes the channel). So each check has one request in its life: where
        that may have reached the control plane and has no answer, or one that ended the check, the check is lost, and
        the person is asked anew.
        """
        request = self._once(target) or client.begin(target)
        try:
            answer = request.wait(patience)
        except CheckError as err:
            if request.may_have_arrived:
                raise SilentError(str(err)) from err
            self._free(target)
            raise
        if answer is None:
            self._keep(target, request)
            return None
        if time.monotonic() - request.finished > STALE:
            raise SilentError("the answer to this check came long before anybody asked for it: it has to begin anew")
        if answer.status != _OK:
            self._free(target)
        return answer

    def _once(self, target: str) -> Request | None:
        """The request that was begun for it before. Raises SilentError where there was one that is gone."""
        with self._lock:
            if (request := self._held.pop(target, None)) is not None:
                return request
            if target in self._begun:
                raise SilentError("this check has had its answer, or may have lost it: it has to begin anew")
            self._begun[target] = None
            while len(self._begun) > BEGUN_MAX:
                self._begun.popitem(last=False)
        return None

    def _free(self, target: str) -> None:
        """It ended nothing, or has not arrived: it may be asked again."""
        with self._lock:
            self._begun.pop(target, None)

    def _keep(self, target: str, request: Request) -> None:
        with self._lock:
            self._held[target] = request
            oldest = next(iter(self._held))
            dropped = self._held.pop(oldest) if len(self._held) > HELD_MAX else None
        if dropped is not None:
            dropped.cancel()

    def _connected(self) -> Client:
        """The client for the control plane and node of now, with the machine key that was read for them."""
        old = None
        with self._lock:
            if self._closed:
                raise CheckError("the agent is ending: ask again when it has started anew")
            wanted, client = self._control(), self._client
            if client is None or self._client_of != wanted:
                old, client = client, Client(parse_origin(wanted[0]), _private(self._machine_key()), self._monotonic)
                self._client, self._client_of = client, wanted
                self._held.clear()
        if old is not None:
            old.close()
        return client

    def _forget(self, client: Client) -> None:
        with self._lock:
            if self._client is client:
                self._client = None
        client.close()

    def _rest(self, patience: Patience) -> None:
        while left := patience.left():
            time.sleep(min(left, MOMENT))


def _private(text: Secret) -> X25519PrivateKey:
    found = _MACHINE_KEY.fullmatch(text.reveal())
    if found is None:
        raise CheckError("the machine key has a form that this version does not know: upgrade pam-tailscale")
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(found[1]))
