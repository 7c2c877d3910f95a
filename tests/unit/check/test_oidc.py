"""Provider oidc: evidence from every place, judged on every use; nothing that fails lets anyone in."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pam_tailscale.check.device import DeviceClient
from pam_tailscale.check.evidence import TOKEN_MAX, person_key
from pam_tailscale.check.flow import Hold, Lost, Passed, Polled, Provider, Refused, Trouble, Unanswered
from pam_tailscale.check.oidc import LEEWAY, scope_of
from pam_tailscale.config import PERIOD_MAX, WithoutAuthTime
from pam_tailscale.errors import CheckError
from pam_tailscale.model import Reason
from pam_tailscale.secret import Secret
from tests.support import fake_oidc
from tests.support.facts import NOW
from tests.support.fake_oidc import DEVICE, DISCOVERY, KEYS, TOKEN, FakeOidc
from tests.support.oidc_hosts import ALICE, ALICES, BOB, SETTINGS, SIGNER, Host, Shared, demand, token
from tests.support.tokens import CLIENT, ISSUER, SigningKey, claims, ec_key, key_set, public, rsa_key, sign

ALWAYS = 0.0
PASSED = Passed(authenticated=NOW - 60)
Live = Callable[..., Host]


@pytest.fixture
def provider() -> Iterator[FakeOidc]:
    """An identity provider."""
    with fake_oidc.fake_oidc() as running:
        yield running


@pytest.fixture
def live(provider: FakeOidc) -> Iterator[Live]:
    """Makes hosts that the provider answers, with the real time."""
    hosts: list[Host] = []

    def make(shared: Shared | None = None, **more: Any) -> Host:
        hosts.append(Host(shared, provider, now=float(int(time.time())), **more))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def begun(host: Host, person: str = ALICE, period: float | None = None) -> Hold:
    """A check that waits for the person."""
    hold = host.oidc.begin(demand(person, period))
    assert isinstance(hold, Hold), hold
    return hold


def polled(host: Host, hold: Hold, person: str = ALICE, period: float | None = None) -> Polled:
    """What a poll answers."""
    return host.oidc.poll(demand(person, period), hold, 20.0, lambda: False)


def test_it_is_a_provider() -> None:
    """As the flow wants one, with the scope by which people are found in stores."""
    host = Host()
    provider: Provider = host.oidc
    assert provider.name == "oidc"
    assert host.oidc.scope == scope_of(SETTINGS) == f"{ISSUER}\0{CLIENT}"
    assert provider.problem() == ""


# What this host remembers.

RECALLED = {
    "nothing": ([], demand(), None),
    "a token": ([token()], demand(), PASSED),
    "the newest that counts": ([token()[:-4] + "AAAA", "x", token(), token(auth_time=NOW - 120)], demand(), PASSED),
    "within the default period": ([token(auth_time=NOW - 3600)], demand(), Passed(authenticated=NOW - 3600)),
    "after it": ([token(auth_time=NOW - 3601)], demand(), None),
    "within the rule's period": ([token()], demand(period=60.0), PASSED),
    "after it, too": ([token()], demand(period=59.0), None),
    "a longer one": ([token(auth_time=NOW - 7200)], demand(period=7200.0), Passed(authenticated=NOW - 7200)),
    "always": ([token()], demand(period=ALWAYS), None),
    "always, by a clock that is ahead": ([token(auth_time=NOW + 30)], demand(period=ALWAYS), None),
    "issued just now": ([token(auth_time=NOW - 3601, iat=NOW, exp=NOW + 300)], demand(), None),
    "expired long ago": ([token(iat=NOW - 3000, exp=NOW - 2700)], demand(), PASSED),
    "without auth_time": ([token(auth_time=None)], demand(), None),
    "from the future": ([token(auth_time=NOW + 61)], demand(), None),
    "another's": ([token(email=BOB)], demand(), None),
    "another's place": ([token()], demand(BOB), None),
    "e-mail not verified": ([token(email_verified=False)], demand(), None),
    "another client": ([token(aud="client-2")], demand(), None),
    "another issuer": ([token(iss="https://evil.example")], demand(), None),
    "another key": ([sign(SigningKey("key-1", "ES256", ec_key(number=2)), claims(int(NOW)))], demand(), None),
    "an unknown key": ([sign(SigningKey("key-2", "ES256", ec_key()), claims(int(NOW)))], demand(), None),
    "too long": (["x" * (TOKEN_MAX + 1)], demand(), None),
    "more than are looked at": (["x", "y", "z", "a", token()], demand(), None),
}


@pytest.mark.parametrize(("tokens", "demanded", "expected"), RECALLED.values(), ids=RECALLED)
def test_what_this_host_remembers(tokens: list[str], demanded: Any, expected: Passed | None) -> None:
    """Judged like any other token, without asking anyone."""
    assert Host().has(*tokens).oidc.recall(demanded, NOW) == expected


def test_a_host_that_always_asks() -> None:
    """The default of the configuration can be that, too."""
    host = Host(period=ALWAYS).has(token())
    assert host.oidc.recall(demand(), NOW) is None
    assert host.oidc.recall(demand(period=3600.0), NOW) == PASSED


def test_a_token_stored_under_another_persons_key_is_nothing() -> None:
    """A key says where to look; who a token is about, the token says."""
    host = Host().has(token(), person=BOB)
    assert host.oidc.recall(demand(BOB), NOW) is None


def test_what_was_forgotten_does_not_count() -> None:
    """Until the person authenticates anew."""
    host = Host().has(token())
    host.local.raise_not_before(ALICES, NOW - 59)
    assert host.oidc.recall(demand(), NOW) is None
    host.has(token(auth_time=NOW - 59))
    assert host.oidc.recall(demand(), NOW) == Passed(authenticated=NOW - 59)


def test_time_goes_on_for_what_was_verified_before() -> None:
    """Only the signature is remembered."""
    host = Host().has(token())
    assert host.oidc.recall(demand(), NOW) == PASSED
    assert host.oidc.recall(demand(), NOW + 3540) == PASSED
    assert host.oidc.recall(demand(), NOW + 3541) is None
    assert host.oidc.recall(demand(), NOW - 121) is None


def test_a_broken_store_lets_nobody_in() -> None:
    """It says so, until it works again."""
    host = Host().has(token())
    host.local.broken = True
    assert host.oidc.recall(demand(), NOW) is None
    assert host.oidc.ask(demand()) is None
    assert host.oidc.problem().startswith("the local store is broken")
    host.local.broken = False
    assert host.oidc.recall(demand(), NOW) == PASSED
    assert host.oidc.problem() == ""


def test_remembering_asks_nobody() -> None:
    """However old the keys, and whatever key a token has."""
    host = Host(Shared(down=True)).has("x", sign(SigningKey("key-2", "ES256", ec_key()), claims(int(NOW))), token())
    assert host.oidc.recall(demand(), NOW) == PASSED
    assert host.oidc.problem() == ""


# What hosts share.


def test_a_check_passed_on_another_host() -> None:
    """It is kept here as well, so that the shared store is asked once."""
    passed = Secret(token())
    shared = Shared({ALICES: [passed]})
    host = Host(shared)
    assert host.oidc.recall(demand(), NOW) is None
    assert host.oidc.ask(demand()) == PASSED
    shared.down = True
    assert host.oidc.recall(demand(), NOW) == PASSED
    assert host.local.evidence[ALICES] == [(NOW - 60, passed, NOW - 60 + PERIOD_MAX)]


FORGED = {
    "rubbish": "x",
    "empty": "",
    "not ASCII": "\u20ac.\u20ac.\u20ac",
    "oversize": "x" * (TOKEN_MAX + 1),
    "altered": token()[:-4] + "AAAA",
    "another's key": sign(SigningKey("key-1", "ES256", ec_key(number=2)), claims(int(NOW))),
    "unknown key": sign(SigningKey("key-9", "ES256", ec_key()), claims(int(NOW))),
    "no signature": sign(SIGNER, claims(int(NOW)), alg="none"),
    "another person": token(email=BOB),
    "another client": token(aud="client-2"),
    "another issuer": token(iss="https://evil.example"),
    "too old": token(auth_time=NOW - 3601),
    "from the future": token(iat=NOW + 3600),
    "no auth_time": token(auth_time=None),
    "not verified": token(email_verified="true"),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_whatever_somebody_puts_into_the_shared_store(forged: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is ignored and said in the log, without the token; a good one behind it still counts."""
    host = Host(Shared({ALICES: [Secret(forged)]}))
    assert host.oidc.ask(demand()) is None
    assert not host.local.evidence
    assert "a token in the shared store is ignored (" in caplog.text
    assert not forged or forged not in caplog.text
    host = Host(Shared({ALICES: [Secret(token()), Secret(forged)]}))
    assert host.oidc.ask(demand()) == PASSED


def test_the_log_is_not_filled(caplog: pytest.LogCaptureFixture) -> None:
    """One line a minute about each kind of flaw, however often somebody asks."""
    host = Host(Shared({ALICES: [Secret("x"), Secret(token(email=BOB))]}))
    for _ in range(20):
        host.oidc.ask(demand())
    assert caplog.text.count("a token in the shared store") == 2
    host.now += 60
    host.oidc.ask(demand())
    assert caplog.text.count("a token in the shared store") == 4


def test_no_more_than_a_few_are_looked_at() -> None:
    """A store full of rubbish costs no more than a store with some."""
    host = Host(Shared({ALICES: [Secret(token()), *map(Secret, "abcd")]}))
    assert host.oidc.ask(demand()) is None


def test_always_is_never_asked_of_a_store() -> None:
    """Neither of this host's nor of the shared one."""
    for changed in ({}, {"auth_time": NOW + 30}):
        host = Host(Shared({ALICES: [Secret(token(**changed))]})).has(token(**changed))
        assert host.oidc.ask(demand(period=ALWAYS)) is None


def test_the_shared_store_is_down() -> None:
    """Who is known here goes on; others are asked. It is remembered as a problem until it is up."""
    shared = Shared({ALICES: [Secret(token())]}, down=True)
    assert Host(shared).has(token()).oidc.ask(demand()) == PASSED
    host = Host(shared)
    assert host.oidc.ask(demand()) is None
    assert "the shared store is down" in host.oidc.problem()
    shared.down = False
    assert host.oidc.ask(demand()) == PASSED
    assert host.oidc.problem() == ""


def test_forgotten_on_another_host() -> None:
    """It is heard before anything is believed, and it stays heard when the store loses it."""
    shared = Shared({ALICES: [Secret(token())]})
    shared.announce_not_before(ALICES, NOW - 30)
    host = Host(shared).has(token())
    assert host.oidc.recall(demand(), NOW) == PASSED  # not heard yet
    assert host.oidc.ask(demand()) is None
    assert host.local.not_befores == {ALICES: NOW - 30}
    shared.announced.clear()
    assert host.oidc.recall(demand(), NOW) is None
    assert host.oidc.ask(demand()) is None


def test_who_cannot_be_told_what_was_forgotten_takes_nothing() -> None:
    """Neither where the shared store does not say it, nor where it cannot be kept."""
    shared = Shared({ALICES: [Secret(token())]}, deaf=True)
    host = Host(shared)
    assert host.oidc.ask(demand()) is None
    shared.deaf = False
    shared.announce_not_before(ALICES, NOW - 30)
    host.local.full = True
    assert host.oidc.ask(demand()) is None
    host.local.full = False
    assert host.oidc.ask(demand()) is None
    shared.keep(ALICES, Secret(token(auth_time=NOW - 20)), NOW - 20, NOW)
    assert host.oidc.ask(demand()) == Passed(authenticated=NOW - 20)


@pytest.mark.parametrize(
    ("moment", "kept"),
    [(NOW + 10, NOW), (NOW + 1e9, None), (float("nan"), None), (float("inf"), None), (-1.0, None), (0.0, None)],
    ids=["a little ahead", "far ahead", "NaN", "infinite", "negative", "0"],
)
def test_an_announcement_that_would_shut_somebody_out(moment: float, kept: float | None) -> None:
    """Nobody is kept out by a time that is yet to come: who authenticates now is let in."""
    shared = Shared(announced={ALICES: moment})
    host = Host(shared)
    host.oidc.ask(demand())
    assert host.local.not_befores.get(ALICES) == kept


def test_a_key_that_is_no_longer_published() -> None:
    """What it has signed no longer counts as soon as that is known: the person is asked again."""
    host = Host().has(token())
    host.published = key_set(SigningKey("key-2", "ES256", ec_key(number=2)))
    assert host.oidc.recall(demand(), NOW) == PASSED
    host.now += 600
    host.oidc.prepare()
    assert host.oidc.recall(demand(), host.now) is None


def test_a_new_key_in_the_shared_store() -> None:
    """It is looked for at once, and once a minute."""
    new = SigningKey("key-2", "ES256", ec_key(number=2))
    host = Host(Shared({ALICES: [Secret(sign(new, claims(int(NOW))))]}))
    assert host.oidc.ask(demand()) is None
    host.published = key_set(SIGNER, new)
    assert host.oidc.ask(demand()) is None
    host.now += 60
    assert host.oidc.ask(demand()) == PASSED


# A check at the provider.


def test_a_check_begins(provider: FakeOidc, live: Live) -> None:
    """The person reads where to go, for whom, and the code that they should see there."""
    host = live()
    page = provider.issuer + "/device?user_code=ABCD-EFGH"
    assert begun(host) == Hold(
        text=f"To log in as alice@example.com, open\n  {page}\nand confirm the code ABCD-EFGH.",
        url=page,
        ticket=Secret("device-code-0"),
        interval=5.0,
        lifetime=600.0,
        begun=host.now,
    )
    assert "device-code-0" not in repr(begun(host))


def test_a_code_to_be_typed(provider: FakeOidc, live: Live) -> None:
    """Where the page does not have it already."""
    provider.device = {"verification_uri_complete": None}
    hold = begun(live())
    assert hold.text.endswith(f"open\n  {provider.issuer}/device\nand enter the code ABCD-EFGH.")
    assert hold.url == provider.issuer + "/device"


@pytest.mark.parametrize(
    ("period", "not_before", "max_age"),
    [(None, 0.0, "3600"), (90.5, 0.0, "90"), (ALWAYS, 0.0, "1"), (None, -60.0, "60"), (None, 30.0, "1")],
    ids=["default", "the rule's", "always", "forgotten", "forgotten in the future"],
)
def test_how_old_an_authentication_may_be(
    provider: FakeOidc, live: Live, period: float | None, not_before: float, max_age: str
) -> None:
    """The provider is asked for one that will count: in the period, and after what was forgotten."""
    host = live()
    if not_before:
        host.local.raise_not_before(person_key(host.oidc.scope, ALICE), host.now + not_before)
    begun(host, period=period)
    assert provider.forms[0]["max_age"] == max_age


def test_a_broken_store_makes_the_provider_ask(provider: FakeOidc, live: Live) -> None:
    """Nobody knows what was forgotten: the person has to authenticate, and that counts."""
    host = live()
    host.local.broken = True
    hold = begun(host)
    assert provider.forms[0]["max_age"] == "1"
    provider.approve(auth_time=int(host.now - LEEWAY - 1))
    assert isinstance(polled(host, hold), Lost)
    provider.approve(auth_time=int(host.now))
    assert polled(host, hold) == Passed(authenticated=host.now)


@pytest.mark.parametrize("person", ["bob@other.example", "b\xf6b@example.com", "bob", "tagged-devices", ""])
def test_nobody_is_sent_to_a_provider_that_cannot_vouch_for_them(provider: FakeOidc, live: Live, person: str) -> None:
    """They would approve in vain."""
    found = live().oidc.begin(demand(person))
    assert isinstance(found, Refused)
    assert found.reason is Reason.CHECK_UNAVAILABLE
    assert "[oidc]" in found.detail
    assert not provider.asked


def test_a_person_approves(provider: FakeOidc, live: Live) -> None:
    """From then on this host and the others know it."""
    shared = Shared()
    host = live(shared)
    hold = begun(host)
    assert polled(host, hold) == Unanswered()
    provider.answer(error="slow_down")
    assert polled(host, hold) == Unanswered(slow_down=True)
    given = Secret(provider.approve(auth_time=int(host.now - 30)))
    passed = Passed(authenticated=host.now - 30)
    assert polled(host, hold) == passed
    assert host.oidc.recall(demand(), host.now) == passed
    key = person_key(host.oidc.scope, ALICE)
    assert shared.evidence == {key: [given]}
    assert host.local.evidence == {key: [(host.now - 30, given, host.now - 30 + PERIOD_MAX)]}


@pytest.mark.parametrize(
    ("error", "kind"),
    [("access_denied", Refused), ("expired_token", Lost), ("invalid_grant", Lost), ("invalid_client", Trouble)],
)
def test_what_else_a_poll_is_told(provider: FakeOidc, live: Live, error: str, kind: type[Polled]) -> None:
    """The person said no, the time is over, the provider was started anew, or something is wrong with us."""
    host = live()
    hold = begun(host)
    provider.answer(error=error)
    found = polled(host, hold)
    assert isinstance(found, kind)
    if isinstance(found, Refused):
        assert found.reason is Reason.CHECK_REJECTED
    assert bool(host.oidc.problem()) is (kind is Trouble)


def test_the_wrong_person_approves(provider: FakeOidc, live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Both names are in the log; nothing is kept, neither for the one nor for the other."""
    shared = Shared()
    host = live(shared)
    hold = begun(host)
    provider.approve(email=BOB, sub="subject-bob")
    found = polled(host, hold)
    assert isinstance(found, Refused)
    assert found.reason is Reason.CHECK_WRONG_PERSON
    assert "'alice@example.com'" in found.detail
    assert "'bob@example.com'" in found.detail
    assert found.detail in caplog.text
    assert not host.local.evidence
    assert not shared.evidence


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"email": "\u212aim@example.com"}, Reason.CHECK_WRONG_PERSON),
        ({"email": "alice+x@example.com"}, Reason.CHECK_WRONG_PERSON),
        ({"email_verified": False}, Reason.CHECK_WRONG_PERSON),
        ({"email_verified": "true"}, Reason.CHECK_WRONG_PERSON),
        ({"email": None}, Reason.CHECK_WRONG_PERSON),
        ({"email": "a\nb\x1b[2J@example.com"}, Reason.CHECK_WRONG_PERSON),
        ({"auth_time": None}, Reason.CHECK_UNAVAILABLE),
        ({"auth_time": "now"}, Reason.CHECK_UNAVAILABLE),
        ({"iss": "https://evil.example"}, Reason.CHECK_UNAVAILABLE),
        ({"aud": "client-2"}, Reason.CHECK_UNAVAILABLE),
        ({"aud": [CLIENT, "client-2"]}, Reason.CHECK_UNAVAILABLE),
        ({"azp": "client-2"}, Reason.CHECK_UNAVAILABLE),
        ({"exp": 1}, Reason.CHECK_UNAVAILABLE),
        ({"iat": 9_999_999_999}, Reason.CHECK_UNAVAILABLE),
        ({"nbf": 9_999_999_999}, Reason.CHECK_UNAVAILABLE),
    ],
    ids=range(15),
)
@pytest.mark.parametrize("period", [None, ALWAYS])
def test_a_token_that_is_not_what_was_asked_for(
    provider: FakeOidc,
    live: Live,
    changed: dict[str, Any],
    reason: Reason,
    period: float | None,
) -> None:
    """The check is over, and nothing is kept."""
    shared = Shared()
    host = live(shared)
    hold = begun(host, period=period)
    provider.approve(**changed)
    found = polled(host, hold, period=period)
    assert isinstance(found, Refused)
    assert found.reason is reason
    assert found.detail.isascii()
    assert found.detail.isprintable()
    assert not host.local.evidence
    assert not shared.evidence


def test_a_token_of_another_key(provider: FakeOidc, live: Live) -> None:
    """It is the provider's address that sent it, and still not evidence."""
    host = live()
    hold = begun(host)
    provider.signer = SigningKey("key-1", "RS256", rsa_key(2))
    provider.approve()
    found = polled(host, hold)
    assert isinstance(found, Refused)
    assert found.reason is Reason.CHECK_UNAVAILABLE
    assert "its signature is not that of the key 'key-1'" in found.detail


def test_the_issue_time_where_the_administrator_says_so(provider: FakeOidc, live: Live) -> None:
    """For a provider that does not tell."""
    host = live(without_auth_time=WithoutAuthTime.TRUST_ISSUE_TIME)
    hold = begun(host)
    provider.approve(auth_time=None, iat=int(host.now))
    assert polled(host, hold) == Passed(authenticated=host.now)


@pytest.mark.parametrize(
    ("period", "age", "passes"),
    [
        (None, 3599, True),
        (None, 3700, False),
        (ALWAYS, 0, True),
        (ALWAYS, LEEWAY, True),
        (ALWAYS, LEEWAY + 1, False),
        (60.0, 59, True),
        (60.0, 90, False),
    ],
)
def test_a_provider_that_did_not_ask_the_person(
    provider: FakeOidc,
    live: Live,
    period: float | None,
    age: float,
    passes: bool,  # noqa: FBT001
) -> None:
    """Its browser session is older than what was asked for: that is no authentication, and the check begins anew."""
    shared = Shared()
    host = live(shared)
    hold = begun(host, period=period)
    provider.approve(auth_time=int(host.now - age))
    found = polled(host, hold, period=period)
    if passes:
        assert found == Passed(authenticated=host.now - age)
    else:
        assert isinstance(found, Lost)
        assert "did not ask 'alice@example.com' anew" in found.detail
        assert "prompt and max_age" in found.detail
    assert bool(host.local.evidence) is bool(shared.evidence) is (passes and period != ALWAYS)


def test_forgotten_while_the_person_approves(provider: FakeOidc, live: Live) -> None:
    """What was authenticated before does not count, although it was not yet known."""
    host = live()
    hold = begun(host)
    host.local.raise_not_before(person_key(host.oidc.scope, ALICE), host.now)
    provider.approve(auth_time=int(host.now - 1))
    assert isinstance(polled(host, hold), Lost)


def test_stores_that_fail_refuse_nobody(provider: FakeOidc, live: Live) -> None:
    """The person has authenticated, just now: it is only not remembered."""
    shared = Shared()
    host = live(shared)
    hold = begun(host)
    shared.down = True
    provider.approve(auth_time=int(host.now))
    assert polled(host, hold) == Passed(authenticated=host.now)
    assert host.oidc.problem() == "the shared store is down"
    assert host.oidc.recall(demand(), host.now) == Passed(authenticated=host.now)


@pytest.mark.parametrize("rotation", ["new key beside the old", "old key gone", "same id"])
def test_keys_are_rotated_while_a_check_waits(provider: FakeOidc, live: Live, rotation: str) -> None:
    """A key that is not known yet is looked for; one with a known id is not what it was, and a new check finds it."""
    host = live()
    hold = begun(host)
    old = provider.signer
    provider.signer = SigningKey("key-1" if rotation == "same id" else "key-2", "RS256", rsa_key(2))
    provider.keys = [public(provider.signer), *([public(old)] if rotation.endswith("old") else [])]
    provider.approve(auth_time=int(host.now))
    if rotation == "same id":
        assert isinstance(polled(host, hold), Refused)
        host.now += 600
        hold = begun(host)
        provider.approve(auth_time=int(host.now), iat=int(host.now), exp=int(host.now) + 300)
    assert polled(host, hold) == Passed(authenticated=host.now)


@pytest.mark.parametrize("period", [None, ALWAYS])
def test_the_keys_cannot_be_fetched(provider: FakeOidc, live: Live, period: float | None) -> None:
    """Nobody is sent to approve what could not be verified afterwards."""
    provider.faults[KEYS] = fake_oidc.status(503, Retry_After="30")
    host = live()
    found = host.oidc.begin(demand(period=period))
    assert isinstance(found, Trouble)
    assert "503" in found.detail
    assert "503" in host.oidc.problem()
    assert not provider.checks


def test_a_provider_without_keys(provider: FakeOidc, live: Live) -> None:
    """Or with none that can be used."""
    provider.keys = [public(SigningKey("weak", "RS256", rsa_key(1, 1024)))]
    host = live()
    assert isinstance(host.oidc.begin(demand()), Trouble)
    assert "publishes no key" in host.oidc.problem()


@pytest.mark.parametrize("path", [DISCOVERY, DEVICE, TOKEN])
def test_a_provider_that_is_out_of_order(provider: FakeOidc, live: Live, path: str) -> None:
    """It is said until it works, and how long it wants to be left alone; evidence that is there goes on to count."""
    host = live()
    provider.faults[path] = fake_oidc.status(503, Retry_After="30")
    if path == TOKEN:
        found: object = polled(host, begun(host))
    else:
        found = host.oidc.begin(demand())
    assert isinstance(found, Trouble)
    if path != DISCOVERY:
        assert found.retry_after == 30
    assert "503" in host.oidc.problem()
    host.has(sign(provider.signer, provider.claims()))
    del provider.faults[path]
    host.now += 60
    polled(host, begun(host))
    assert host.oidc.problem() == ""
    assert host.oidc.recall(demand(), host.now) is not None


def test_a_provider_that_is_down() -> None:
    """Nobody passes who is not known already; the message says what to look at."""
    host = Host().has(token())
    found = host.oidc.begin(demand(BOB))
    assert isinstance(found, Trouble)
    assert "cannot reach the identity provider" in found.detail
    assert isinstance(host.oidc.poll(demand(BOB), Hold("", "", Secret("x"), 5, 60, NOW), 1, lambda: False), Trouble)
    assert "cannot reach" in host.oidc.problem()
    assert host.oidc.recall(demand(), NOW) == PASSED
    host.close()


def test_preparing_finds_the_provider_and_its_keys(provider: FakeOidc, live: Live) -> None:
    """Before somebody waits for it; what is missing is then known."""
    host = live()
    host.oidc.prepare()
    assert provider.asked == {DISCOVERY: 1, KEYS: 1}
    assert host.oidc.problem() == ""
    down = Host()
    down.now += 600
    down.oidc.prepare()
    assert down.oidc.problem() == "the provider is down"


def test_a_problem_is_written_once(caplog: pytest.LogCaptureFixture) -> None:
    """And again when it comes back."""
    shared = Shared(down=True)
    host = Host(shared)
    for down in (True, True, False, True):
        shared.down = down
        host.oidc.ask(demand())
    assert caplog.text.count("the shared store is down") == 2


def test_one_approval_counts_on_twenty_hosts(provider: FakeOidc, live: Live) -> None:
    """All of them at once; each verifies it itself, and nobody is asked a second time."""
    shared = Shared()
    hosts = [live(shared) for _ in range(20)]
    hold = begun(hosts[0])
    provider.approve(auth_time=int(hosts[0].now))
    passed = polled(hosts[0], hold)
    assert isinstance(passed, Passed)
    found: list[object] = []
    threads = [threading.Thread(target=lambda host=host: found.append(host.oidc.ask(demand()))) for host in hosts[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [passed] * 19
    assert all(host.oidc.recall(demand(), host.now) == passed for host in hosts)
    assert len(provider.checks) == 1
    assert not any(host.oidc.ask(demand(BOB)) for host in hosts)


def test_nothing_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is broken, the flow gets an answer that lets nobody in."""
    host = Host(Shared(down=True)).has(token())
    host.local.broken = True

    def fail(*_: object) -> None:
        raise CheckError("everything is broken", 7.0)

    monkeypatch.setattr(DeviceClient, "authorize", fail)
    monkeypatch.setattr(DeviceClient, "redeem", fail)
    hold = Hold("", "", Secret("x"), 5, 60, NOW)
    assert host.oidc.recall(demand(), NOW) is None
    assert host.oidc.ask(demand()) is None
    host.oidc.prepare()
    assert host.oidc.begin(demand()) == Trouble("everything is broken", 7.0)
    assert host.oidc.poll(demand(), hold, 1, lambda: True) == Trouble("everything is broken", 7.0)
    assert "everything is broken" in host.oidc.problem()


def test_no_token_is_written_anywhere(provider: FakeOidc, live: Live, caplog: pytest.LogCaptureFixture) -> None:
    """Neither one that counts nor one that does not; nor the code that would fetch it."""
    caplog.set_level(logging.DEBUG)
    host = live(Shared())
    hold = begun(host)
    given = []
    for changed in ({"email": BOB}, {"aud": "x"}, {"auth_time": 1}, {}):
        given.append(provider.approve(**changed))
        polled(host, hold)
        host.has(given[-1]).oidc.ask(demand())
    text = caplog.text + host.oidc.problem() + repr(hold)
    parts = {part for one in given for part in one.split(".")[1:]} | {"device-code-0"}
    assert not any(part in text for part in parts)
