"""`enable` and `disable` on real sshd: what they leave, whatever happens meanwhile. Design section 10, point 9."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.expect import lan_works
from tests.support import namespaces
from tests.support.scene import LAN, LAN_DEVICE, Scene, tailnet_address
from tests.support.switching import (
    BROKEN,
    Looked,
    disable_in_a_race,
    killed_at,
    look,
    switch,
    switch_on_unproved,
)
from tests.support.waiting import wait_until

DROP_IN = "/etc/ssh/sshd_config.d/10-pam-tailscale.conf"
STAYS = "/var/lib/pam-tailscale/pin.json"


@pytest.fixture
def scene(switched_off: Scene) -> Scene:
    """A host on which nothing is switched on."""
    return switched_off


def decoy_is_kept_out(scene: Scene) -> bool:
    """Whether the account with an empty password is refused over the tailnet."""
    return scene.login("decoy", password="").returncode != 0


def without_pin(looked: Looked) -> Looked:
    """The pin stays when switching off: the next `enable` shows if the host has moved meanwhile."""
    return {path: entry for path, entry in looked.items() if path != STAYS}


def test_on_and_off(scene: Scene) -> None:
    """A person gets in without a key in between, and afterwards everything is what it was."""
    before = look(scene.host)
    assert scene.login("alice").returncode != 0
    on = switch(scene.host, "enable")
    assert (on.status, on.document["on"], on.document["changed"]) == (0, True, True), on
    assert all(outcome["ok"] for outcome in on.document["proof"])
    assert scene.login("alice").returncode == 0
    assert decoy_is_kept_out(scene)
    assert lan_works(scene)
    off = switch(scene.host, "disable")
    assert (off.status, off.document["on"], off.document["changed"]) == (0, False, True), off
    assert without_pin(look(scene.host)) == without_pin(before)
    assert scene.login("alice").returncode != 0
    assert decoy_is_kept_out(scene)
    assert lan_works(scene)


def test_both_are_idempotent(scene: Scene) -> None:
    """As Ansible needs it: the second run changes nothing and says so."""
    assert switch(scene.host, "enable").status == 0
    on = look(scene.host)
    again = switch(scene.host, "enable")
    assert (again.status, again.document["on"], again.document["changed"]) == (0, True, False), again
    assert look(scene.host) == on
    assert switch(scene.host, "disable").status == 0
    again = switch(scene.host, "disable")
    assert (again.status, again.document["on"], again.document["changed"]) == (0, False, False), again


def test_a_dry_run_changes_nothing(scene: Scene) -> None:
    """It shows what would be."""
    before = look(scene.host)
    shown = switch(scene.host, "enable", "--dry-run")
    assert (shown.status, shown.document["on"], shown.document["changed"]) == (0, False, False), shown
    assert "PermitEmptyPasswords yes" in shown.document["diff"]
    assert look(scene.host) == before
    assert switch(scene.host, "enable").status == 0
    before = look(scene.host)
    shown = switch(scene.host, "disable", "--dry-run")
    assert "PermitEmptyPasswords yes" in shown.document["diff"]
    assert look(scene.host) == before


@pytest.mark.timeout(900)  # a run of the command, and what is left looked at, for each step
def test_killed_at_any_step_of_switching_on(scene: Scene) -> None:
    """Sshd is reachable at once, nobody gets in by half of it, and the next run takes it back before it begins anew."""
    before, number = look(scene.host), 1
    while killed_at(scene.host, number, "enable"):
        assert lan_works(scene), number
        assert decoy_is_kept_out(scene), number
        assert switch(scene.host, "disable").status == 0
        assert without_pin(look(scene.host)) == without_pin(before), number
        number += 1
    assert number > 8
    assert scene.login("alice").returncode == 0


@pytest.mark.timeout(900)  # a run of the command, and what is left looked at, for each step
def test_killed_at_any_step_of_switching_off(scene: Scene) -> None:
    """The same, and the next run finishes."""
    before, number = look(scene.host), 1
    assert switch(scene.host, "enable").status == 0
    while killed_at(scene.host, number, "disable"):
        assert lan_works(scene), number
        assert decoy_is_kept_out(scene), number
        assert switch(scene.host, "disable").status == 0
        assert without_pin(look(scene.host)) == without_pin(before), number
        switch_on_unproved(scene.host)
        number += 1
    assert number > 6
    assert without_pin(look(scene.host)) == without_pin(before)


@pytest.mark.parametrize("number", [4, 9])
def test_a_terminal_that_closes_takes_it_back(scene: Scene, number: int) -> None:
    """SIGHUP, as SIGTERM and ^C: nothing is left of it, not even for the next run."""
    before = look(scene.host)
    assert killed_at(scene.host, number, "enable", signal="SIGHUP")
    assert look(scene.host) == before
    assert scene.login("alice").returncode != 0
    assert lan_works(scene)


def test_two_runs_at_once(scene: Scene) -> None:
    """One waits for the other and finds nothing to do."""
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: switch(scene.host, "enable"), range(2)))
    assert [one.status for one in both] == [0, 0], both
    assert sorted(one.document["changed"] for one in both) == [False, True]
    assert any("another run is under way" in one.err for one in both)


def test_with_sshd_down(scene: Scene) -> None:
    """It counts from its next start, and is gone from its next start."""
    before = look(scene.host)
    scene.host.stop_sshd()
    assert switch(scene.host, "enable").status == 0
    scene.host.start_sshd()
    assert scene.login("alice").returncode == 0
    scene.host.stop_sshd()
    assert switch(scene.host, "disable").status == 0
    scene.host.start_sshd()
    assert scene.login("alice").returncode != 0
    assert without_pin(look(scene.host)) == without_pin(before)


def test_an_error_of_somebody_elses_in_sshd_config(scene: Scene) -> None:
    """Sshd cannot be told anything by then: both refuse before they change anything, and say what is wrong."""
    box = scene.host.box
    before = look(scene.host)
    box.write(BROKEN, "NoSuchKeyword yes\n")
    refused = switch(scene.host, "enable")
    assert (refused.status, refused.document["changed"]) == (1, False)
    assert "NoSuchKeyword" in str(refused.document)
    box.run(["rm", BROKEN])
    assert without_pin(look(scene.host)) == without_pin(before)
    assert switch(scene.host, "enable").status == 0
    on = look(scene.host)
    box.write(BROKEN, "NoSuchKeyword yes\n")
    refused = switch(scene.host, "disable")
    assert refused.status == 1
    assert "Nothing was changed" in refused.document["problem"]
    assert "NoSuchKeyword" in refused.document["problem"]
    box.run(["rm", BROKEN])
    assert look(scene.host) == on
    assert switch(scene.host, "disable").status == 0
    assert without_pin(look(scene.host)) == without_pin(before)


def test_a_read_only_etc(scene: Scene) -> None:
    """A clear error, and nothing changed anywhere."""
    box = scene.host.box
    assert switch(scene.host, "enable").status == 0
    on = look(scene.host)
    for command in ("disable", "enable"):
        if command == "enable":
            assert switch(scene.host, "disable").status == 0
            on = look(scene.host)
        box.run(["mount", "--bind", "-o", "ro", "/etc", "/etc"])
        try:
            refused = switch(scene.host, command)
        finally:
            box.run(["umount", "/etc"])
        assert refused.status == 1
        assert "ead-only" in str(refused.document)
        assert look(scene.host) == on
        assert lan_works(scene)


def test_a_connection_held_open_over_disable_is_ended_and_one_from_the_lan_is_not(scene: Scene) -> None:
    """It still goes by the drop-in, whose PAM half would be gone by the time it goes on. Design section 10, point 4."""
    assert switch(scene.host, "enable").status == 0
    held = connection(scene, tailnet_address(1, 4), tailnet_address(2, 4))
    lan = connection(scene, LAN[4], LAN_DEVICE[4])
    try:
        for one in (held, lan):
            assert one.recv(4) == b"SSH-"
        wait_until(lambda: len(scene.host.unfinished_logins()) >= 2, 5, "both wait to log in")
        assert switch(scene.host, "disable").status == 0
        held.settimeout(5)
        assert ends(held)
        lan.settimeout(0.2)
        assert not ends(lan)
    finally:
        held.close()
        lan.close()


def connection(scene: Scene, address: str, source: str) -> socket.socket:
    """One on which nothing was said yet."""
    return scene.client.box.inside(
        lambda: socket.create_connection((address, 22), 10, (source, 0)), namespaces.CLONE_NEWNET
    )


def ends(connection: socket.socket) -> bool:
    """Whether the other side closes it before the connection's timeout."""
    deadline = time.monotonic() + (connection.gettimeout() or 0)
    try:
        while time.monotonic() <= deadline:
            if not connection.recv(4096):
                return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return False


def test_a_module_that_says_yes_to_everything_is_found_by_the_proof(scene: Scene) -> None:
    """It loads, so that only trying shows it. Everything is taken back."""
    box, host = scene.host.box, scene.host
    before = look(host)
    directory = host.module_file.rpartition("/")[0]
    box.run(["cp", f"{directory}/pam_permit.so", host.module_file])
    try:
        refused = switch(host, "enable")
        assert refused.status == 1
        assert "the proof failed" in refused.document["problem"]
        assert look(host) == before
        assert scene.login("decoy").returncode != 0
    finally:
        host.install_shims()


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1])
def test_somebody_else_has_sshd_read_its_files_at_the_same_moment(scene: Scene, delay: float) -> None:
    """It has the drop-in in memory and no socket: were it taken for down, it would go on without the PAM half."""
    before = look(scene.host)
    switch_on_unproved(scene.host)
    disable_in_a_race(scene.host, delay)
    assert without_pin(look(scene.host)) == without_pin(before)
    assert decoy_is_kept_out(scene)
    assert scene.login("decoy", scene.nodes.stranger).returncode != 0
    assert lan_works(scene)


_EVIL = "#!/bin/sh\nid > /opt/shm/evil.ran\n"
_STUBBORN = """
import signal, socket, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
listening = socket.create_server(("127.0.0.1", 2223))
time.sleep(900)
"""


def test_a_sshd_of_a_local_users_is_nothing_to_it(scene: Scene) -> None:
    """One with options that would run their program as root in the proof; and one that is none, and cannot be told."""
    box, before = scene.host.box, look(scene.host)
    box.run(["sh", "-c", "install -d -m 1777 /opt/shm"])
    box.write("/opt/shm/evil", _EVIL, 0o755)
    key = (
        "rm -f /opt/shm/key; ssh-keygen -q -t ed25519 -N '' -f /opt/shm/key; cp $(readlink -f /usr/bin/python3) ~/sshd"
    )
    box.run(["sh", "-c", key], user="alice")
    options = ["-p", "2222", "-h", "/opt/shm/key", "-o", "PidFile=none", "-o", "ForceCommand=/opt/shm/evil"]
    evil = box.popen(["/usr/sbin/sshd", "-D", *options], "/var/log/evil.log", user="alice")
    python = {"PYTHONHOME": "/usr"}
    stubborn = box.popen(["/home/alice/sshd", "-c", _STUBBORN], "/var/log/stubborn.log", user="alice", env=python)
    # The host's own comes after them, as it does after an upgrade.
    scene.host.restart_sshd()
    try:
        wait_until(
            lambda: all(f":{port} " in box.run(["ss", "-tln"]).stdout for port in (2222, 2223)), 10, "both listen"
        )
        assert switch(scene.host, "enable").status == 0
        assert scene.login("alice").returncode == 0
        assert switch(scene.host, "disable").status == 0
        assert not box.exists("/opt/shm/evil.ran")
        assert without_pin(look(scene.host)) == without_pin(before)
        assert (evil.poll(), stubborn.poll()) == (None, None)
    finally:
        for process in (evil, stubborn):
            process.kill()
            process.wait()


def test_a_file_of_a_local_users_that_never_ends(scene: Scene) -> None:
    """In the place of their authorized_keys, which root looks at; another user's key is seen all the same."""
    box = scene.host.box
    box.run(["sh", "-c", "mkdir -p ~/.ssh; rm -f ~/.ssh/authorized_keys; mkfifo ~/.ssh/authorized_keys"], user="bob")
    try:
        assert switch(scene.host, "enable", "--dry-run").status == 0
    finally:
        box.run(["rm", "/home/bob/.ssh/authorized_keys"])


@pytest.mark.parametrize(
    "settings",
    [{"ListenAddress": "::", "AddressFamily": "inet6"}, {"PasswordAuthentication": "no"}],
    ids=["IPv6 alone", "options of its own"],
)
def test_an_sshd_that_is_started_otherwise(scene: Scene, settings: dict[str, str]) -> None:
    """What it was started with counts before its files, and says where it can be asked at all."""
    scene.host.restart_sshd(**settings)
    on = switch(scene.host, "enable")
    assert on.status == 0, on
    assert scene.login("alice", family=6).returncode == 0
    off = switch(scene.host, "disable")
    assert (off.status, off.document["on"]) == (0, False), off
    assert scene.login("alice", family=6).returncode != 0
