"""Whether the running sshd goes by the files as they are."""

import dataclasses
from typing import Any

import pytest

from pam_tailscale.host import effective
from pam_tailscale.host.doctor.check import State
from pam_tailscale.host.doctor.running import Offer, Running, judge
from pam_tailscale.host.effective import Effective

STOCK = (
    "pubkeyauthentication yes\npasswordauthentication yes\nkbdinteractiveauthentication no\nauthenticationmethods any\n"
)
WITH, WITHOUT = (
    effective.parse(STOCK.replace("kbdinteractiveauthentication no", f"kbdinteractiveauthentication {said}"))
    for said in ("yes", "no")
)
ALL, FEW = frozenset({"publickey", "password", "keyboard-interactive"}), frozenset({"publickey", "password"})
DROP_IN = "/etc/ssh/sshd_config.d/10-pam-tailscale.conf"
FRESH = Running(
    pid=400,
    by_systemd=False,
    offers=(Offer("100.64.0.1:22", ALL),),
    unasked="",
    read_at=200.0,
    changed=((DROP_IN, 100.0),),
)


def state(expected: Effective = WITH, without: Effective = WITHOUT, **changes: Any) -> tuple[State, str]:
    """How it is judged, and what was seen."""
    check = judge(dataclasses.replace(FRESH, **changes), expected, without)
    return check.state, check.what


def test_it_goes_by_the_drop_in() -> None:
    """What it offers at the node's own address is what the drop-in says."""
    assert state()[0] is State.OK


def test_it_does_not_know_the_drop_in() -> None:
    """It offers what it would without: that outweighs any time of a file."""
    found = state(offers=(Offer("100.64.0.1:22", FEW),))
    assert found[0] is State.PROBLEM
    assert "at 100.64.0.1:22 sshd offers password, publickey" in found[1]


def test_it_lets_anybody_in() -> None:
    """From the node's own address, and so from everywhere in the tailnet."""
    offers = (*FRESH.offers, Offer("100.64.0.1:22", frozenset(), let_in=True))
    assert state(offers=offers)[0] is state(WITH, WITH, offers=offers)[0] is State.PROBLEM
    assert "lets in without asking" in state(offers=offers)[1]


def test_one_address_is_enough() -> None:
    """Of several listeners the one that does not know it counts."""
    assert state(offers=(*FRESH.offers, Offer("100.64.0.1:2222", FEW)))[0] is State.PROBLEM


def test_other_settings_are_not_read_yet() -> None:
    """The drop-in is in force, which is what matters."""
    found = state(changed=((DROP_IN, 100.0), ("/etc/ssh/sshd_config", 201.0)))
    assert found == (State.WARNING, "/etc/ssh/sshd_config changed after sshd last read it")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"changed": ((DROP_IN, 100.0),)}, State.OK),
        ({"changed": ((DROP_IN, 201.0),)}, State.PROBLEM),
        ({"read_at": None}, State.UNKNOWN),
    ],
    ids=["read since", "changed since", "no PidFile"],
)
def test_where_the_methods_are_the_same(changes: dict[str, Any], expected: State) -> None:
    """Only the times are left, and without them it is not known."""
    assert state(WITH, WITH, **changes)[0] is expected


def test_nothing_runs() -> None:
    """Where systemd listens, the next sshd reads its files."""
    assert state(pid=None)[0] is State.WARNING
    assert state(pid=None, by_systemd=True)[0] is State.OK


def test_it_was_not_asked() -> None:
    """Which is said, with why."""
    assert state(offers=(), unasked="no answer") == (State.UNKNOWN, "sshd could not be asked: no answer")
    assert state(offers=())[0] is State.UNKNOWN
