"""The life of a Debian host with our packages: installed, switched on, used, upgraded, rebooted, switched off, removed.

Each stage is a fixture that goes on from the one before, on one machine; the tests between them look at it.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.distro.conftest import LOWER
from tests.distro.doors import BURGLARS, INVITED, LAN_AS_ALWAYS, ON_LAN, UNINVITED, all_are, tried
from tests.support.booted_files import Entry, differences, listing, unexpected
from tests.support.machine import ENABLE, INSTALL, Machine, Site
from tests.support.members import Login, ssh
from tests.support.roots import Suite
from tests.support.waiting import wait_until
from tests.support.waiting_login import WaitingLogin, plain_ssh

_LOGIN = "/etc/ssh", "/etc/pam.d", "/etc/security", "/etc/nsswitch.conf"
"""Where a host says who may log in."""
_ACCOUNTS = ("/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow")
_AGENT_SECONDS = 5
"""How long an agent may take until it can say yes."""
_PARAMIKO = "/opt/pam-tailscale/tests/support/paramiko_login.py"


@dataclass
class Life:
    """The machine, and what was before."""

    site: Site
    machine: Machine
    files: dict[str, Entry]
    accounts: dict[str, list[str]]
    effective: str
    doors: dict[str, str]
    commands: list[str] = field(default_factory=list)
    """What an administrator has typed."""

    def type(self, command: str) -> "subprocess.CompletedProcess[str]":
        """An administrator types a command, and it succeeds."""
        self.commands.append(command)
        return self.machine.run(command)

    def all_doors(self) -> dict[str, str]:
        """What comes of every door."""
        return {**tried(self.site, self.machine, *INVITED, *BURGLARS, UNINVITED, *ON_LAN)}

    def who_may_log_in(self) -> dict[str, Entry]:
        """The files that say so, as they are now."""
        return _about_login(listing(self.machine.box))


def _about_login(files: dict[str, Entry]) -> dict[str, Entry]:
    return {path: entry for path, entry in files.items() if path.startswith(_LOGIN)}


def _accounts(machine: Machine) -> dict[str, list[str]]:
    return {path: machine.box.read(path).splitlines() for path in _ACCOUNTS}


@pytest.fixture(scope="module")
def fresh(site: Site, suite: Suite) -> Iterator[Life]:
    """A Debian host that is in a tailnet, and knows nothing of us."""
    machine = site.machine("server", suite)
    life = Life(site, machine, listing(machine.box), _accounts(machine), machine.run("sshd -T").stdout, {})
    life.doors = life.all_doors()
    yield life
    machine.close()


@pytest.fixture(scope="module")
def installed(fresh: Life, lower_packages: tuple[Path, ...]) -> Life:
    """A lower version of our packages is installed."""
    fresh.machine.bring(lower_packages)
    fresh.type(INSTALL)
    return fresh


@pytest.fixture(scope="module")
def enabled(installed: Life) -> Life:
    """And switched on."""
    installed.type(ENABLE)
    return installed


def test_installing_changes_nothing_about_who_may_log_in(installed: Life) -> None:
    """Every door is what it was, sshd goes by the same settings, its files and PAM's are the same to the byte."""
    assert installed.machine.installed("pam-tailscale") == LOWER
    assert installed.doors == {
        **all_are("refused", (*INVITED, *BURGLARS)),
        **LAN_AS_ALWAYS,
        str(UNINVITED): "in",  # a password is a password, as everywhere
    }
    assert installed.all_doors() == installed.doors
    assert installed.machine.run("sshd -T").stdout == installed.effective
    assert installed.who_may_log_in() == _about_login(installed.files)
    assert installed.machine.failed_units() == []


def test_two_commands_to_the_first_keyless_login(enabled: Life) -> None:
    """From a fresh Debian host that is in a tailnet. No key, no password, nothing to wait for."""
    first = ssh(enabled.site.alices, "alice", enabled.machine.known_ipv4, "-o", "BatchMode=yes")
    assert first.accepted, (first, enabled.machine.report())
    assert first.stdout.strip() == "server"
    assert enabled.commands == [INSTALL, ENABLE]


def test_the_policy_alone_decides_over_the_tailnet(enabled: Life) -> None:
    """Who is invited gets in, root too; nobody else does, with whatever password; the LAN is as it was."""
    assert enabled.all_doors() == {
        **all_are("in", INVITED),
        **all_are("refused", (*BURGLARS, UNINVITED)),
        **LAN_AS_ALWAYS,
    }
    told = ssh(enabled.site.bobs, "decoy", enabled.machine.known_ipv4)
    assert told.refused, told


@pytest.mark.parametrize("method", ["none", "publickey", "keyboard-interactive"])
def test_each_method_lets_in(enabled: Life, method: str) -> None:
    """By a client that asks with that method alone; the key was made a moment ago and is known to nobody."""
    site, machine = enabled.site, enabled.machine
    argv = ["/usr/bin/python3", "-W", "ignore", _PARAMIKO, machine.known_ipv4, site.alices.ipv4, '"alice"', method]
    answer = json.loads(site.alices.box.run(argv).stdout)
    assert (answer["in"], answer.get("id")) == (True, "alice"), answer


def test_files_are_copied(enabled: Life) -> None:
    """By scp and by sftp."""
    box, target = enabled.site.alices.box, f"alice@{enabled.machine.known_ipv4}"
    options = enabled.site.clients["alice's laptop"].options()
    box.write("/root/letter", "for alice\n")
    box.run(["scp", "-q", *options, "/root/letter", f"{target}:by-scp"])
    box.run(["sftp", "-q", "-b", "-", *options, target], input="put /root/letter by-sftp\nget by-scp /root/back\n")
    sent = [enabled.machine.box.read(f"/home/alice/{name}") for name in ("by-scp", "by-sftp")]
    assert [*sent, box.read("/root/back")] == ["for alice\n"] * 3


def test_a_check_is_passed_at_the_prompt(enabled: Life) -> None:
    """A page is shown, somebody approves there, and bob is in."""
    with WaitingLogin(enabled.site.bobs.box, plain_ssh("bob", enabled.machine.known_ipv4)) as login:
        check = login.page().rstrip("/").rpartition("/")[2]
        enabled.site.tailnet.box.run(["/usr/bin/headscale", "auth", "approve", "--auth-id", check])
        assert (login.finish(), login.stdout.strip()) == (0, "server"), (login.stderr, enabled.machine.report())


@dataclass
class Upgrade:
    """What an upgrade did to those who were in, and to those who came meanwhile."""

    session_status: int
    session_said: str
    logins: list[tuple[float, Login]]
    """Each with the time at which it began, in seconds."""


@pytest.fixture(scope="module")
def upgrade(enabled: Life, packages: tuple[Path, ...]) -> Upgrade:
    """The packages of this checkout take the lower version's place, while alice is in and others come."""
    site, machine = enabled.site, enabled.machine
    stay = "echo in; until [ -e /tmp/upgraded ]; do sleep 0.1; done; echo still in"
    session = site.alices.box.popen(plain_ssh("alice", machine.known_ipv4, remote=stay), "/var/log/session")
    wait_until(lambda: site.alices.box.read("/var/log/session").endswith("in\n"), 20, "alice is in")
    logins: list[tuple[float, Login]] = []
    over = threading.Event()

    def come() -> None:
        while not over.is_set():
            logins.append((time.monotonic(), ssh(site.alices, "alice", machine.known_ipv4, "-o", "BatchMode=yes")))

    comers = threading.Thread(target=come)
    comers.start()
    try:
        machine.bring(packages)
        enabled.type(INSTALL)
    finally:
        over.set()
        comers.join()
    machine.run("touch /tmp/upgraded")
    return Upgrade(session.wait(20), site.alices.box.read("/var/log/session"), logins)


@pytest.fixture(scope="module")
def upgraded(enabled: Life, upgrade: Upgrade) -> Life:
    """The packages of this checkout are installed."""
    assert upgrade
    return enabled


def test_an_upgrade_disturbs_nobody(upgraded: Life, upgrade: Upgrade) -> None:
    """Who is in stays in; who comes meanwhile gets in, but for a moment: the new agent has to hear from tailscaled."""
    assert upgraded.machine.installed("pam-tailscale") != LOWER
    assert upgrade.session_status == 0
    assert upgrade.session_said.endswith("still in\n")
    told_no = [(began, login) for began, login in upgrade.logins if not login.accepted]
    assert [login for _, login in told_no if "Permission denied" not in login.stderr] == [], "sshd was not there"
    assert not told_no or told_no[-1][0] - told_no[0][0] < _AGENT_SECONDS
    assert upgrade.logins[-1][1].accepted
    assert tried(upgraded.site, upgraded.machine, *INVITED, *BURGLARS, UNINVITED) == {
        **all_are("in", INVITED),
        **all_are("refused", (*BURGLARS, UNINVITED)),
    }
    assert upgraded.machine.failed_units() == []


@pytest.fixture(scope="module")
def rebooted(upgraded: Life) -> Life:
    """It was off and on again."""
    upgraded.machine.reboot()
    upgraded.site.wait_for(upgraded.machine)
    return upgraded


def test_a_reboot_changes_nothing(rebooted: Life) -> None:
    """Once the laptops reach the machine again."""

    def in_again() -> bool:
        return ssh(rebooted.site.alices, "alice", rebooted.machine.known_ipv4, "-o", "BatchMode=yes").accepted

    wait_until(in_again, 10, "alice gets in after the reboot")
    assert rebooted.all_doors() == {
        **all_are("in", INVITED),
        **all_are("refused", (*BURGLARS, UNINVITED)),
        **LAN_AS_ALWAYS,
    }
    assert rebooted.machine.failed_units() == []


@pytest.fixture(scope="module")
def disabled(rebooted: Life) -> Life:
    """Switched off."""
    rebooted.type("pam-tailscale disable --yes")
    return rebooted


def test_switched_off_everything_is_as_before(disabled: Life) -> None:
    """Every door, sshd's settings, and what says who may log in, to the byte."""
    assert disabled.all_doors() == disabled.doors
    assert disabled.machine.run("sshd -T").stdout == disabled.effective
    assert disabled.who_may_log_in() == _about_login(disabled.files)
    assert disabled.machine.failed_units() == []


@pytest.fixture(scope="module")
def purged(disabled: Life) -> Life:
    """Removed, then purged."""
    disabled.type("apt-get remove --yes pam-tailscale libpam-tailscale")
    disabled.type("apt-get purge --yes pam-tailscale libpam-tailscale")
    disabled.machine.run("rm -f /root/*.deb /home/alice/by-* /tmp/upgraded")
    return disabled


def test_nothing_is_left_behind(purged: Life) -> None:
    """But for what tests/data/left-behind.txt tells, with the reasons."""
    assert unexpected(differences(purged.files, listing(purged.machine.box))) == {}


def test_of_the_accounts_ours_alone_were_added(purged: Life) -> None:
    """Every line of passwd and its like is there as it was; the new ones are of our accounts, which stay."""
    now = _accounts(purged.machine)
    assert {path: lines[: len(purged.accounts[path])] for path, lines in now.items()} == purged.accounts
    added = {line.partition(":")[0] for path, lines in now.items() for line in lines[len(purged.accounts[path]) :]}
    assert added == {"pam-tailscale", "pam-tailscale-keys", "pam-tailscale-admin"}


def test_purged_every_door_is_as_before(purged: Life) -> None:
    """And no unit has failed, before and after one more reboot."""
    assert purged.all_doors() == purged.doors
    purged.machine.reboot()
    purged.site.wait_for(purged.machine)
    assert purged.all_doors() == purged.doors
    assert purged.machine.failed_units() == []
