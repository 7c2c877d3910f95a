"""Provider control, against an embedded control plane: what it asks, what passes, and what happens when things fail."""

import logging
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pam_tailscale.check import control as module
from pam_tailscale.check import ts2021
from pam_tailscale.check.control import HOLD_SECONDS, HOPS_MAX, ControlProvider
from pam_tailscale.check.flow import Hold, Lost, Passed, Polled, Provider, Refused, Trouble, Unanswered
from pam_tailscale.check.noise import frame
from pam_tailscale.errors import CheckError
from pam_tailscale.model import Demand, IPAddress, Reason
from pam_tailscale.secret import Secret
from tests.support.control_plane import Asked, Checks, ControlPlane, Reply, accept, action, public
from tests.support.waiting import wait_until
from tests.unit.check.test_delegate import DEMAND
from tests.unit.check.test_retry import NOW

KEYS = {name: "privkey:" + digit * 64 for name, digit in (("first", "1"), ("second", "2"))}
FIRST_PATH = "/machine/ssh/action/2/to/1"


def machine(name: str) -> str:
    """The public key that the control plane sees."""
    return public(X25519PrivateKey.from_private_bytes(bytes.fromhex(KEYS[name].removeprefix("privkey:"))))


class Host:
    """This host as the provider knows it."""

    def __init__(self, plane: ControlPlane) -> None:
        self.control = (plane.base_url, "nSERVER")
        self.key: str | CheckError = KEYS["first"]
        self.own: int | CheckError = 1
        self.keys_read = 0
        self.skipped: Callable[[], float] = lambda: 0.0
        """Seconds that have gone by unnoticed."""
        self.provider = ControlProvider(
            control=lambda: self.control,
            machine_key=self.machine_key,
            own_node_id=self.own_node_id,
            wall=lambda: NOW,
            monotonic=lambda: time.monotonic() + self.skipped(),
        )

    def machine_key(self) -> Secret:
        """What tailscaled's state says now."""
        self.keys_read += 1
        if isinstance(self.key, CheckError):
            raise self.key
        return Secret(self.key)

    def own_node_id(self, address: IPAddress) -> int:
        """What tailscaled's whois says of an address of ours."""
        assert address == ip_address("100.64.0.1")
        if isinstance(self.own, CheckError):
            raise self.own
        return self.own


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    """A control plane."""
    with ControlPlane() as plane:
        yield plane


@pytest.fixture
def checks(plane: ControlPlane) -> Checks:
    """What it knows of checks."""
    return Checks(plane)


@pytest.fixture
def host(plane: ControlPlane) -> Iterator[Host]:
    """A host in its tailnet, of which no thread is left."""
    before = set(threading.enumerate())
    host = Host(plane)
    yield host
    host.provider.close()
    assert set(threading.enumerate()) <= before


@pytest.fixture
def demand(plane: ControlPlane) -> Demand:
    """What a check rule of this control plane demands."""
    delegate = plane.base_url + "/machine/ssh/action/$SRC_NODE_ID/to/$DST_NODE_ID?local_user=$LOCAL_USER"
    return replace(DEMAND, delegate=delegate)


def never() -> bool:
    """Nobody hangs up."""
    return False


def ask(host: Host, demand: Demand) -> Hold:
    """A check that has begun."""
    hold = host.provider.ask(demand)
    assert isinstance(hold, Hold), hold
    return hold


def poll(host: Host, demand: Demand, hold: Hold, patience: float = 20) -> Polled:
    """What has become of it."""
    return host.provider.poll(demand, hold, patience, never)


def scripted(plane: ControlPlane, *replies: Reply | Future[Reply]) -> None:
    """Answers for whatever is asked, one after the other; the last one goes on."""
    left = list(replies)

    def handle(_: Asked) -> Reply | Future[Reply]:
        return left.pop(0) if len(left) > 1 else left[0]

    plane.handlers[""] = handle


def hold_reply(path: str, message: str = "") -> Reply:
    """A hold that sends on to a path."""
    return action(holdAndDelegate=f"https://unused{path}", **({"message": message} if message else {}))


def test_it_is_a_provider(host: Host, demand: Demand) -> None:
    """Which remembers nothing by itself."""
    provider: Provider = host.provider
    assert provider.name == "control"
    assert provider.recall(demand, NOW) is None
    assert provider.problem() == ""


def test_a_check_is_begun_approved_and_remembered(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """From the first question to the login after, with one connection."""
    hold = ask(host, demand)
    [auth_id] = checks.pending
    page = f"{plane.base_url}/auth/{auth_id}"
    assert (hold.url, hold.interval, hold.lifetime, hold.begun) == (page, 0.0, HOLD_SECONDS, NOW)
    assert f"visit: {page}\n" in hold.text
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, host, demand, hold)
        wait_until(lambda: len(plane.asked) == 2, 10, "the poll is held")
        checks.approve(auth_id)
        assert waiting.result(20) == Passed()
    assert host.provider.ask(demand) == Passed()
    assert [asked.target for asked in plane.asked] == [
        f"{FIRST_PATH}?local_user=alice",
        f"{FIRST_PATH}?auth_id={auth_id}&local_user=%24LOCAL_USER",
        f"{FIRST_PATH}?local_user=alice",
    ]
    assert {asked.machine for asked in plane.asked} == {machine("first")}
    assert (plane.dials, host.keys_read) == (1, 1)


def test_to_begin_is_to_ask(checks: Checks, host: Host, demand: Demand) -> None:
    """There is nothing else that could be done."""
    assert isinstance(host.provider.begin(demand), Hold)
    assert len(checks.pending) == 1


def test_a_rejection_is_a_no(checks: Checks, host: Host, demand: Demand) -> None:
    """And the end of the check."""
    hold = ask(host, demand)
    checks.reject(checks.pending[0])
    outcome = poll(host, demand, hold)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.CHECK_REJECTED


def test_a_rejection_that_was_told_is_not_asked_about_again(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """Another request for the same check would be told that it has passed."""
    hold = ask(host, demand)
    checks.reject(checks.pending[0])
    assert isinstance(poll(host, demand, hold), Refused)
    asked = len(plane.asked)
    assert isinstance(poll(host, demand, hold), Lost)
    assert len(plane.asked) == asked


def test_nobody_has_acted(checks: Checks, host: Host, demand: Demand) -> None:
    """Within the patience, or until whoever waits has gone."""
    hold = ask(host, demand)
    assert poll(host, demand, hold, 0.05) == Unanswered()
    assert host.provider.poll(demand, hold, 20, lambda: True) == Unanswered()
    assert checks.pending
    assert host.provider.problem() == ""


def test_a_rejection_is_not_lost_between_two_polls(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """Headscale tells it once and then says yes: whoever gave up the request that it was told to would let in.

    The one request stays, whoever comes and goes.
    """
    hold = ask(host, demand)
    assert poll(host, demand, hold, 0.05) == Unanswered()
    wait_until(lambda: len(plane.asked) == 2, 10, "the poll has come")
    checks.reject(checks.pending[0])
    outcome = poll(host, demand, hold)
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.CHECK_REJECTED
    assert (plane.given_up, len(plane.asked)) == ([], 2)


def test_a_rejection_is_not_lost_on_a_dead_connection(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the request still waits, and takes the rejection: a second one beside it would be told yes."""
    monkeypatch.setattr(ts2021, "PING_AFTER", 0.1)
    monkeypatch.setattr(ts2021, "PING_PATIENCE", 0.5)
    hold = ask(host, demand)
    assert poll(host, demand, hold, 0.05) == Unanswered()
    wait_until(lambda: len(plane.asked) == 2, 10, "the poll has come")
    plane.mute()
    outcome = poll(host, demand, hold)
    assert isinstance(outcome, Lost)
    assert "no sign of life" in outcome.detail
    checks.reject(checks.pending[0])
    monkeypatch.undo()
    anew = ask(host, demand)
    assert anew.ticket != hold.ticket
    assert len(plane.asked) == 3


def test_an_approval_that_nobody_waited_for_is_no_later_logins(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was about the moment when it came: the control plane is asked anew, and says whether it still remembers."""
    monkeypatch.setattr(module, "STALE", 0.1)
    hold = ask(host, demand)
    assert poll(host, demand, hold, 0.05) == Unanswered()
    wait_until(lambda: len(plane.asked) == 2, 10, "the poll has come")
    checks.approve(checks.pending[0])
    request = host.provider._held[hold.ticket.reveal()]
    wait_until(lambda: 0 < request.finished < time.monotonic() - 0.2, 10, "the approval has come, and is old")
    outcome = poll(host, demand, hold)
    assert isinstance(outcome, Lost)
    assert "long before" in outcome.detail
    assert isinstance(poll(host, demand, hold), Lost)
    assert host.provider.ask(demand) == Passed()
    checks.forget()
    assert isinstance(host.provider.ask(demand), Hold)


def test_a_control_plane_that_hangs_makes_only_the_first_wait(
    plane: ControlPlane, host: Host, demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logins do not wait one after the other; after a while it is asked again."""
    monkeypatch.setattr(module, "ASK_SECONDS", 0.05)
    monkeypatch.setattr(module, "SLOW", 0.01)
    scripted(plane, Future[Reply]())
    first = host.provider.ask(demand)
    assert isinstance(first, Trouble)
    asked = len(plane.asked)
    monkeypatch.setattr(module, "ASK_SECONDS", 5.0)
    assert host.provider.ask(demand) == Trouble(first.detail)
    assert len(plane.asked) == asked
    monkeypatch.setattr(host.provider, "_rests_until", 0.0)
    scripted(plane, accept())
    assert host.provider.ask(demand) == Passed()


def test_what_is_said_about_another_node_does_not_count(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """The node was logged in elsewhere while the check waited: nobody gets in by what the one before says."""
    hold = ask(host, demand)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, host, demand, hold)
        wait_until(lambda: len(plane.asked) == 2, 10, "the poll has come")
        host.control = (host.control[0], "another")
        checks.approve(checks.pending[0])
        outcome = waiting.result(20)
    assert isinstance(outcome, Lost)
    assert "logged in elsewhere" in outcome.detail


def test_requests_that_nobody_waits_for_are_bounded(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest is given up."""
    monkeypatch.setattr(module, "HELD_MAX", 2)
    holds = [ask(host, demand) for _ in range(3)]
    for number, hold in enumerate(holds, 1):
        until = 3 + number
        assert host.provider.poll(demand, hold, 20, lambda n=until: len(plane.asked) == n) == Unanswered()  # type: ignore[misc]
    wait_until(lambda: plane.given_up == [holds[0].ticket.reveal()], 10, "the first is given up")
    checks.approve(checks.pending[-1])
    assert poll(host, demand, holds[2]) == Passed()
    # A second request for the one that was given up could be told yes after a no that nobody heard.
    asked = len(plane.asked)
    assert isinstance(poll(host, demand, holds[0]), Lost)
    assert len(plane.asked) == asked


def test_a_rejection_is_not_lost_on_a_broken_connection(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """The connection breaks while the check waits, and whether its answer has come, or was on the way, nobody knows."""
    hold = ask(host, demand)
    assert poll(host, demand, hold, 0.05) == Unanswered()
    wait_until(lambda: len(plane.asked) == 2, 10, "the poll has come")
    checks.reject(checks.pending[0])
    plane.restart()
    assert isinstance(poll(host, demand, hold), Lost | Refused)
    assert isinstance(poll(host, demand, hold), Lost | Refused)
    assert len(plane.asked) == 2


def test_a_poll_that_never_arrived_may_come_again(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """The control plane was away when somebody asked: that loses nothing."""
    hold = ask(host, demand)
    plane.stop()
    assert isinstance(host.provider.ask(demand), Trouble)  # the connection is known to be gone
    assert isinstance(poll(host, demand, hold), Trouble)
    plane.start()
    checks.approve(checks.pending[0])
    assert poll(host, demand, hold) == Passed()


def test_a_control_plane_that_restarts_asks_anew(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """The check is lost; while it is down there is trouble; then there is a new page, which can be approved."""
    hold = ask(host, demand)
    assert poll(host, demand, hold, 0.05) == Unanswered()
    wait_until(lambda: len(plane.asked) == 2, 10, "the poll has come")
    plane.stop()
    checks.lose()
    assert isinstance(poll(host, demand, hold), Lost)
    assert isinstance(host.provider.ask(demand), Trouble)
    assert "cannot reach the control plane" in host.provider.problem()
    plane.start()
    anew = ask(host, demand)
    assert anew.url != hold.url
    assert host.provider.problem() == ""
    checks.approve(checks.pending[0])
    assert poll(host, demand, anew) == Passed()


def test_a_rule_without_a_control_plane_cannot_be_checked(plane: ControlPlane, host: Host) -> None:
    """The text says what can be done."""
    outcome = host.provider.ask(replace(DEMAND, delegate=""))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.CHECK_UNAVAILABLE
    assert 'by = "oidc" in [check]' in outcome.detail
    assert plane.asked == []


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (action(), Reason.RULE_MALFORMED),
        (action(accept=True), Reason.ATTRIBUTE_NOT_ENFORCED),
        (accept(sessionDuration=10**9), Reason.ATTRIBUTE_NOT_ENFORCED),
        (accept(other=1), Reason.POLICY_SHAPE),
        (action(reject=True, accept=True), Reason.CHECK_REJECTED),
        (action(holdAndDelegate="ftp://unused/a"), Reason.POLICY_SHAPE),
    ],
)
@pytest.mark.parametrize("when", ["ask", "poll"])
def test_every_field_counts(
    plane: ControlPlane, host: Host, demand: Demand, reply: Reply, reason: Reason, when: str
) -> None:
    """Of the first answer and of the last."""
    scripted(plane, *([hold_reply("/next", "wait")] if when == "poll" else []), reply)
    outcome = poll(host, demand, ask(host, demand)) if when == "poll" else host.provider.ask(demand)
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason


def test_an_answer_that_is_too_long_is_none(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """Trouble; of a check that has waited nobody knows what it said, so it begins anew."""
    scripted(plane, Reply(200, b"x" * 70_000))
    outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert "longer than 64 KiB" in outcome.detail
    scripted(plane, hold_reply("/next", "wait"), Reply(200, b"x" * 70_000))
    hold = ask(host, demand)
    assert isinstance(poll(host, demand, hold), Lost)


def test_a_delegate_that_is_no_url_is_refused(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """Nobody is asked then."""
    outcome = host.provider.ask(replace(demand, delegate="unused"))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.POLICY_SHAPE
    assert plane.asked == []


@pytest.mark.parametrize(
    ("reply", "retry_after"),
    [
        (Reply(500, b"internal server error\n"), 0.0),
        (Reply(503, b"", (("retry-after", "30"),)), 30.0),
        (Reply(429, b"slow down\x1b[2J", (("retry-after", "100000"),)), 600.0),
        (Reply(429, b"", (("retry-after", "Fri, 15 Jan 2027 08:00:20 GMT"),)), 20.0),
        (Reply(401, b"machine key does not match dst node\n"), 0.0),
        (Reply(200, b"<html>"), 0.0),
    ],
    ids=["500", "503", "429", "date", "401", "no json"],
)
@pytest.mark.parametrize("when", ["ask", "poll"])
def test_what_cannot_be_asked_is_trouble(
    plane: ControlPlane, host: Host, demand: Demand, reply: Reply, retry_after: float, when: str
) -> None:
    """With the time that the control plane wants to be left alone; and the status says it until it is over."""
    if when == "poll":
        scripted(plane, hold_reply("/next", "wait"), reply)
        hold = ask(host, demand)
        outcome = poll(host, demand, hold)
    else:
        scripted(plane, reply)
        outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert outcome.retry_after == retry_after
    assert host.provider.problem() == outcome.detail
    assert "\x1b" not in outcome.detail
    scripted(plane, accept())
    assert host.provider.ask(demand) == Passed()
    assert host.provider.problem() == ""


@pytest.mark.parametrize("status", [204, 302, 400, 403, 404, 410])
def test_a_check_that_is_known_no_more_is_lost(plane: ControlPlane, host: Host, demand: Demand, status: int) -> None:
    """When it is polled; the same answer to the first question is trouble, since there is nothing to lose."""
    scripted(plane, hold_reply("/next", "wait"), Reply(status, b"Invalid auth_id\n"))
    hold = ask(host, demand)
    assert isinstance(poll(host, demand, hold), Lost)
    assert isinstance(host.provider.ask(demand), Trouble)


def test_an_ask_has_an_end(plane: ControlPlane, host: Host, demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login waits for it."""
    monkeypatch.setattr(module, "ASK_SECONDS", 0.05)
    scripted(plane, Future[Reply]())
    outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert "did not answer" in outcome.detail


def test_delegates_that_tell_nothing_are_followed(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """Until there is something to tell, or an answer."""
    scripted(plane, hold_reply("/a/$SSH_USER"), hold_reply("/b"), hold_reply("/c", "visit https://control.example/1"))
    hold = ask(host, demand)
    assert plane.targets()[1:] == ["/a/alice", "/b"]
    assert (hold.url, hold.ticket.reveal()) == ("https://control.example/1", "/c")
    scripted(plane, hold_reply("/d"), accept(message="welcome"))
    assert poll(host, demand, hold) == Passed("welcome")
    assert plane.targets()[3:] == ["/c", "/d"]


def test_delegates_are_not_followed_for_ever(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """A control plane that goes round in circles is trouble."""
    scripted(plane, hold_reply("/a"))
    outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert "from one place to the next" in outcome.detail
    assert len(plane.asked) == HOPS_MAX


def test_a_hold_without_a_text_is_still_a_hold(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """Nothing can be told then, but it can be waited for, at the place that was reached."""
    host.skipped = lambda: module.ASK_SECONDS if len(plane.asked) > 1 else 0.0
    late = Future[Reply]()
    scripted(plane, hold_reply("/a"), late)
    hold = ask(host, demand)
    assert (hold.text, hold.url, hold.ticket.reveal()) == ("", "", "/a")
    late.set_result(accept())
    assert poll(host, demand, hold) == Passed()


def test_a_poll_that_is_sent_on_goes_on_there(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """The person has been told already, and is told the same again, with the new place behind it."""
    scripted(plane, hold_reply("/a", "wait"), hold_reply("/b"), Future[Reply]())
    hold = ask(host, demand)
    outcome = host.provider.poll(demand, hold, 20, lambda: len(plane.asked) == 3)
    assert outcome == replace(hold, ticket=Secret("/b"))


def test_a_control_plane_that_does_not_keep_the_answer_back(
    plane: ControlPlane, host: Host, demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is asked again after a rest, not without end."""
    rested = list[float]()

    def sleep(seconds: float) -> None:
        rested.append(seconds)
        real_sleep(seconds)

    real_sleep = time.sleep
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    scripted(plane, hold_reply("/a", "wait"))
    hold = ask(host, demand)
    monkeypatch.setattr(module, "REST", 0.1)
    assert poll(host, demand, hold) == Unanswered()
    assert len(plane.asked) == 2
    assert sum(rested) > 0


@pytest.mark.parametrize("change", ["node", "control"])
def test_the_key_is_read_again_when_the_node_is_another(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand, change: str
) -> None:
    """A login of the node makes it a new one, perhaps at another control plane; the connection is a new one, too."""
    ask(host, demand)
    host.key = KEYS["second"]
    ask(host, demand)
    assert {asked.machine for asked in plane.asked} == {machine("first")}
    url, _ = host.control
    host.control = (url, "nOTHER") if change == "node" else (f"{url}/", "nSERVER")
    ask(host, demand)
    assert plane.asked[-1].machine == machine("second")
    assert (plane.dials, host.keys_read, len(checks.pending)) == (2, 2, 3)


def guarded(plane: ControlPlane, name: str) -> None:
    """Let only the node with this key be answered."""
    plane.handlers[""] = lambda asked: accept() if asked.machine == machine(name) else Reply(401, b"machine key\n")


def test_a_key_that_is_not_taken_is_read_again(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """Once, and at once: whoever logs in does not notice."""
    guarded(plane, "first")
    assert host.provider.ask(demand) == Passed()
    guarded(plane, "second")
    host.key = KEYS["second"]
    assert host.provider.ask(demand) == Passed()
    assert (host.keys_read, plane.dials) == (2, 2)


def test_a_key_that_is_not_taken_twice_is_trouble(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """Also when a poll finds it out."""
    guarded(plane, "second")
    outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert "still logged in" in outcome.detail
    assert host.keys_read == 2
    assert isinstance(poll(host, demand, Hold("", "", Secret("/a"), 0, 1, 0)), Trouble)
    assert host.keys_read == 3


def test_a_handshake_that_is_not_taken_reads_the_key_again(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """As with a control plane that looks at the key that early."""
    plane.handshake_answer = frame(3, b"unknown machine")
    outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert "unknown machine" in outcome.detail
    assert (host.keys_read, plane.dials) == (2, 2)


@pytest.mark.parametrize("what", ["key", "own"])
def test_what_tailscaled_does_not_say_is_trouble(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand, what: str
) -> None:
    """The reason is tailscaled's, or the root reader's; nobody is asked without it."""
    setattr(host, what, CheckError("the state is sealed by the TPM"))
    assert host.provider.ask(demand) == Trouble("the state is sealed by the TPM")
    assert host.provider.problem() == "the state is sealed by the TPM"
    assert (plane.asked, checks.pending) == ([], [])


@pytest.mark.parametrize("key", ["", "1" * 64, "privkey:" + "1" * 63, "privkey:" + "g" * 64, "nodekey:" + "1" * 64])
def test_a_key_that_is_none_is_trouble(host: Host, demand: Demand, key: str) -> None:
    """And is not shown, whatever it may be."""
    host.key = key
    outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert "form that this version does not know" in outcome.detail
    assert "1111" not in outcome.detail


def test_a_control_url_that_is_none_is_trouble(host: Host, demand: Demand) -> None:
    """As before the node has logged in for the first time."""
    host.control = ("", "")
    outcome = host.provider.ask(demand)
    assert isinstance(outcome, Trouble)
    assert "--login-server" in outcome.detail


def test_what_is_missing_is_known_before_a_login(plane: ControlPlane, host: Host, demand: Demand) -> None:
    """The connection is there then, and so is the reason why it is not."""
    host.key = CheckError("the state is sealed by the TPM")
    host.provider.prepare()
    assert host.provider.problem() == "the state is sealed by the TPM"
    host.key = KEYS["first"]
    plane.stop()
    host.provider.prepare()
    assert "cannot reach the control plane" in host.provider.problem()
    plane.start()
    host.provider.prepare()
    assert host.provider.problem() == ""
    assert (plane.dials, plane.asked) == (1, [])
    scripted(plane, accept())
    assert host.provider.ask(demand) == Passed()
    assert plane.dials == 1


def test_a_bad_answer_is_not_forgotten_because_there_is_a_connection(
    plane: ControlPlane, host: Host, demand: Demand
) -> None:
    """Only a good one says that all is well."""
    scripted(plane, Reply(500, b"no\n"), accept())
    host.provider.ask(demand)
    host.provider.prepare()
    assert "answered with 500" in host.provider.problem()
    host.provider.ask(demand)
    assert host.provider.problem() == ""


def test_to_prepare_has_an_end(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control plane that says nothing holds nobody up."""
    monkeypatch.setattr(module, "ASK_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host.control = (f"http://127.0.0.1:{listener.getsockname()[1]}", "nSERVER")
        host.provider.prepare()
        assert host.provider.problem() == ""
        host.provider.close()


def test_many_ask_at_once(checks: Checks, plane: ControlPlane, host: Host, demand: Demand) -> None:
    """The key is read once and one connection made; each has the answer to its own question."""
    checks.remembered.add(("2", "1"))
    peers = [replace(demand, peer=replace(demand.peer, node_id=2 + number % 2)) for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(host.provider.ask, peers))
    assert [isinstance(outcome, Passed) for outcome in outcomes] == [True, False] * 10
    assert (plane.dials, host.keys_read) == (1, 1)


def test_a_closed_provider_lets_nobody_in(checks: Checks, host: Host, demand: Demand) -> None:
    """Neither whoever waits nor whoever comes after."""
    hold = ask(host, demand)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(poll, host, demand, hold)
        wait_until(lambda: checks._sessions[checks.pending[0]].waiting, 10, "the poll is held")
        host.provider.close()
        assert isinstance(waiting.result(20), Lost)
    assert isinstance(host.provider.ask(demand), Trouble)


def test_the_key_is_nowhere_to_be_seen(
    checks: Checks, plane: ControlPlane, host: Host, demand: Demand, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in what is printed of the provider or its parts, in a log, or in an error."""
    caplog.set_level(logging.DEBUG)
    hold = ask(host, demand)
    plane.handlers[""] = lambda _: Reply(500, b"no")
    assert checks.pending
    outcomes = [hold, host.provider.ask(demand), poll(host, demand, hold)]
    seen = [repr(host.provider), repr(vars(host.provider)), repr(outcomes), caplog.text, host.provider.problem()]
    client = host.provider._client
    assert client is not None
    seen += [repr(client), repr(vars(client)), repr(vars(client._current))]
    host.key = "privkey:" + "1" * 63 + "x"
    host.control = ("http://127.0.0.1:1", "n")
    try:
        host.provider._connected()
    except CheckError:
        seen.append(traceback.format_exc())
    text = "\n".join(seen)
    assert "1" * 32 not in text
    assert repr(b"\x11" * 4)[2:-1] not in text
    assert hold.ticket.reveal() not in text
