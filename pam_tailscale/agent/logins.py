"""Logins: each is decided, and where its rule asks for a check that is not passed yet, handed to the waiting room."""

import dataclasses
import logging
import secrets
import threading
import time
from collections.abc import Callable

from pam_tailscale import wire
from pam_tailscale.agent.checking import Checking
from pam_tailscale.agent.gather import Gatherer
from pam_tailscale.agent.journal import Journal
from pam_tailscale.agent.methods import MethodTable
from pam_tailscale.agent.server import Channel, Send
from pam_tailscale.agent.waiting import Login, WaitingRoom
from pam_tailscale.check.desk import Desk
from pam_tailscale.check.flow import Hold, Passed, Verdict
from pam_tailscale.check.passes import PassTable
from pam_tailscale.model import Decision, Demand, Method, Mode, Phase, Reason, Request
from pam_tailscale.model import Verdict as Answer
from pam_tailscale.policy.decision import decide
from pam_tailscale.policy.facts import Limits
from pam_tailscale.policy.withholding import by_method, cannot_limit, key_options, needs_key
from pam_tailscale.policy.words import person_text, prompt_text

_NOT_LIMITED = (
    "sshd was not told to withhold what the rule withholds: it has let the connection in by something else than a key "
    "from the helper, or the policy has changed since. Log in anew, with a key"
)

log = logging.getLogger(__name__)


class Logins:
    """Answers what shims ask about logins; called from many threads.

    Args:
        gatherer: finds out the facts.
        journal: where decisions are written.
        limits: the host's limits as the configuration has them now.
        checking: who is asked for checks.
        waiting: how many connections may wait for a person.
        qr: makes a QR code of an address, or nothing.
    """

    def __init__(
        self,
        gatherer: Gatherer,
        journal: Journal,
        limits: Callable[[], Limits],
        checking: Checking,
        waiting: int,
        qr: Callable[[str], str] = lambda _: "",
    ) -> None:
        self._gatherer = gatherer
        self._journal = journal
        self._limits = limits
        self._checking = checking
        self._qr = qr
        self._methods = MethodTable()
        self._passes = PassTable()
        self._tables = threading.Lock()
        self.room = WaitingRoom(Desk(waiting), checking.provider, self._finish, self._prompt, waiting)

    def answer(self, request: Request, channel: Channel) -> None:
        """Decide one request and answer it, at once or when its check is over."""
        began = time.monotonic()
        decision = self._decision(request)
        if decision.demand is not None:
            decision = self._passable(self._at_once(request, decision, decision.demand), decision.demand)
        if decision.verdict is Answer.CHECK and decision.demand is not None and _can_be_passed(request):
            login = Login(request, decision, decision.demand, channel.keep(), began)
            self.room.admit(login, interactive=request.method is Method.KEYBOARD)
            return
        self._say(request, decision, began, channel)

    def forget(self, person: str) -> list[str]:
        """Void every check of a person; answers what was not reached."""
        missed = self._checking.forget(person)
        self.forgotten(person)
        return missed

    def forgotten(self, person: str) -> None:
        """A person's checks are void: also those of connections on their way in."""
        self.room.forget(person)  # first: whoever waits there could otherwise still leave with a new pass
        with self._tables:
            self._passes.forget_person(person)

    def _decision(self, request: Request) -> Decision:
        facts = self._gatherer.gather(request)
        return decide(request, facts, self._limits(), time.time(), secrets.token_hex(4))

    def _at_once(self, request: Request, decision: Decision, demand: Demand) -> Decision:
        """What this host itself remembers: nobody is asked, and nobody waits."""
        authenticating = request.phase is Phase.AUTH
        # sshd asks the helper twice for one key, without and with the signature.
        may_hold = not authenticating or request.method is Method.PUBLICKEY
        with self._tables:
            held = may_hold and self._passes.holds(demand, time.monotonic())
        # Neither makes a pass: one is there, and evidence is looked at again in the account phase.
        if held or self._checking.provider.recall(demand, time.time()) is not None:
            return let_in(decision)
        if authenticating or request.mode is not Mode.ENFORCE:
            return decision
        detail = "the connection has not passed the check that its rule asks for, or not for this rule: log in anew"
        return dataclasses.replace(decision, verdict=Answer.DENY, detail=detail)

    def _passable(self, decision: Decision, demand: Demand) -> Decision:
        """A check is passed at a prompt and what is withheld needs a key, so that one of them has to be remembered."""
        if decision.verdict is not Answer.CHECK or decision.withheld.nothing or self._checking.period_of(demand) != 0:
            return decision
        detail = (
            "the rule asks for a check at every login, which only keyboard-interactive can pass, and withholds "
            "what only a login by key can be without: give the check a period"
        )
        return dataclasses.replace(decision, verdict=Answer.DENY, reason=Reason.ATTRIBUTE_NOT_ENFORCED, detail=detail)

    def _finish(self, login: Login, verdict: Verdict | None) -> None:
        """The waiting room's answer: passed, refused, or not to be had by this method."""
        decision = login.decision
        if isinstance(verdict, Passed):
            decision = let_in(decision, verdict.message)
            with self._tables:
                self._passes.grant(login.demand, time.monotonic())
            self._checking.note(login.demand)
        elif verdict is not None:
            decision = dataclasses.replace(
                decision,
                verdict=Answer.DENY,
                reason=verdict.reason,
                detail=verdict.detail,
                message=verdict.message,
            )
        self._say(login.request, decision, login.began, Channel(login.shim))

    def _prompt(self, login: Login, hold: Hold) -> str:
        """Where the person has to go, as they read it."""
        line = "check=shown id=%s person=%r node=%r by=%s"
        demand = login.demand
        log.info(line, login.decision.id, demand.person, demand.peer.name, self._checking.provider.name)
        return prompt_text(hold.text, self._qr(hold.url) if hold.url else "", login.decision.id)

    def _say(self, request: Request, decision: Decision, began: float, send: Send) -> None:
        decision = self._one_method(request, by_method(decision, request))
        if request.phase is Phase.SESSION:
            with self._tables:
                self._passes.forget(request.connection)
        provider = self._checking.provider.name if decision.demand is not None else ""
        self._journal.write(decision, request, (time.monotonic() - began) * 1000, provider)
        text = person_text(decision, request.user)
        if decision.allowed and text:
            send({wire.KEY_ANSWER: wire.ANSWER_INFO, wire.KEY_TEXT: text[: wire.TEXT_MAX]})
        verdict = {
            wire.KEY_ANSWER: wire.ANSWER_VERDICT,
            wire.KEY_VERDICT: decision.verdict.value,
            wire.KEY_ID: decision.id,
            wire.KEY_TEXT: "" if decision.allowed else text[: wire.TEXT_MAX],
        }
        send(verdict | _options(request, decision))

    def _one_method(self, request: Request, decision: Decision) -> Decision:
        """A connection that one method was granted to is not granted a second one, nor anything beyond its limits."""
        if not decision.allowed or request.mode is not Mode.ENFORCE:
            return decision
        now, withheld = time.monotonic(), decision.withheld
        with self._tables:
            if not self._methods.limits(request, withheld, now):
                return cannot_limit(decision, _NOT_LIMITED)
            if self._methods.admits(request, withheld, now):
                return decision
        detail = (
            "another method was already granted to this connection: sshd's AuthenticationMethods may not list "
            "two methods that the tailnet's policy answers"
        )
        return dataclasses.replace(
            decision, verdict=Answer.DENY, reason=Reason.SECOND_METHOD, detail=detail, message=""
        )


def let_in(decision: Decision, message: str = "") -> Decision:
    """The decision about a login whose check is passed; `message` is for the person."""
    return dataclasses.replace(
        decision,
        verdict=Answer.ALLOW,
        reason=Reason.CHECK_PASSED,
        detail=needs_key(decision.withheld),
        message=message,
    )


def _options(request: Request, decision: Decision) -> wire.Message:
    """What the key helper is told of a login that is limited."""
    if not decision.allowed or request.method is not Method.PUBLICKEY or decision.withheld.nothing:
        return {}
    return {wire.KEY_VERDICT: wire.VERDICT_LIMITED, wire.KEY_OPTIONS: key_options(decision.withheld)}


def _can_be_passed(request: Request) -> bool:
    """Only a login begins a check, or asks about one: not what comes after it, and not a host that only observes."""
    return request.phase is Phase.AUTH and request.mode is Mode.ENFORCE
