"""Switching off and removing, while people are at the door, and where it cannot be done."""

from pathlib import Path

import pytest

from tests.distro.doors import BURGLARS, INVITED, LAN_AS_ALWAYS, ON_LAN, UNINVITED, Outcome, all_are, tried
from tests.support.held import Held
from tests.support.machine import DROP_IN, ENABLE, INSTALL, ROOT_PASSWORD, Machine, Site

_REMOVE = "apt-get remove --yes pam-tailscale libpam-tailscale"
_SSHD_CONFIG = "/etc/ssh/sshd_config"
ON: dict[str, Outcome] = {**all_are("in", INVITED), **all_are("refused", (*BURGLARS, UNINVITED)), **LAN_AS_ALWAYS}
OFF: dict[str, Outcome] = {**all_are("refused", (*INVITED, *BURGLARS)), str(UNINVITED): "in", **LAN_AS_ALWAYS}
"""As Debian has it: over the tailnet as over any network alice's password opens."""


def all_doors(site: Site, machine: Machine) -> dict[str, Outcome]:
    """What comes of every door."""
    return tried(site, machine, *INVITED, *BURGLARS, UNINVITED, *ON_LAN)


@pytest.fixture
def on(machine: Machine, packages: tuple[Path, ...]) -> Machine:
    """The machine, installed and switched on."""
    if not machine.installed("pam-tailscale"):
        machine.bring(packages)
        machine.run(INSTALL)
    machine.run(ENABLE)
    return machine


def test_a_connection_that_is_held_does_not_walk_in(site: Site, on: Machine) -> None:
    """It began while the drop-in handed it to PAM; when it goes on PAM has nobody to ask any more."""
    held = [Held(site.bobs.box, on.known_ipv4, "decoy", ""), Held(site.bobs.box, on.known_ipv4, "root", ROOT_PASSWORD)]
    on.run("pam-tailscale disable --yes")
    for one in held:
        assert "in" not in one.goes_on().values()
    assert all_doors(site, on) == OFF


def test_removing_switches_off_first(site: Site, on: Machine) -> None:
    """Nothing of ours is in force when the program that answers for it goes."""
    assert all_doors(site, on) == ON
    held = Held(site.bobs.box, on.known_ipv4, "decoy", "")
    on.run(_REMOVE)
    assert "in" not in held.goes_on().values()
    assert not on.installed("pam-tailscale")
    assert not on.box.exists(DROP_IN)
    assert "pam_tailscale" not in on.run("cat /etc/pam.d/*").stdout
    assert all_doors(site, on) == OFF
    assert on.failed_units() == []


def test_removing_fails_where_it_cannot_be_switched_off(site: Site, on: Machine) -> None:
    """Where sshd could not read its files again everything stays as it is; once that is mended, it can be removed."""
    config = on.box.read(_SSHD_CONFIG)
    files = {path: on.box.read(path) for path in (DROP_IN, on.pam_half)}
    on.box.write(_SSHD_CONFIG, config + "NoSuchThing yes\n")
    try:
        removal = on.run(_REMOVE, check=False)
        assert removal.returncode != 0
        assert "'pam-tailscale disable' succeeds" in removal.stdout.replace("\r\n", " ")
        assert on.installed("pam-tailscale")
        assert {path: on.box.read(path) for path in files} == files
        assert all_doors(site, on) == ON
    finally:
        on.box.write(_SSHD_CONFIG, config)
    on.run(_REMOVE)
    assert all_doors(site, on) == OFF


def test_whoever_reinstalls_switches_on_again(site: Site, on: Machine) -> None:
    """After a removal the host is pinned still; one command, and it is as it was."""
    assert all_doors(site, on) == ON
