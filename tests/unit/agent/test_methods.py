"""One connection is granted by one method, for as long as it can still be authenticated."""

import dataclasses
from ipaddress import IPv4Address

import pytest

from pam_tailscale.agent.methods import CLIENT_MAX, ENTRIES_MAX, KEEP, MethodTable
from pam_tailscale.model import Method, Phase, Request
from tests.support.facts import CONNECTION, REQUEST


def auth(method: Method, **connection: object) -> Request:
    """A request for a method, from alice's connection or one that differs from it."""
    changed = dataclasses.replace(CONNECTION, **connection)  # type: ignore[arg-type]  # names and values of its fields
    return dataclasses.replace(REQUEST, method=method, phase=Phase.AUTH, connection=changed)


def account(*earlier: str) -> Request:
    """The request at the end of authentication; `earlier` as sshd counted them."""
    return dataclasses.replace(REQUEST, method=Method.UNKNOWN, phase=Phase.ACCOUNT, earlier=earlier)


SESSION = dataclasses.replace(REQUEST, method=Method.UNKNOWN, phase=Phase.SESSION)


def test_sshd_asks_the_helper_twice_for_one_key() -> None:
    """Once before and once with the signature."""
    table = MethodTable()
    assert table.admits(auth(Method.PUBLICKEY), 0.0)
    assert table.admits(auth(Method.PUBLICKEY), 1.0)


@pytest.mark.parametrize("first", [Method.NONE, Method.KEYBOARD])
@pytest.mark.parametrize("second", [Method.NONE, Method.KEYBOARD, Method.PUBLICKEY])
def test_pam_is_granted_once(first: Method, second: Method) -> None:
    """Not even by the same method again: `password` after `none` looks like it."""
    table = MethodTable()
    assert table.admits(auth(first), 0.0)
    assert not table.admits(auth(second), 1.0)


@pytest.mark.parametrize("second", [Method.NONE, Method.KEYBOARD])
def test_pam_is_not_granted_after_a_key(second: Method) -> None:
    """And the key keeps the connection."""
    table = MethodTable()
    assert table.admits(auth(Method.PUBLICKEY), 0.0)
    assert not table.admits(auth(second), 1.0)
    assert table.admits(auth(Method.PUBLICKEY), 2.0)


def test_another_connection_is_another() -> None:
    """By any of its four parts."""
    table = MethodTable()
    assert table.admits(auth(Method.NONE), 0.0)
    for change in (
        {"client_port": 1},
        {"server_port": 2222},
        {"client": CONNECTION.server},
        {"server": CONNECTION.client},
    ):
        assert table.admits(auth(Method.PUBLICKEY, **change), 0.0)


@pytest.mark.parametrize("method", [Method.NONE, Method.KEYBOARD, Method.PUBLICKEY])
def test_one_method_alone_is_enough(method: Method) -> None:
    """The ordinary login; also where the agent was restarted meanwhile and remembers nothing."""
    table = MethodTable()
    assert table.admits(account(), 0.0)
    assert table.admits(auth(method), 0.0)
    assert table.admits(account(), 1.0)


@pytest.mark.parametrize("earlier", ["publickey", "none", "password", "keyboard-interactive", "hostbased", "unknown"])
def test_a_key_that_anybody_could_make_is_never_one_of_several(earlier: str) -> None:
    """Two such keys would be one identity twice, and the helper cannot tell them apart."""
    table = MethodTable()
    assert table.admits(auth(Method.PUBLICKEY), 0.0)
    assert not table.admits(account(earlier), 1.0)


def test_the_policy_may_stand_beside_a_key_that_sshd_checked() -> None:
    """`none,publickey` and `publickey,keyboard-interactive` with the account's own keys and no helper."""
    table = MethodTable()
    assert table.admits(auth(Method.NONE), 0.0)
    assert table.admits(account("none"), 1.0)
    assert table.admits(account("publickey"), 1.0)
    assert table.admits(account("publickey", "none"), 1.0)


def test_two_earlier_methods_that_pam_answers_are_refused() -> None:
    """Even where the claims of one of them were forgotten."""
    table = MethodTable()
    assert table.admits(auth(Method.NONE), 0.0)
    assert not table.admits(account("none", "keyboard-interactive"), 1.0)
    assert not table.admits(account("password", "password"), 1.0)


def test_several_methods_of_which_nothing_is_remembered_are_refused() -> None:
    """As after a restart of the agent in the middle of a login."""
    assert not MethodTable().admits(account("none"), 0.0)


def test_a_session_ends_the_claim() -> None:
    """Authentication is over."""
    table = MethodTable()
    assert table.admits(auth(Method.NONE), 0.0)
    assert table.admits(SESSION, 1.0)
    assert table.admits(SESSION, 1.0)
    assert table.admits(auth(Method.PUBLICKEY), 2.0)


def test_a_claim_outlives_the_login_grace_time() -> None:
    """Sshd's 120 s, also when it is claimed again meanwhile: the time counts from the first grant."""
    table = MethodTable()
    assert table.admits(auth(Method.NONE), 0.0)
    assert not table.admits(auth(Method.PUBLICKEY), 121.0)
    assert not table.admits(auth(Method.PUBLICKEY), KEEP)
    assert table.admits(auth(Method.PUBLICKEY), KEEP + 0.001)


def test_a_full_table_refuses_and_empties_with_time() -> None:
    """What cannot be remembered is not granted."""
    table = MethodTable()
    clients = [IPv4Address("100.100.0.0") + number for number in range(ENTRIES_MAX // CLIENT_MAX)]
    asked = [auth(Method.PUBLICKEY, client=one, client_port=port) for one in clients for port in range(CLIENT_MAX)]
    assert len(asked) == ENTRIES_MAX
    assert all(table.admits(one, 0.0) for one in asked)
    assert not table.admits(auth(Method.PUBLICKEY), 1.0)
    assert table.admits(asked[7], 1.0)
    assert table.admits(auth(Method.PUBLICKEY), KEEP + 1.0)


def test_a_device_that_asks_and_hangs_up_keeps_only_itself_out() -> None:
    """Until its old connections are forgotten or those that go on are logged in."""
    table = MethodTable()
    assert all(table.admits(auth(Method.PUBLICKEY, client_port=port), 0.0) for port in range(CLIENT_MAX))
    assert not table.admits(auth(Method.PUBLICKEY), 1.0)
    assert table.admits(auth(Method.PUBLICKEY, client=IPv4Address("100.100.0.1")), 1.0)
    assert table.admits(dataclasses.replace(SESSION, connection=auth(Method.NONE, client_port=7).connection), 1.0)
    assert table.admits(auth(Method.PUBLICKEY), 1.0)
    assert not table.admits(auth(Method.PUBLICKEY, client_port=CLIENT_MAX), 1.0)
    assert table.admits(auth(Method.PUBLICKEY, client_port=CLIENT_MAX), KEEP + 0.001)
