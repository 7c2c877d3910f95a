"""One connection is granted by one method, for as long as it can still be authenticated."""

import dataclasses
from ipaddress import IPv4Address

import pytest

from pam_tailscale.agent.methods import CLIENT_MAX, ENTRIES_MAX, KEEP, KEYS_MAX, MethodTable
from pam_tailscale.model import NOTHING_WITHHELD, Method, Phase, Request, Withheld
from tests.support.facts import CONNECTION, REQUEST


def auth(method: Method, **connection: object) -> Request:
    """A request for a method, from alice's connection or one that differs from it."""
    changed = dataclasses.replace(CONNECTION, **connection)  # type: ignore[arg-type]  # names and values of its fields
    return dataclasses.replace(REQUEST, method=method, phase=Phase.AUTH, connection=changed)


def account(*earlier: str) -> Request:
    """The request at the end of authentication; `earlier` as sshd counted them."""
    return dataclasses.replace(REQUEST, method=Method.UNKNOWN, phase=Phase.ACCOUNT, earlier=earlier)


def admits(table: MethodTable, request: Request, now: float) -> bool:
    """A login that nothing is withheld from."""
    assert table.limits(request, NOTHING_WITHHELD, now) or request.phase is Phase.AUTH
    return table.admits(request, NOTHING_WITHHELD, now)


SESSION = dataclasses.replace(REQUEST, method=Method.UNKNOWN, phase=Phase.SESSION)


def test_sshd_asks_the_helper_twice_for_one_key() -> None:
    """Once before and once with the signature."""
    table = MethodTable()
    assert admits(table, auth(Method.PUBLICKEY), 0.0)
    assert admits(table, auth(Method.PUBLICKEY), 1.0)


@pytest.mark.parametrize("first", [Method.NONE, Method.KEYBOARD])
@pytest.mark.parametrize("second", [Method.NONE, Method.KEYBOARD, Method.PUBLICKEY])
def test_pam_is_granted_once(first: Method, second: Method) -> None:
    """Not even by the same method again: `password` after `none` looks like it."""
    table = MethodTable()
    assert admits(table, auth(first), 0.0)
    assert not admits(table, auth(second), 1.0)


@pytest.mark.parametrize("second", [Method.NONE, Method.KEYBOARD])
def test_pam_is_not_granted_after_a_key(second: Method) -> None:
    """And the key keeps the connection."""
    table = MethodTable()
    assert admits(table, auth(Method.PUBLICKEY), 0.0)
    assert not admits(table, auth(second), 1.0)
    assert admits(table, auth(Method.PUBLICKEY), 2.0)


def test_another_connection_is_another() -> None:
    """By any of its four parts."""
    table = MethodTable()
    assert admits(table, auth(Method.NONE), 0.0)
    for change in (
        {"client_port": 1},
        {"server_port": 2222},
        {"client": CONNECTION.server},
        {"server": CONNECTION.client},
    ):
        assert admits(table, auth(Method.PUBLICKEY, **change), 0.0)


@pytest.mark.parametrize("method", [Method.NONE, Method.KEYBOARD, Method.PUBLICKEY])
def test_one_method_alone_is_enough(method: Method) -> None:
    """The ordinary login; also where the agent was restarted meanwhile and remembers nothing."""
    table = MethodTable()
    assert admits(table, account(), 0.0)
    assert admits(table, auth(method), 0.0)
    assert admits(table, account(), 1.0)


@pytest.mark.parametrize("earlier", ["publickey", "none", "password", "keyboard-interactive", "hostbased", "unknown"])
def test_a_key_that_anybody_could_make_is_never_one_of_several(earlier: str) -> None:
    """Two such keys would be one identity twice, and the helper cannot tell them apart."""
    table = MethodTable()
    assert admits(table, auth(Method.PUBLICKEY), 0.0)
    assert not admits(table, account(earlier), 1.0)


def test_the_policy_may_stand_beside_a_key_that_sshd_checked() -> None:
    """`none,publickey` and `publickey,keyboard-interactive` with the account's own keys and no helper."""
    table = MethodTable()
    assert admits(table, auth(Method.NONE), 0.0)
    assert admits(table, account("none"), 1.0)
    assert admits(table, account("publickey"), 1.0)
    assert admits(table, account("publickey", "none"), 1.0)


def test_two_earlier_methods_that_pam_answers_are_refused() -> None:
    """Even where the claims of one of them were forgotten."""
    table = MethodTable()
    assert admits(table, auth(Method.NONE), 0.0)
    assert not admits(table, account("none", "keyboard-interactive"), 1.0)
    assert not admits(table, account("password", "password"), 1.0)


def test_several_methods_of_which_nothing_is_remembered_are_refused() -> None:
    """As after a restart of the agent in the middle of a login."""
    assert not admits(MethodTable(), account("none"), 0.0)


def test_a_session_ends_the_claim() -> None:
    """Authentication is over."""
    table = MethodTable()
    assert admits(table, auth(Method.NONE), 0.0)
    assert admits(table, SESSION, 1.0)
    assert admits(table, SESSION, 1.0)
    assert admits(table, auth(Method.PUBLICKEY), 2.0)


def test_a_claim_outlives_the_login_grace_time() -> None:
    """Sshd's 120 s, also when it is claimed again meanwhile: the time counts from the first grant."""
    table = MethodTable()
    assert admits(table, auth(Method.NONE), 0.0)
    assert not admits(table, auth(Method.PUBLICKEY), 121.0)
    assert not admits(table, auth(Method.PUBLICKEY), KEEP)
    assert admits(table, auth(Method.PUBLICKEY), KEEP + 0.001)


def test_a_full_table_refuses_and_empties_with_time() -> None:
    """What cannot be remembered is not granted."""
    table = MethodTable()
    clients = [IPv4Address("100.100.0.0") + number for number in range(ENTRIES_MAX // CLIENT_MAX)]
    asked = [auth(Method.PUBLICKEY, client=one, client_port=port) for one in clients for port in range(CLIENT_MAX)]
    assert len(asked) == ENTRIES_MAX
    assert all(admits(table, one, 0.0) for one in asked)
    assert not admits(table, auth(Method.PUBLICKEY), 1.0)
    assert admits(table, asked[7], 1.0)
    assert admits(table, auth(Method.PUBLICKEY), KEEP + 1.0)


def test_a_device_that_asks_and_hangs_up_keeps_only_itself_out() -> None:
    """Until its old connections are forgotten or those that go on are logged in."""
    table = MethodTable()
    assert all(admits(table, auth(Method.PUBLICKEY, client_port=port), 0.0) for port in range(CLIENT_MAX))
    assert not admits(table, auth(Method.PUBLICKEY), 1.0)
    assert admits(table, auth(Method.PUBLICKEY, client=IPv4Address("100.100.0.1")), 1.0)
    assert admits(table, dataclasses.replace(SESSION, connection=auth(Method.NONE, client_port=7).connection), 1.0)
    assert admits(table, auth(Method.PUBLICKEY), 1.0)
    assert not admits(table, auth(Method.PUBLICKEY, client_port=CLIENT_MAX), 1.0)
    assert admits(table, auth(Method.PUBLICKEY, client_port=CLIENT_MAX), KEEP + 0.001)


LIMITED = Withheld(pty=True)
KEY = dataclasses.replace(auth(Method.PUBLICKEY), key="AAAAC3")
OTHER_KEY = dataclasses.replace(KEY, key="AAAAB3")
BY_KEY = dataclasses.replace(SESSION, key=KEY.key)
"""The session of a connection that sshd let in by that key."""


def granted(withheld: Withheld) -> MethodTable:
    """A table that has granted the usual connection a key within these limits."""
    table = MethodTable()
    assert table.limits(KEY, withheld, 0.0)
    assert table.admits(KEY, withheld, 0.0)
    return table


@pytest.mark.parametrize("method", [Method.NONE, Method.KEYBOARD, Method.UNKNOWN])
def test_nothing_but_a_key_carries_limits(method: Method) -> None:
    """Also here, whatever was said before."""
    assert not MethodTable().limits(auth(method), LIMITED, 0.0)
    assert MethodTable().limits(auth(method), NOTHING_WITHHELD, 0.0)


def test_a_key_that_could_not_be_known_again_carries_no_limits() -> None:
    """The helper tells none that is too long."""
    unknown = dataclasses.replace(KEY, key="")
    assert not MethodTable().limits(unknown, LIMITED, 0.0)
    assert MethodTable().limits(unknown, NOTHING_WITHHELD, 0.0)


def test_the_session_is_of_a_key_that_was_granted() -> None:
    """And not of one that sshd has taken from elsewhere, nor of no key."""
    table = granted(LIMITED)
    for key, limited in ((KEY.key, True), (OTHER_KEY.key, False), ("", False)):
        assert table.limits(dataclasses.replace(SESSION, key=key), LIMITED, 1.0) is limited
    assert table.limits(OTHER_KEY, LIMITED, 1.0)
    assert table.admits(OTHER_KEY, LIMITED, 1.0)
    for key in (KEY.key, OTHER_KEY.key):
        assert table.limits(dataclasses.replace(SESSION, key=key), LIMITED, 1.0)


def test_limits_are_one_accounts() -> None:
    """Where a port is used again, the connection before it may have been another's."""
    table = granted(LIMITED)
    for later in (account(), BY_KEY, KEY):
        assert table.limits(later, LIMITED, 1.0)
        assert not table.limits(dataclasses.replace(later, user="bob"), LIMITED, 1.0)


def test_a_connection_has_so_many_keys() -> None:
    """One more is refused; those before it go on."""
    table = granted(LIMITED)
    for number in range(KEYS_MAX - 1):
        more = dataclasses.replace(KEY, key=str(number))
        assert table.limits(more, LIMITED, 1.0)
        assert table.admits(more, LIMITED, 1.0)
    assert not table.limits(OTHER_KEY, LIMITED, 1.0)
    assert table.limits(KEY, LIMITED, 1.0)


@pytest.mark.parametrize("later", [account(), BY_KEY], ids=["account", "session"])
def test_account_and_session_need_the_very_limits_that_were_granted(later: Request) -> None:
    """A connection that came in by something else, within other limits, or before they were there is refused."""
    assert granted(LIMITED).limits(later, LIMITED, 1.0)
    assert granted(LIMITED).limits(later, NOTHING_WITHHELD, 1.0)
    assert not MethodTable().limits(later, LIMITED, 1.0)
    assert not granted(NOTHING_WITHHELD).limits(later, LIMITED, 1.0)
    assert not granted(LIMITED).limits(later, Withheld(pty=True, agent_forwarding=True), 1.0)
    by_none = MethodTable()
    assert admits(by_none, auth(Method.NONE), 0.0)
    assert not by_none.limits(later, LIMITED, 1.0)
    elsewhere = dataclasses.replace(later, connection=auth(Method.NONE, client_port=1).connection)
    assert not granted(LIMITED).limits(elsewhere, LIMITED, 1.0)


def test_two_keys_of_one_connection_have_the_same_limits() -> None:
    """Which of them sshd has taken is not known: where the policy changed in between, the person logs in anew."""
    assert granted(LIMITED).limits(KEY, LIMITED, 1.0)
    assert not granted(LIMITED).limits(KEY, Withheld(command="id"), 1.0)
    assert not granted(LIMITED).limits(KEY, NOTHING_WITHHELD, 1.0)
    assert not granted(NOTHING_WITHHELD).limits(KEY, LIMITED, 1.0)
    assert granted(LIMITED).limits(KEY, NOTHING_WITHHELD, KEEP + 1.0)


def test_limits_are_remembered_as_long_as_the_grant() -> None:
    """Until the session, or as long as a login may take."""
    table = granted(LIMITED)
    assert table.limits(account(), LIMITED, KEEP)
    assert not table.limits(account(), LIMITED, KEEP + 0.001)
    assert table.admits(BY_KEY, LIMITED, 1.0)
    assert not table.limits(BY_KEY, LIMITED, 1.0)
