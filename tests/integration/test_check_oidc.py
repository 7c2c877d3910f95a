"""Check mode with a real OpenID provider: people approve in a browser, and stock clients log in."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, get_args

import pytest

from contrib.demo.tailnet import nodes_rule
from tests.integration.expect import let_in, refused
from tests.integration.paramiko import paramiko
from tests.integration.ways import WAYS, Trip
from tests.support import identity_provider as idp
from tests.support.certificates import Authority, Certificate
from tests.support.check_mode import CheckMode
from tests.support.person import APPROVED, CONFIRM_DEVICE, CONSENT, SIGN_IN, Person
from tests.support.roots import Suite
from tests.support.scene import LAN_DEVICE, Scene, check_rule
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin

# One worker: there is one browser, and it is large.
pytestmark = pytest.mark.xdist_group("identity-provider")

FORBIDDEN, LATER = "tailnet policy does not permit you to SSH", "try again later"
ALICE, NODE = "alice@example.com", "alice-laptop.tailnet.example"
BLOCKS = set("█▀▄ ")


@pytest.fixture(scope="module", params=get_args(Suite))
def suite(request: pytest.FixtureRequest) -> Suite:
    """As in conftest.py, but all on one worker."""
    chosen: Suite = request.param
    return chosen


@pytest.fixture(scope="module")
def running(scene: Scene) -> Iterator[CheckMode]:
    """Provider and browser, started once."""
    with CheckMode(scene) as mode:
        yield mode


@pytest.fixture
def mode(running: CheckMode) -> CheckMode:
    """Check mode as on its first day."""
    running.begin()
    return running


@pytest.fixture
def known(running: CheckMode) -> CheckMode:
    """Check mode where alice has passed her check, as the tests that use this do not change it."""
    if not running.scene.checks()["valid"]:
        running.begin()
        with running.scene.waiting_login() as login:
            running.pass_check(login)
    return running


def valid(mode: CheckMode) -> list[str]:
    """Whose checks count, as `pam-tailscale check` tells."""
    return [one["person"] for one in mode.scene.checks()["valid"]]


def waiters(mode: CheckMode) -> int:
    """How many connections wait for a person."""
    return sum(int(one["waiting"]) for one in mode.scene.checks()["pending"])


def reason_of(mode: CheckMode, login: WaitingLogin) -> str:
    """Why a waiting login came to nothing, found by the id that the person reads."""
    assert login.finish() == 255, login.stdout
    assert login.stdout == ""
    shown = login.stderr.rpartition("(decision ")[2].partition(")")[0]
    line = next(line for line in mode.scene.host.decisions() if f"id={shown} " in line)
    return line.partition(" reason=")[2].partition(" ")[0]


# The prompt


def test_batch_mode_fails_at_once_and_begins_nothing(mode: CheckMode) -> None:
    """Nobody could read a prompt: the login fails, and the provider hears nothing of it."""
    before = mode.begun()
    assert mode.scene.reason(lambda: refused(mode.scene.login("alice"))) == "check_needed"
    assert mode.begun() == before
    assert mode.scene.checks()["pending"] == []


@pytest.mark.parametrize("hold", [False, True], ids=["before", "after"])
def test_enter_before_or_after_approving(mode: CheckMode, *, hold: bool) -> None:
    """The prompt says where to go; whether Enter was pressed before or comes after it, the person is in."""
    with mode.scene.waiting_login(hold=hold) as login:
        page, prompt = login.page(), login.prompt()
        assert page.startswith(f"{mode.provider.issuer}/device?user_code=")
        assert f"To log in as {ALICE}, open" in prompt
        assert f"confirm the code {page.rpartition('=')[2]}" in prompt
        assert "Press Enter now, or after approving" in prompt
        mode.approve(page)
        assert not hold or login.process.poll() is None
        login.press_enter()
        mode.let_in(login)
        assert login.stdout == "alice\n"
    assert valid(mode) == [ALICE]
    asked = mode.provider.requests("device_authorization")[-1]["parameters"]
    assert (asked["prompt"], asked["max_age"]) == ("login", "43200")


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_after_one_check_every_way_is_open_without_a_prompt(known: CheckMode, way: Callable[[Trip], bool]) -> None:
    """In BatchMode, and the provider is not asked again."""
    before = known.begun()
    assert way(Trip(known.scene, known.scene.nodes.alice, 4))
    assert known.begun() == before


def test_one_check_is_for_every_account_of_the_person_and_for_nobody_else(known: CheckMode) -> None:
    """Alice is let in as root and as herself; bob, under the same rule, is asked."""
    scene = known.scene
    for user in ("root", "alice"):
        done = scene.login(user, command="id -un")
        let_in(done)
        assert done.stdout == f"{user}\n"
    assert scene.reason(lambda: refused(scene.login("bob", scene.nodes.bob))) == "check_needed"
    assert scene.reason(lambda: refused(scene.login("bob"))) == "user_not_in_rule"


def test_strangers_begin_no_checks(mode: CheckMode) -> None:
    """Who is not in the rule is refused as ever, and sees no page."""
    before = mode.begun()
    for user, node in (("bob", mode.scene.nodes.alice), ("alice", mode.scene.nodes.stranger), ("nosuch", None)):
        done = mode.scene.login(user, node, password="anything")
        refused(done)
        assert mode.provider.issuer not in done.stderr
    assert mode.begun() == before


def test_a_tagged_node_has_no_person_to_check(mode: CheckMode) -> None:
    """A check rule refuses it, and asks nobody."""
    nodes = mode.scene.nodes
    try:
        mode.scene.set_rules(check_rule([nodes.ci], {"alice": "="}))
        before = mode.begun()
        refused(mode.scene.login("alice", nodes.ci, password="anything"))
        assert mode.begun() == before
    finally:
        mode.scene.set_rules(*mode.rules())


def test_a_client_that_asks_with_other_methods(mode: CheckMode) -> None:
    """At keyboard-interactive paramiko shows the page and gets in; a key made on the spot does only after that."""
    assert not paramiko(mode.scene, "alice", "publickey")["in"]
    with mode.scene.waiting_login(hold=True) as first:
        page = first.page()
    with ThreadPoolExecutor(1) as pool:
        login = pool.submit(paramiko, mode.scene, "alice", "keyboard-interactive")
        wait_until(lambda: waiters(mode) == 1, 20, "paramiko waits")
        mode.approve(page)
        result = login.result(60)
    assert (result["in"], result.get("id")) == (True, "alice"), result
    assert page in "".join(result["shown"])
    for method in ("publickey", "none", "password"):
        result = paramiko(mode.scene, "alice", method)
        assert (result["in"], result.get("id")) == (True, "alice"), (method, result)


def test_a_qr_code_where_it_is_wanted(mode: CheckMode) -> None:
    """It is whole and square, made of blocks that the client's terminal shows, and stands before the last line."""
    mode.reconfigure(mode.configuration(check={"qr": True}))
    with mode.scene.waiting_login(hold=True) as login:
        lines = login.prompt().splitlines()
    code = [line for line in lines if line and set(line) <= BLOCKS]
    assert len({len(line) for line in code}) == 1
    assert len(code) == (len(code[0]) + 1) // 2 >= 14
    assert lines[-1 - len(code) : -1] == code
    assert lines[-1].startswith("Press Enter now")
    assert login.page()


# Who approves


WRONG = [idp.MALLORY, idp.IMPOSTOR, idp.ELSEWHERE, idp.LOOKALIKE, idp.NAMELESS]


@pytest.mark.parametrize("account", WRONG, ids=lambda account: account.login)
def test_the_wrong_person_approves(mode: CheckMode, account: idp.Account) -> None:
    """Whoever else signs in at alice's page, with whatever in their profile: it is no check of hers."""
    with mode.scene.waiting_login() as login:
        mode.approve(login.page(), account)
        assert reason_of(mode, login) == "check_wrong_person"
        assert FORBIDDEN in login.stderr
    assert valid(mode) == []
    assert mode.scene.reason(lambda: refused(mode.scene.login("alice"))) == "check_needed"


def test_an_address_in_capitals_is_the_same_address(mode: CheckMode) -> None:
    """As mail programs see it."""
    with mode.scene.waiting_login() as login:
        mode.pass_check(login, idp.CAPITAL)


@pytest.mark.parametrize("page", [CONFIRM_DEVICE, SIGN_IN, CONSENT])
def test_the_person_refuses(mode: CheckMode, page: str) -> None:
    """On whichever page: the login is refused, and the next one is sent to another page."""
    with mode.scene.waiting_login() as login:
        first = login.page()
        Person(mode.browser, idp.ALICE).refuse(first, page)
        assert reason_of(mode, login) == "check_rejected"
        assert FORBIDDEN in login.stderr
    with mode.scene.waiting_login(hold=True) as again:
        assert again.page() != first


def test_a_person_who_is_known_by_subject(mode: CheckMode) -> None:
    """A login that was mapped is the provider's `sub`, whatever e-mail address anybody has there."""
    mode.reconfigure(mode.configuration(oidc={"subjects": {ALICE: idp.MALLORY.sub}}))
    with mode.scene.waiting_login() as login:
        mode.approve(login.page(), idp.ALICE)
        assert reason_of(mode, login) == "check_wrong_person"
    mode.browser.forget()
    with mode.scene.waiting_login() as login:
        mode.pass_check(login, idp.MALLORY)


def test_a_client_with_a_secret(mode: CheckMode) -> None:
    """The secret comes from a file; with another one nobody is checked, and status says what to look at."""
    mode.reconfigure(mode.configuration(client=idp.CONFIDENTIAL))
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    mode.reconfigure(mode.configuration(client=idp.Client(idp.CONFIDENTIAL.client_id)))
    done = mode.scene.login("bob", mode.scene.nodes.bob, password="anything")
    refused(done)
    assert LATER in done.stderr
    assert "client_secret_file" in str(mode.scene.status()["warnings"])


# Nobody approves


@pytest.fixture
def short_grace(mode: CheckMode) -> Iterator[CheckMode]:
    """A LoginGraceTime of five seconds."""
    mode.scene.host.restart_sshd(LoginGraceTime="5")
    yield mode
    mode.scene.host.restart_sshd()


def nothing_is_left(mode: CheckMode) -> None:
    """No process of sshd for a login that did not come about, and nobody who waits."""
    wait_until(lambda: not mode.scene.host.unfinished_logins(), 10, "no sshd process is held")
    wait_until(lambda: waiters(mode) == 0, 10, "nobody waits")


def test_sshd_ends_the_waiting(short_grace: CheckMode) -> None:
    """LoginGraceTime ends a login at its prompt, and one that waits; its check stays, for whoever comes again."""
    scene = short_grace.scene
    with scene.waiting_login(name="one", hold=True) as one, scene.waiting_login("bob", scene.nodes.bob, "two") as two:
        page = one.page()
        assert two.page() != page
        assert two.finish() == 255
        nothing_is_left(short_grace)
        one.press_enter()  # only then a client sees that its connection has ended
        assert one.finish() == 255
        assert one.stdout == two.stdout == ""
    assert len(scene.checks()["pending"]) == 2
    short_grace.approve(page)
    with scene.waiting_login(name="three") as again:
        short_grace.let_in(again)


@pytest.mark.parametrize("hold", [True, False], ids=["at the prompt", "waiting"])
def test_whoever_hangs_up_leaves_nothing(mode: CheckMode, *, hold: bool) -> None:
    """No process of sshd is held for a client that has gone."""
    with mode.scene.waiting_login(hold=hold) as login:
        login.page()
        wait_until(lambda: waiters(mode) == 1, 10, "it waits")
        assert mode.scene.host.unfinished_logins()
        login.hang_up()
    nothing_is_left(mode)


# When they authenticated


def test_the_period_ends(mode: CheckMode) -> None:
    """It is counted from the authentication, not from the token: after what is left of a minute it is asked anew."""
    mode.reconfigure(mode.configuration(check={"period": "1m"}))
    mode.provider.alter_tokens({"auth_time": int(time.time()) - 48})
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    let_in(mode.scene.login("alice"))
    wait_until(lambda: mode.scene.login("alice").returncode == 255, 30, "the period's end", pause_seconds=0.5)
    assert mode.scene.reason(lambda: refused(mode.scene.login("alice"))) == "check_needed"
    assert valid(mode) == []


def test_a_fresh_token_of_an_old_session_is_not_enough(mode: CheckMode) -> None:
    """A provider that asked nobody, because a browser was signed in: the person is sent to another page."""
    mode.reconfigure(mode.configuration(check={"period": "1m"}))
    mode.provider.reauthentication("ignored")
    mode.provider.alter_tokens({"auth_time": int(time.time()) - 120})
    with mode.scene.waiting_login() as login:
        stale = login.page()
        mode.approve(stale)
        fresh = wait_until(lambda: _other_page(login, stale), 40, "another page")
        assert valid(mode) == []
        mode.provider.alter_tokens()
        mode.approve(fresh)
        mode.let_in(login)
    assert valid(mode) == [ALICE]


def _other_page(login: WaitingLogin, first: str) -> str:
    pages = {login.page(number) for number in range(len(login.prompts))} - {first}
    return pages.pop() if pages else ""


def test_the_provider_is_told_to_ask_the_person(mode: CheckMode) -> None:
    """A live browser session that is older than the period: max_age makes a stock provider ask for the password."""
    mode.reconfigure(mode.configuration(check={"period": "1m"}))
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    mode.scene.host.cli("check", "--forget", ALICE, check=False)
    forgotten = time.time()
    wait_until(lambda: time.time() > forgotten + 2, 5, "a session older than what is asked for")
    with mode.scene.waiting_login() as login:
        visit = mode.visit(login.page())
        assert visit.pages == (CONFIRM_DEVICE, SIGN_IN, APPROVED)
        mode.let_in(login)


def test_a_token_without_auth_time(mode: CheckMode) -> None:
    """It is refused, unless the administrator has said in words that its issue time counts."""
    mode.provider.alter_tokens({"auth_time": None})
    with mode.scene.waiting_login() as login:
        mode.approve(login.page())
        assert reason_of(mode, login) == "check_unavailable"
        assert LATER in login.stderr
    mode.reconfigure(mode.configuration(oidc={"without_auth_time": "trust issue time"}))
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    let_in(mode.scene.login("alice"))


# What is signed


def test_keys_are_rotated_and_the_old_one_is_kept(mode: CheckMode) -> None:
    """Evidence under the old key counts on, also after a token with a new one has made its key known."""
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    mode.provider.rotate_keys(keep_old=True)
    bob_passes(mode)
    let_in(mode.scene.login("alice"))
    let_in(mode.scene.login("bob", mode.scene.nodes.bob))


def test_keys_are_rotated_and_the_old_one_is_gone(mode: CheckMode) -> None:
    """What it has signed counts no more, once the host has heard of it: alice is asked anew, and let in."""
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    mode.provider.rotate_keys(keep_old=False)
    bob_passes(mode)
    assert mode.scene.reason(lambda: refused(mode.scene.login("alice"))) == "check_needed"
    mode.browser.forget()
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    let_in(mode.scene.login("alice"))


def bob_passes(mode: CheckMode) -> None:
    """Somebody else gets a token."""
    mode.browser.forget()
    with mode.scene.waiting_login("bob", mode.scene.nodes.bob) as login:
        mode.pass_check(login, idp.BOB)


_FUTURE = 4_000_000_000
ALTERED: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "issuer": ({"iss": "https://login.attacker.example"}, {}),
    "no issuer": ({"iss": None}, {}),
    "audience": ({"aud": "another-client"}, {}),
    "other audiences": ({"aud": ["another-client", "third"], "azp": "another-client"}, {}),
    "authorized party": ({"azp": "another-client"}, {}),
    "no subject": ({"sub": None}, {}),
    "expired": ({"exp": 1_000_000_000}, {}),
    "no expiry": ({"exp": None}, {}),
    "issued in the future": ({"iat": _FUTURE, "exp": _FUTURE + 300}, {}),
    "authenticated in the future": ({"auth_time": _FUTURE}, {}),
    "authenticated in words": ({"auth_time": "now"}, {}),
    "e-mail": ({"email": "mallory@example.com"}, {}),
    "no e-mail": ({"email": None}, {}),
    "not verified": ({"email_verified": False}, {}),
    "verified in words": ({"email_verified": "false"}, {}),
    "unsigned": ({}, {"alg": "none"}),
    "shared secret": ({}, {"alg": "HS256"}),
    "unknown key": ({}, {"kid": "another-key"}),
    "critical": ({}, {"crit": ["exp"]}),
}


@pytest.fixture(scope="class")
def signed_in(running: CheckMode) -> CheckMode:
    """Alice's browser is signed in and has consented; no host knows of it."""
    running.begin()
    with running.scene.waiting_login() as login:
        running.pass_check(login)
    running.forget_everything()
    return running


class TestAltered:
    """Tokens that the provider has signed, and that say something else than they should."""

    @pytest.fixture
    def unknown(self, signed_in: CheckMode) -> CheckMode:
        """Nothing is altered; whoever is refused leaves nothing behind."""
        signed_in.provider.alter_tokens()
        return signed_in

    @pytest.mark.parametrize(("claims", "header"), ALTERED.values(), ids=ALTERED.keys())
    def test_an_altered_token_lets_nobody_in(
        self, unknown: CheckMode, claims: dict[str, Any], header: dict[str, Any]
    ) -> None:
        """The login that waited for it is refused, and nothing of it is remembered."""
        unknown.provider.alter_tokens(claims, header)
        with unknown.scene.waiting_login() as login:
            unknown.approve(login.page())
            assert reason_of(unknown, login) in {"check_unavailable", "check_wrong_person"}
        assert valid(unknown) == []
        refused(unknown.scene.login("alice"))

    def test_as_it_is_it_lets_in(self, unknown: CheckMode) -> None:
        """The same token without a change."""
        with unknown.scene.waiting_login() as login:
            unknown.pass_check(login)


# The provider fails


@contextlib.contextmanager
def down(mode: CheckMode) -> Iterator[None]:
    """Nothing listens there."""
    mode.provider.stop()
    try:
        yield
    finally:
        mode.provider.start()


@contextlib.contextmanager
def slow(mode: CheckMode) -> Iterator[None]:
    """It answers, but nobody waits so long."""
    for endpoint in get_args(idp.Endpoint):
        mode.provider.disturb(endpoint, delay=8)
    yield


def presenting(certificate: Callable[[CheckMode], Certificate]) -> Callable[[CheckMode], Any]:
    """It shows a bad certificate."""

    @contextlib.contextmanager
    def presented(mode: CheckMode) -> Iterator[None]:
        mode.provider.present(certificate(mode))
        mode.reconfigure()  # connections that are open are not looked at again
        yield

    return presented


HERE = LAN_DEVICE[4]
FAILURES: Mapping[str, tuple[Callable[[CheckMode], Any], str]] = {
    "down": (down, "cannot reach the identity provider"),
    "slow": (slow, "cannot reach the identity provider"),
    "expired": (
        presenting(lambda mode: mode.authority.issue(HERE, lifetime=timedelta(days=-1))),
        "the certificate of the identity provider",
    ),
    "of another": (presenting(lambda mode: mode.authority.issue("192.0.2.99")), "the certificate of the identity"),
    "of an unknown authority": (
        presenting(lambda _: Authority("Another one").issue(HERE)),
        "the certificate of the identity provider",
    ),
}


@pytest.mark.parametrize(("failing", "why"), FAILURES.values(), ids=FAILURES.keys())
def test_the_provider_fails(mode: CheckMode, failing: Callable[[CheckMode], Any], why: str) -> None:
    """Whoever is known gets in; whoever is not is told to try again later; all else goes on; status says why."""
    scene = mode.scene
    with scene.waiting_login() as login:
        mode.pass_check(login)
    with failing(mode), scene.waiting_login("bob", scene.nodes.bob, "bob") as bob:
        let_in(scene.lan_login("alice", key=scene.client.make_key("alice")))
        let_in(scene.login("bob", scene.nodes.ci))
        let_in(scene.login("alice"))
        assert reason_of(mode, bob) == "check_unavailable"
        assert LATER in bob.stderr
        assert not bob.prompts
        assert why in str(scene.status()["warnings"])
        assert why in scene.checks()["problem"]


def test_the_provider_fails_while_somebody_waits(mode: CheckMode) -> None:
    """A poll that fails is repeated: the person who approves meanwhile gets in."""
    with mode.scene.waiting_login() as login:
        page = login.page()
        mode.provider.disturb("token", status=503, body="out of order", times=2)
        mode.pass_check(login)
        assert login.page() == page


def test_the_provider_forgets_what_it_began(mode: CheckMode) -> None:
    """It is started anew while a login waits: the person is sent to another page, which lets them in."""
    with mode.scene.waiting_login() as login:
        page = login.page()
        mode.provider.stop()
        mode.provider.start()
        fresh = wait_until(lambda: _other_page(login, page), 60, "another page")
        mode.approve(fresh)
        mode.let_in(login)


# Many at a time


def test_only_so_many_wait(mode: CheckMode) -> None:
    """A person's third is told the page and refused at once; nobody at the LAN waits for any of them."""
    scene = mode.scene
    mode.reconfigure(mode.configuration(check={"waiting": 3}))  # the last one is for somebody else
    scene.host.restart_sshd(MaxStartups="10:30:100")
    try:
        with scene.waiting_login(name="one") as one, scene.waiting_login("root", name="two", hold=True) as two:
            page = one.page()
            assert two.page() == page
            wait_until(lambda: waiters(mode) == 2, 10, "both wait")
            third = scene.login("alice", password="anything")
            refused(third)
            assert page in third.stderr
            assert LATER in third.stderr
            let_in(scene.lan_login("alice", key=scene.client.make_key("alice")))
            let_in(scene.login("bob", scene.nodes.ci))
            mode.approve(page)
            mode.let_in(one)
            two.press_enter()
            mode.let_in(two)
    finally:
        scene.host.restart_sshd()


def test_two_windows_wait_for_one_approval(mode: CheckMode) -> None:
    """Both are sent to the same page, one approval lets both in, and there was one check."""
    before = mode.begun()
    with mode.scene.waiting_login(name="one") as one, mode.scene.waiting_login("root", name="two") as two:
        page = one.page()
        assert two.page() == page
        mode.approve(page)
        mode.let_in(one)
        mode.let_in(two)
    assert mode.begun() == before + 1


@pytest.fixture
def always(mode: CheckMode) -> CheckMode:
    """Every login asks anew, at a provider that asks for the password as it is told."""
    mode.reconfigure(mode.configuration(check={"period": "always"}))
    mode.provider.reauthentication("full")
    return mode


def test_always_asks_at_each_login(always: CheckMode) -> None:
    """The second login is sent to another page, and the person types their password again."""
    pages = []
    for number in range(2):
        with always.scene.waiting_login() as login:
            pages.append(login.page())
            assert always.visit(pages[-1]).asked_for_password
            always.let_in(login)
        assert valid(always) == []
        assert always.scene.reason(lambda: refused(always.scene.login("alice"))) == "check_needed", number
    assert pages[0] != pages[1]


def test_always_is_one_approval_for_one_window(always: CheckMode) -> None:
    """Two wait at the same page: one goes on, the other is sent to another page."""
    windows = [always.scene.waiting_login(name="one"), always.scene.waiting_login(name="two")]
    with windows[0], windows[1]:
        page = windows[0].page()
        assert windows[1].page() == page
        always.approve(page)
        done = wait_until(lambda: [one for one in windows if one.process.poll() is not None], 30, "one goes on")
        assert len(done) == 1
        always.let_in(done[0])
        other = windows[1 - windows.index(done[0])]
        fresh = wait_until(lambda: _other_page(other, page), 40, "the other is asked anew")
        assert other.process.poll() is None
        always.approve(fresh)
        always.let_in(other)


# What administrators see and do


def test_it_is_told_who_has_passed_and_what_is_pending(mode: CheckMode) -> None:
    """`check`, `explain` and `status`, before and after: whose, until when, by whom; in words and as JSON."""
    host, source = mode.scene.host, mode.scene.nodes.alice.addresses[0]
    told = host.cli("explain", "alice", "--from", source, check=False)
    assert (told.returncode, "oidc" in told.stdout) == (4, True)
    with mode.scene.waiting_login() as login:
        login.page()
        pending = json.loads(host.cli("check", "--json").stdout)["pending"]
        assert [(one["person"], one["node"], one["waiting"]) for one in pending] == [(ALICE, NODE, 1)]
        assert ALICE in host.cli("check").stdout
        mode.pass_check(login)
    document = json.loads(host.cli("check", "--json").stdout)
    assert (document["by"], document["period"], document["problem"], document["pending"]) == ("oidc", "12 h", "", [])
    assert [one["person"] for one in document["valid"]] == [ALICE]
    assert document["valid"][0]["until"] in host.cli("check").stdout
    told = host.cli("explain", "alice", "--from", source)
    assert document["valid"][0]["until"] in told.stdout
    assert "oidc" in told.stdout
    assert mode.scene.status()["warnings"] == []


def test_who_may_ask_and_forget(mode: CheckMode) -> None:
    """Root and the admin group; nobody else hears whose checks there are, or voids them."""
    host = mode.scene.host
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    for argv in (["check"], ["check", "--forget", ALICE], ["explain", "alice", "--from", "100.64.0.2"]):
        done = host.cli(*argv, user="bob", check=False)
        assert done.returncode not in {0, 1, 4}
        assert ALICE not in done.stdout
    assert valid(mode) == [ALICE]
    host.box.run(["usermod", "-aG", "pam-tailscale-admin", "bob"])
    try:
        assert ALICE in host.cli("check", user="bob").stdout
        assert "forgotten on this host" in host.cli("check", "--forget", ALICE, user="bob", check=False).stdout
    finally:
        host.box.run(["gpasswd", "-d", "bob", "pam-tailscale-admin"])
    assert valid(mode) == []


def test_whoever_is_forgotten_is_asked_anew(mode: CheckMode) -> None:
    """Also where their login waits already; what cannot be reached is said, and a new check counts again."""
    mode.provider.reauthentication("full")
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    with mode.scene.waiting_login("bob", mode.scene.nodes.bob) as bob:
        bob.page()
        for person in (ALICE, "bob@example.com"):
            done = mode.scene.host.cli("check", "--forget", person, check=False)
            assert (done.returncode, "other hosts" in done.stdout) == (1, True), done
        assert reason_of(mode, bob) == "check_rejected"
    assert mode.scene.reason(lambda: refused(mode.scene.login("alice"))) == "check_needed"
    with mode.scene.waiting_login() as login:
        assert mode.visit(login.page()).asked_for_password
        mode.let_in(login)
    let_in(mode.scene.login("alice"))


def test_what_was_passed_outlives_a_restart(mode: CheckMode) -> None:
    """The agent is started anew, as after a reboot, while the provider is away."""
    with mode.scene.waiting_login() as login:
        mode.pass_check(login)
    with down(mode):
        mode.reconfigure()
        let_in(mode.scene.login("alice"))


def test_a_rule_that_accepts_asks_nobody(mode: CheckMode) -> None:
    """With oidc configured, a rule without a check is as ever."""
    nodes = mode.scene.nodes
    before = mode.begun()
    try:
        mode.scene.set_rules(nodes_rule([nodes.alice], {"alice": "="}))
        let_in(mode.scene.login("alice"))
    finally:
        mode.scene.set_rules(*mode.rules())
    assert mode.begun() == before
