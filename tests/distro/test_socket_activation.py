"""A host where systemd listens for sshd (ssh.socket): its sockets stay the same when sshd reads its files again."""

import pytest

from tests.distro.doors import BURGLARS, INVITED, ON_LAN, UNINVITED, all_are, tried
from tests.distro.test_removing import OFF, ON
from tests.support.machine import ENABLE, Machine, Site

SWITCH_OVER = """
systemctl disable --quiet --now ssh.service
systemctl enable --quiet --now ssh.socket
"""


@pytest.mark.parametrize("running", [False, True], ids=["before the first connection", "after it"])
def test_on_and_off(site: Site, machine: Machine, *, running: bool) -> None:
    """Whether sshd has been started by a connection or waits for one."""
    doors = (*INVITED, *BURGLARS, UNINVITED, *ON_LAN)
    machine.run("pam-tailscale disable --yes")
    machine.run(SWITCH_OVER)
    machine.run("systemctl stop ssh.service; systemctl restart ssh.socket")
    if running:
        assert tried(site, machine, *ON_LAN[:1]) == all_are("in", ON_LAN[:1])
    assert (machine.run("systemctl is-active ssh.service", check=False).stdout == "active\n") is running
    machine.run(ENABLE)
    assert tried(site, machine, *doors) == ON
    machine.run("pam-tailscale disable --yes")
    assert tried(site, machine, *doors) == OFF
    assert machine.failed_units() == []
