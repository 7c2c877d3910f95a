"""Each promise of test_never_checks.py can fail: with its defence taken away, the same attack succeeds."""

from collections.abc import Iterator

import pytest

from pam_tailscale.paths import STATE_DIR
from tests.integration import check_attacks as attacks
from tests.integration.check_attacks import ALWAYS, HALF_DAY, Quick, quick_checks, without
from tests.support.scene import Scene

PASSES_FOR_ALL = [
    "passes.PassTable.forget = lambda *_: None",
    "passes.PassTable.holds = lambda self, demand, now: bool(self._passes)",
]
ONE_FOR_ALL = """
def conclude(self, pending, verdict, now):
    effects = self._close(pending)
    for one in pending.waiters:
        one.decided = now
    return effects + self._tell(pending.waiters, verdict)
desk.Desk._conclude = conclude
"""
SEEN = "secret.Secret.__repr__ = secret.Secret.reveal"


@pytest.fixture(scope="module")
def running(scene: Scene) -> Iterator[Quick]:
    """A provider that approves at a word."""
    with quick_checks(scene) as quick:
        yield quick


@pytest.fixture
def quick(running: Quick) -> Iterator[Quick]:
    """Nobody has passed a check; the agent is itself again afterwards."""
    running.begin()
    yield running
    running.begin()


def test_6_without_the_look_at_the_person_anybody_approves(quick: Quick) -> None:
    """A token of the provider, signed and fresh, about somebody else."""
    quick.reconfigure(wrapper=without("idtoken.about = lambda *_: None"))
    assert attacks.approved_by_another_gets_in(quick)


def test_6_without_the_look_at_the_time_an_old_check_opens(quick: Quick) -> None:
    """The token is kept for a week, since another rule may have such a period."""
    assert not attacks.authenticated_long_ago_gets_in(quick)
    quick.reconfigure(HALF_DAY, wrapper=without("idtoken.recent = lambda claims, **_: claims.auth_time"))
    assert quick.scene.login("alice").returncode == 0


def test_6_where_always_is_remembered_it_opens_twice(quick: Quick) -> None:
    """The evidence is good, and the period would be long enough if there were one."""
    quick.reconfigure(ALWAYS, wrapper=without("oidc.OidcProvider._period_of = lambda *_: 3600.0"))
    assert attacks.second_login_gets_in(quick)


def test_6_where_one_answer_is_for_all_windows_it_opens_two(quick: Quick) -> None:
    """Both wait for the same check."""
    quick.reconfigure(ALWAYS, wrapper=without(ONE_FOR_ALL))
    assert attacks.second_window_gets_in(quick)


def test_6_without_the_account_phase_a_key_opens(quick: Quick) -> None:
    """The key was taken by sshd; only PAM's account phase stands before the session."""
    quick.reconfigure(ALWAYS, wrapper=without("passes.PassTable.holds = lambda *_: True"))
    assert attacks.key_without_a_check_gets_in(quick)


def test_6_where_a_pass_is_for_all_connections_another_one_uses_it(quick: Quick) -> None:
    """The one that passed it has long gone on."""
    quick.reconfigure(ALWAYS, wrapper=without(*PASSES_FOR_ALL))
    assert not attacks.key_without_a_check_gets_in(quick)
    assert attacks.pass_of_another_connection_gets_in(quick)


LOGGING = """
redeem = device.DeviceClient.redeem
def logging_redeem(self, code):
    device.log.info('polling with %r', code)
    return redeem(self, code)
import logging
device.log = logging.getLogger('device')
device.DeviceClient.redeem = logging_redeem
"""
RAISING = """
def raising(*args, **_):
    raise RuntimeError(f'cannot take {args!r}')
oidc.OidcProvider._take = raising
"""
QUOTING = """
def quoting(self, response, url):
    if response.status_code == 500:
        raise https.CheckError(response.raw.read().decode())
https.Https._check_head = quoting
"""
DESCRIBING = """
refusal = device._raise_refusal
device._raise_refusal = lambda answer, **_: refusal(answer, described=True)
"""
MACHINE_KEY = """
def logging_fetch(*args):
    key = fetch(*args)
    app.log.info('the reader answers %r', key)
    return key
app.fetch_machine_key = logging_fetch
"""
STARTING = """
redeem = device.DeviceClient.redeem
def starting_redeem(self, code):
    import subprocess
    global started
    started = subprocess.Popen(['sh', '-c', 'sleep 20; :', code.reveal()])
    return redeem(self, code)
device.DeviceClient.redeem = starting_redeem
"""


def test_10_a_secret_that_shows_itself_gets_into_the_log(quick: Quick) -> None:
    """A line that logs what the provider is asked with."""
    found = attacks.whole_check_by_oidc(quick, wrapper=without(SEEN, LOGGING))
    assert "device code" in found.found_in(found.logs)


def test_10_an_answer_that_is_quoted_gets_into_the_log(quick: Quick) -> None:
    """The provider sends back what it was asked, and the error is made of it."""
    found = attacks.whole_check_by_oidc(quick, wrapper=without(QUOTING))
    assert "device code" in found.found_in(found.logs)


def test_10_a_refusal_in_the_providers_own_words_gets_into_the_status(quick: Quick) -> None:
    """It repeats the question, in which the code was."""
    found = attacks.whole_check_by_oidc(quick, wrapper=without(DESCRIBING))
    assert "device code" in found.found_in(found.documents)


def test_10_a_secret_that_shows_itself_gets_into_a_traceback(quick: Quick) -> None:
    """The exception is made of what was being worked on."""
    found = attacks.whole_check_by_oidc(quick, wrapper=without(SEEN, RAISING), passes=False)
    assert {"device code", "ID token"} <= found.found_in(found.logs)


def test_10_an_argument_is_seen(quick: Quick) -> None:
    """A program that is started for a question, with the code among its arguments."""
    found = attacks.whole_check_by_oidc(quick, wrapper=without(STARTING))
    assert "device code" in found.found_in(found.processes)


def test_10_a_store_that_everybody_may_read_shows_the_tokens(quick: Quick) -> None:
    """Its directory and its files are the agent's alone: each of the two is a defence."""
    found, box = attacks.whole_check_by_oidc(quick), quick.scene.host.box
    for path, mode in ((STATE_DIR, "0755"), (f"{STATE_DIR}/checks.db", "0644"), (f"{STATE_DIR}/checks.db-wal", "0644")):
        assert "ID token" not in found.found_in(attacks.open_files(quick.scene.host))
        box.run(["chmod", "-f", mode, str(path)], check=False)
    assert "ID token" in found.found_in(attacks.open_files(quick.scene.host))


def test_10_a_machine_key_that_shows_itself_gets_into_the_log(quick: Quick) -> None:
    """A line about what the reader has answered."""
    logging = "fetch = app.fetch_machine_key\n" + MACHINE_KEY
    found = attacks.whole_check_by_control(quick, wrapper=without(SEEN, logging))
    assert "machine key" in found.found_in(found.logs)
