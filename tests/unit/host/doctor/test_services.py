"""What the package runs."""

import dataclasses
import stat

import pytest

from pam_tailscale.host.doctor.check import Check, State
from pam_tailscale.host.doctor.places import Place
from pam_tailscale.host.doctor.services import (
    Unit,
    judge_group,
    judge_guard,
    judge_secrets,
    judge_sockets,
    judge_state,
    judge_units,
)
from pam_tailscale.host.unitnames import AGENT, AGENT_SOCKET, HALVES, READER_SOCKET, SSH

AGENT_UID = 999
FOLDER = Place("/run/pam-tailscale", stat.S_IFDIR | 0o755)
SOCKET = Place("/run/pam-tailscale/agent.sock", stat.S_IFSOCK | 0o666)
READER = Place("/run/pam-tailscale/reader.sock", stat.S_IFSOCK | 0o600, AGENT_UID)
GUARDED = {"NeedDaemonReload": "no", "ExecStartPre": "{ path=/usr/libexec/pam-tailscale/check-halves ; }"}
GUARDED |= {"ExecReload": GUARDED["ExecStartPre"]}
RUNS = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}
UNITS = [Unit(name, RUNS) for name in (AGENT, AGENT_SOCKET, READER_SOCKET, HALVES)]


def names(checks: list[Check]) -> list[str]:
    """Of those that are problems."""
    return [check.name for check in checks if check.state is State.PROBLEM]


def test_sockets_in_order() -> None:
    """As the units make them."""
    assert {check.state for check in judge_sockets(FOLDER, SOCKET, READER, AGENT_UID)} == {State.OK}


@pytest.mark.parametrize(
    ("folder", "agent", "reader", "name"),
    [
        (Place(FOLDER.path), SOCKET, READER, "run-directory"),
        (Place(FOLDER.path, stat.S_IFLNK | 0o777), SOCKET, READER, "run-directory"),
        (Place(FOLDER.path, stat.S_IFDIR | 0o775), SOCKET, READER, "run-directory"),
        (Place(FOLDER.path, stat.S_IFDIR | 0o755, 1000), SOCKET, READER, "run-directory"),
        (FOLDER, Place(SOCKET.path), READER, "agent-socket"),
        (FOLDER, Place(SOCKET.path, stat.S_IFREG | 0o666), READER, "agent-socket"),
        (FOLDER, Place(SOCKET.path, stat.S_IFSOCK | 0o660), READER, "agent-socket"),
        (FOLDER, Place(SOCKET.path, stat.S_IFSOCK | 0o666, 1000), READER, "agent-socket"),
        (FOLDER, SOCKET, Place(READER.path), "reader-socket"),
        (FOLDER, SOCKET, Place(READER.path, stat.S_IFSOCK | 0o660, AGENT_UID), "reader-socket"),
        (FOLDER, SOCKET, Place(READER.path, stat.S_IFSOCK | 0o600, 1000), "reader-socket"),
    ],
)
def test_sockets_out_of_order(folder: Place, agent: Place, reader: Place, name: str) -> None:
    """Missing, of another kind, or somebody else's."""
    checks = judge_sockets(folder, agent, reader, AGENT_UID)
    assert names(checks) == [name]
    assert all(check.mend for check in checks if check.state is not State.OK)


@pytest.mark.parametrize(
    ("place", "state"),
    [
        (Place("/s"), State.OK),
        (Place("/s", stat.S_IFDIR | 0o700, AGENT_UID), State.OK),
        (Place("/s", stat.S_IFDIR | 0o750, AGENT_UID), State.PROBLEM),
        (Place("/s", stat.S_IFDIR | 0o700, 1000), State.PROBLEM),
    ],
    ids=["not made yet", "the agent's", "group", "somebody else's"],
)
def test_state_directory(place: Place, state: State) -> None:
    """Nobody else may put evidence there."""
    assert judge_state(place, AGENT_UID).state is state


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ([], State.OK),
        ([Place("/s", stat.S_IFREG | 0o640)], State.OK),
        ([Place("/s", stat.S_IFREG | 0o400, AGENT_UID), Place("/t", stat.S_IFREG | 0o644)], State.PROBLEM),
        ([Place("/s")], State.PROBLEM),
    ],
    ids=["none", "root's and a group's", "others read", "missing"],
)
def test_secret_files(files: list[Place], state: State) -> None:
    """As the agent itself asks."""
    assert judge_secrets(files).state is state


def test_units_in_order() -> None:
    """One line for all."""
    assert [(check.name, check.state) for check in judge_units(UNITS, booted=True)] == [("units", State.OK)]


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({"LoadState": "not-found"}, "systemctl daemon-reload && systemctl enable --now "),
        ({"LoadState": "masked"}, "systemctl unmask "),
        ({"ActiveState": "failed"}, "systemctl enable --now "),
        ({"UnitFileState": "disabled"}, "systemctl enable "),
    ],
    ids=["missing", "masked", "failed", "not at boot"],
)
def test_units_out_of_order(at: int, changes: dict[str, str], mend: str) -> None:
    """Each of them is needed."""
    units = [*UNITS]
    units[at] = dataclasses.replace(units[at], values={**RUNS, **changes})
    (check,) = judge_units(units, booted=True)
    assert check.state is State.PROBLEM
    assert units[at].name in check.what
    assert check.mend.startswith(mend)


def test_units_that_systemd_does_not_name() -> None:
    """Are not there."""
    assert names(judge_units([], booted=True)) == ["units"] * 4


def test_without_systemd() -> None:
    """It is said that it cannot be seen."""
    assert [check.state for check in judge_units([], booted=False)] == [State.UNKNOWN]
    assert judge_guard(None, booted=False).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (GUARDED, State.OK),
        ({**GUARDED, "NeedDaemonReload": "yes"}, State.PROBLEM),
        ({**GUARDED, "ExecReload": "{ path=/bin/kill ; }"}, State.PROBLEM),
        ({**GUARDED, "ExecStartPre": ""}, State.PROBLEM),
    ],
    ids=["guarded", "not read yet", "reload", "start"],
)
def test_guard(values: dict[str, str], state: State) -> None:
    """Sshd never reads a drop-in that was not looked at."""
    assert judge_guard(Unit(SSH, values), booted=True).state is state


def test_group() -> None:
    """Its members are named; nobody has to be in it."""
    assert judge_group("pam-tailscale-admin", ()).state is State.OK
    named = judge_group("pam-tailscale-admin", ("alice", "bob"))
    assert (named.state, named.items) == (State.WARNING, ("alice", "bob"))
    assert judge_group("pam-tailscale-admin", None).state is State.WARNING
