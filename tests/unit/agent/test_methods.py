"""One connection is granted by one method, for as long as it can still be authenticated."""

import dataclasses

from pam_tailscale.agent.methods import ENTRIES_MAX, KEEP, MethodTable
from pam_tailscale.model import Connection, Method
from tests.support.facts import CONNECTION


def other(number: int) -> Connection:
    """Another connection of the same peer."""
    return dataclasses.replace(CONNECTION, client_port=number)


def test_the_same_method_again_is_fine() -> None:
    """PAM asks more than once."""
    table = MethodTable()
    assert table.claim(CONNECTION, Method.NONE, 0.0)
    assert table.claim(CONNECTION, Method.NONE, 1.0)


def test_a_second_method_is_refused() -> None:
    """In both orders, and the first one keeps the connection."""
    for first, second in ((Method.NONE, Method.PUBLICKEY), (Method.PUBLICKEY, Method.KEYBOARD)):
        table = MethodTable()
        assert table.claim(CONNECTION, first, 0.0)
        assert not table.claim(CONNECTION, second, 1.0)
        assert table.claim(CONNECTION, first, 2.0)


def test_another_connection_is_another() -> None:
    """By any of its four parts."""
    table = MethodTable()
    assert table.claim(CONNECTION, Method.NONE, 0.0)
    for change in (
        {"client_port": 1},
        {"server_port": 2222},
        {"client": CONNECTION.server},
        {"server": CONNECTION.client},
    ):
        assert table.claim(dataclasses.replace(CONNECTION, **change), Method.PUBLICKEY, 0.0)


def test_a_session_ends_the_claim() -> None:
    """Authentication is over."""
    table = MethodTable()
    assert table.claim(CONNECTION, Method.NONE, 0.0)
    table.done(CONNECTION)
    table.done(CONNECTION)
    assert table.claim(CONNECTION, Method.PUBLICKEY, 0.0)


def test_a_claim_outlives_the_login_grace_time() -> None:
    """Sshd's 120 s, also when it is claimed again meanwhile: the time counts from the first grant."""
    table = MethodTable()
    assert table.claim(CONNECTION, Method.NONE, 0.0)
    assert not table.claim(CONNECTION, Method.PUBLICKEY, 121.0)
    assert not table.claim(CONNECTION, Method.PUBLICKEY, KEEP)
    assert table.claim(CONNECTION, Method.PUBLICKEY, KEEP + 0.001)


def test_a_full_table_refuses_and_empties_with_time() -> None:
    """What cannot be remembered is not granted."""
    table = MethodTable()
    assert all(table.claim(other(number), Method.NONE, 0.0) for number in range(ENTRIES_MAX))
    assert not table.claim(CONNECTION, Method.NONE, 1.0)
    assert table.claim(other(7), Method.NONE, 1.0)
    assert table.claim(CONNECTION, Method.NONE, KEEP + 1.0)
