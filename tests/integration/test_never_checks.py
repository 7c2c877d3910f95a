"""What must never happen in check mode: points 6 and 10. test_defences_checks.py shows that each of them could."""

from collections.abc import Iterator

import pytest

from pam_tailscale.paths import STATE_DIR
from tests.integration import check_attacks as attacks
from tests.integration.check_attacks import ALWAYS, Quick, Traces, quick_checks, without
from tests.integration.expect import let_in, refused
from tests.support.scene import Scene


@pytest.fixture(scope="module")
def running(scene: Scene) -> Iterator[Quick]:
    """A provider that approves at a word."""
    with quick_checks(scene) as quick:
        yield quick


@pytest.fixture
def quick(running: Quick) -> Quick:
    """Nobody has passed a check."""
    running.begin()
    return running


# 6: a check passed by one person opens a session for another, or after its period, or twice where it is `always`


def test_6_what_another_person_passes_opens_nothing(quick: Quick) -> None:
    """Approved by somebody else the login is refused; approved by alice it is not."""
    assert not attacks.approved_by_another_gets_in(quick)
    quick.passes()
    let_in(quick.scene.login("alice"))


def test_6_what_was_passed_before_the_period_opens_nothing(quick: Quick) -> None:
    """An authentication counts as long as its period, whatever counted when it was taken."""
    assert not attacks.authenticated_long_ago_gets_in(quick)
    quick.reconfigure(attacks.WEEK)
    let_in(quick.scene.login("alice"))


def test_6_always_opens_once(quick: Quick) -> None:
    """One approval is one login, one after the other and at the same time."""
    quick.reconfigure(ALWAYS)
    assert not attacks.second_login_gets_in(quick)
    assert not attacks.second_window_gets_in(quick)


def test_6_no_session_without_a_check_of_its_own(quick: Quick) -> None:
    """A key that sshd takes does not stand in for the check, nor does the check of another connection."""
    quick.reconfigure(ALWAYS)
    assert not attacks.key_without_a_check_gets_in(quick)
    assert not attacks.pass_of_another_connection_gets_in(quick)
    refused(quick.scene.login("alice"))


# 10: a private key, token or code appears in a log, an argument list, a traceback or a world-readable file


@pytest.fixture(scope="module")
def oidc(running: Quick) -> Traces:
    """What a whole check by oidc has left, with an error at every step."""
    running.begin()
    return attacks.whole_check_by_oidc(running)


@pytest.fixture(scope="module")
def raising(running: Quick) -> Traces:
    """The same, where the code about tokens raises what nobody expects, with all it has in its hands."""
    running.begin()
    patches = [
        "def raising(*args, **_): raise RuntimeError(f'cannot take {args!r}')",
        "oidc.OidcProvider._take = raising",
    ]
    return attacks.whole_check_by_oidc(running, wrapper=without(*patches), passes=False)


@pytest.fixture(scope="module")
def control(running: Quick) -> Traces:
    """What a whole check by the control plane has left."""
    return attacks.whole_check_by_control(running)


@pytest.fixture(params=["oidc", "control", "raising"])
def traces(request: pytest.FixtureRequest, running: Quick) -> Traces:
    """Each of them."""
    assert running.scene
    found: Traces = request.getfixturevalue(request.param)
    return found


def test_10_nothing_secret_is_in_a_log(traces: Traces) -> None:
    """Journal, syslog and the logs of sshd and the agent, with debug on."""
    assert "check" in traces.logs
    assert traces.found_in(traces.logs) == set()


def test_10_nothing_secret_is_in_an_argument_list_or_environment(traces: Traces) -> None:
    """Of any process, whatever its account, while the check is pending and after it."""
    assert "pam_tailscale.agent.app" in traces.processes or "app.main()" in traces.processes
    assert traces.found_in(traces.processes) == set()


def test_10_nothing_secret_is_in_a_traceback(raising: Traces) -> None:
    """What went wrong is logged with its traceback, and nothing of what was being worked on is."""
    assert "Traceback" in raising.logs
    assert "cannot take" in raising.logs
    assert raising.found_in(raising.logs) == set()


def test_10_nothing_secret_is_in_a_file_that_everybody_may_read(traces: Traces) -> None:
    """An ordinary user reads all they can of what the product writes."""
    assert traces.open_files
    assert traces.found_in(traces.open_files) == set()


def test_10_the_files_of_checks_are_the_agents_alone(running: Quick, oidc: Traces) -> None:
    """Each of them and their directory, whoever looks."""
    assert oidc.secrets
    listed = running.scene.host.box.run(["find", str(STATE_DIR), "-printf", "%y%m %u\n"]).stdout.split("\n")
    assert set(listed) - {""} == {"d700 pam-tailscale", "f600 pam-tailscale"}


def test_10_nothing_secret_is_in_what_is_told(traces: Traces) -> None:
    """`status`, `check` and `explain`, in words and as JSON, while there is trouble and after it."""
    assert traces.documents
    assert traces.found_in(traces.documents) == set()
