"""The few things that facts say of themselves."""

import pytest

from tests.support.host_facts import healthy, sockets, with_session, with_sshd


def test_ports_are_told_once_and_in_order() -> None:
    """However many addresses they are on."""
    listening = (*sockets("::", port=2222), *sockets("0.0.0.0", "::"))
    assert with_sshd(healthy(), sockets=listening).sshd.ports == (22, 2222)


@pytest.mark.parametrize(("client", "over"), [("100.64.0.2", True), ("192.0.2.2", False)])
def test_a_session_over_the_tailnet_has_both_ends_there(client: str, over: bool) -> None:  # noqa: FBT001
    """As the Match block asks."""
    session = with_session(healthy(), client=client).own_session
    assert session is not None
    assert session.over_tailnet is over
