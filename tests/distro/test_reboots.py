"""A machine that is switched on, and then boots in a state that its administrator did not foresee.

The LAN and the console let people in at once. Over the tailnet nobody gets in whom the policy does not let in.
"""

import time
from collections.abc import Iterator

import pytest

from tests.distro.doors import (
    BURGLARS,
    INVITED,
    LAN_AS_ALWAYS,
    ON_LAN,
    PRETENDERS,
    UNINVITED,
    Outcome,
    all_are,
    tried,
)
from tests.support.machine import DROP_IN, ENABLE, PASSWORD, Machine, Site
from tests.support.roots import PROJECT
from tests.support.waiting import wait_until

_AT_ONCE = 5.0
"""Seconds for one login at the console and one over the LAN, on a busy machine."""
_CONSOLE_LOGIN = PROJECT / "tests/support/console_login.py"
_MODULE = "/usr/lib/*/security/pam_tailscale.so"
_SERVICES = "pam-tailscale-agent.service pam-tailscale-agent.socket pam-tailscale-reader.socket"
REFUSED: dict[str, Outcome] = {**all_are("refused", (*INVITED, *BURGLARS, UNINVITED)), **LAN_AS_ALWAYS}


@pytest.fixture
def usual(site: Site, machine: Machine) -> Iterator[Machine]:
    """The machine, switched on and in the tailnet; it is so again afterwards, as an administrator would mend it."""
    site.wait_for(machine)
    assert tried(site, machine, *INVITED) == all_are("in", INVITED)
    yield machine
    machine.run("systemctl unmask --quiet tailscaled")
    machine.start_tailscaled()
    wait_until(lambda: machine.addresses, 20, "the machine is in its tailnet")
    machine.run(f"{ENABLE} --replace-edits")


@pytest.fixture
def complete(usual: Machine) -> Iterator[Machine]:
    """The same, for tests that take something of the packages away."""
    yield usual
    usual.run(f"systemctl unmask --quiet {_SERVICES}; dpkg --install /root/*.deb")
    usual.run(f"systemctl enable --quiet --now {_SERVICES}")


def lan_and_console_work_at_once(site: Site, machine: Machine) -> None:
    """The first thing after a boot."""
    began = time.monotonic()
    shown = machine.box.run(["python3", "-c", _CONSOLE_LOGIN.read_text(), "alice", PASSWORD]).stdout
    assert "alice@" in shown, shown
    assert tried(site, machine, ON_LAN[0]) == all_are("in", ON_LAN[:1])
    assert time.monotonic() - began < _AT_ONCE
    assert tried(site, machine, *ON_LAN) == LAN_AS_ALWAYS


def test_the_tailnet_is_late(site: Site, usual: Machine) -> None:
    """It comes long after sshd: until then whoever has a tailnet address is refused, then people get in."""
    usual.run("systemctl disable --quiet tailscaled")
    usual.reboot()
    lan_and_console_work_at_once(site, usual)
    with site.pretended(usual):
        assert tried(site, usual, *PRETENDERS) == all_are("refused", PRETENDERS)
    usual.start_tailscaled()
    site.wait_for(usual)
    wait_until(lambda: tried(site, usual, *INVITED) == all_are("in", INVITED), 15, "the agent knows the tailnet")
    assert tried(site, usual, *BURGLARS, UNINVITED) == all_are("refused", (*BURGLARS, UNINVITED))


def test_the_tailnet_is_absent(site: Site, usual: Machine) -> None:
    """There is no tailscaled any more that would start."""
    usual.run("systemctl mask --quiet --now tailscaled 2>&1")
    usual.reboot()
    lan_and_console_work_at_once(site, usual)
    with site.pretended(usual):
        assert tried(site, usual, *PRETENDERS) == all_are("refused", PRETENDERS)
    assert usual.failed_units() == []


def test_logged_out(site: Site, usual: Machine) -> None:
    """The node has left its tailnet: it has no tailnet address, and whoever makes one up is refused."""
    usual.ts("logout")
    usual.reboot()
    lan_and_console_work_at_once(site, usual)
    with site.pretended(usual):
        assert tried(site, usual, *PRETENDERS) == all_are("refused", PRETENDERS)
    site.tailnet.unexpire(usual)
    site.join(usual)


def test_the_agent_is_disabled(site: Site, complete: Machine) -> None:
    """By somebody who masks its units: nobody is let in over the tailnet, with whatever password."""
    complete.run(f"systemctl disable --quiet --now {_SERVICES}; systemctl mask --quiet {_SERVICES}")
    assert tried(site, complete, *INVITED, *BURGLARS, UNINVITED, *ON_LAN) == REFUSED
    complete.reboot()
    lan_and_console_work_at_once(site, complete)
    site.wait_for(complete)
    assert tried(site, complete, *INVITED, *BURGLARS, UNINVITED, *ON_LAN) == REFUSED


def test_the_module_is_purged_by_force(site: Site, complete: Machine) -> None:
    """Although we need libpam-tailscale dpkg is told to remove it: the PAM half refuses the tailnet without it."""
    complete.run("dpkg --force-all --purge libpam-tailscale")
    assert complete.run(f"ls {_MODULE}", check=False).stdout == ""
    assert tried(site, complete, *INVITED, *BURGLARS, UNINVITED, *ON_LAN) == REFUSED
    complete.reboot()
    lan_and_console_work_at_once(site, complete)
    site.wait_for(complete)
    assert tried(site, complete, *INVITED, *BURGLARS, UNINVITED, *ON_LAN) == REFUSED


def test_everything_of_ours_is_removed_by_hand(site: Site, complete: Machine) -> None:
    """Every file of the packages is gone; those of sshd and PAM are left as `enable` wrote them."""
    files = "dpkg -L pam-tailscale libpam-tailscale | grep -E '/(pam-tailscale|pam_tailscale)' | grep -v /var/lib/dpkg"
    complete.run(f"{files} | while read -r path; do [ -d $path ] || rm -f $path; done")
    assert complete.box.exists(DROP_IN)
    complete.run("systemctl daemon-reload")
    complete.reboot()
    lan_and_console_work_at_once(site, complete)
    site.wait_for(complete)
    assert tried(site, complete, *INVITED, *BURGLARS, UNINVITED, *ON_LAN) == REFUSED


def test_the_other_half_goes_while_it_is_off(site: Site, usual: Machine) -> None:
    """Somebody mounts the disk elsewhere: sshd never reads the drop-in without its PAM half."""
    stock = usual.box.read("/etc/pam.d/sshd")
    usual.shut_down()
    if usual.has_service_names:
        usual.disk.run(["rm", usual.pam_half])
    else:
        ours = usual.disk.read("/var/lib/pam-tailscale/halves/pam.d-sshd.lines")
        usual.disk.write(usual.pam_half, stock.removeprefix(ours))
    usual.boot()
    lan_and_console_work_at_once(site, usual)
    assert not usual.box.exists(DROP_IN)
    site.wait_for(usual)
    assert tried(site, usual, *INVITED, *BURGLARS) == all_are("refused", (*INVITED, *BURGLARS))
