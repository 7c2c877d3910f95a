"""Each half of sshd's configuration is removed or altered by somebody who does not know of the other.

Nobody gets in by that over the tailnet, and the LAN never notices. What is done here is done by rm, an editor, dpkg.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.distro.doors import BURGLARS, INVITED, LAN_AS_ALWAYS, ON_LAN, all_are, tried
from tests.distro.test_socket_activation import SWITCH_OVER
from tests.support.booted import booted_root
from tests.support.early_connection import EarlyConnection
from tests.support.machine import DROP_IN, ENABLE, Machine, Site
from tests.support.roots import PROJECT, Suite
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

_SECONDS = 3
"""Within which the drop-in is out of force: the watch, the reload, and a second look after a second."""
_ACCESS = "/etc/security/not-tailnet.access"
_SERVICE = "/etc/pam.d/sshd-tailscale"
_STOCK = "/etc/pam.d/sshd"
_DEBIAN = "/var/cache/apt/archives/openssh-server_*.deb"
SUITES: tuple[Suite, ...] = ("bookworm", "trixie")


# sed -i writes another file and renames it, as editors and dpkg do; `>` writes into the file itself.
_OPENED = "sed -i '1i auth sufficient pam_permit.so'"
DEEDS: Mapping[str, Mapping[Suite, str]] = {
    "PAM half removed": {
        "bookworm": f"sed -i '/pam_tailscale.so/d; /not-tailnet.access/d' {_STOCK}",
        "trixie": f"rm {_SERVICE}",
    },
    "PAM half without account": {
        "bookworm": f"sed -i '/^account.*pam_tailscale.so/d' {_STOCK}",
        "trixie": f"sed -i '/^account/d' {_SERVICE}",
    },
    "PAM half opened": {"bookworm": f"{_OPENED} {_STOCK}", "trixie": f"{_OPENED} {_SERVICE}"},
    "PAM half overwritten": {
        "bookworm": f"sed '/pam_tailscale.so/d' {_STOCK} > /root/sshd; cat /root/sshd > {_STOCK}",
        "trixie": f": > {_SERVICE}",
    },
    "PAM file moved away": {"bookworm": f"mv {_STOCK} /root/sshd", "trixie": f"mv {_SERVICE} /root/sshd"},
    "Debian's in its place": {
        "bookworm": f"dpkg-deb --fsys-tarfile {_DEBIAN} | tar -xO .{_STOCK} > /root/sshd; mv /root/sshd {_STOCK}",
        "trixie": f"cp {_STOCK} {_SERVICE}",
    },
    "one line less": {"bookworm": f"sed -i '/^-/d' {_ACCESS}", "trixie": f"sed -i '/pam_deny/d' {_SERVICE}"},
    "drop-in without UsePAM": dict.fromkeys(SUITES, f"sed -i 's/^UsePAM yes/UsePAM no/' {DROP_IN}"),
    "drop-in for everybody": dict.fromkeys(SUITES, f"sed -i 's/^Match .*/Match all/' {DROP_IN}"),
}
"""What somebody does; the PAM half is a file of ours, or lines at the top of Debian's and an access list."""


@pytest.fixture
def whole(site: Site, machine: Machine) -> Iterator[Machine]:
    """The machine, switched on; afterwards both halves are put back as they were."""
    site.wait_for(machine)
    assert tried(site, machine, *INVITED) == all_are("in", INVITED)
    paths = [path for path in (_ACCESS, _STOCK, _SERVICE, DROP_IN) if machine.box.exists(path)]
    files = {path: machine.box.read(path) for path in paths}
    yield machine
    # Not by `enable`, which would prove it all each time; a test of its own does that.
    for path, text in files.items():
        machine.box.write(path, text)
    machine.run(f"rm -f {DROP_IN}.disabled; systemctl reload-or-restart ssh")
    until_checked(machine)


def until_out_of_force(machine: Machine) -> None:
    """Waits until the drop-in is gone, and what took it away has done the rest."""
    wait_until(lambda: not machine.box.exists(DROP_IN), _SECONDS, "the drop-in is away")
    until_checked(machine)


def until_checked(machine: Machine) -> None:
    """Waits until the watch has no more to do: it ends logins over the tailnet that are in their first steps."""
    units = "pam-tailscale-halves.service pam-tailscale-halves-again.service"
    idle = f"! systemctl is-active {units} | grep -q activating"
    # Both tell sshd, which may have to be started anew.
    wait_until(lambda: machine.run(idle, check=False).returncode == 0, _SECONDS * 5, "the check has ended")


@pytest.mark.parametrize("deed", DEEDS)
def test_a_half_is_removed_or_altered(site: Site, whole: Machine, suite: Suite, deed: str) -> None:
    """The other goes out of force by itself; the tailnet is refused, and the LAN is as it was."""
    whole.run(DEEDS[deed][suite])
    until_out_of_force(whole)
    assert tried(site, whole, *INVITED, *BURGLARS, *ON_LAN) == {
        **all_are("refused", (*INVITED, *BURGLARS)),
        **LAN_AS_ALWAYS,
    }, whole.report()


def test_enable_puts_both_in_place_again(site: Site, whole: Machine, suite: Suite) -> None:
    """As doctor says; what was altered is gone."""
    whole.run(DEEDS["PAM half opened"][suite])
    until_out_of_force(whole)
    assert f"{ENABLE.removesuffix(' --yes')} --replace-edits" in whole.run("pam-tailscale doctor", check=False).stdout
    whole.run(f"{ENABLE} --replace-edits")
    assert tried(site, whole, *INVITED, *BURGLARS, *ON_LAN) == {
        **all_are("in", INVITED),
        **all_are("refused", BURGLARS),
        **LAN_AS_ALWAYS,
    }, whole.report()


def test_what_they_are_compared_with_is_removed(site: Site, whole: Machine) -> None:
    """Nobody knows any more what belongs together: it goes out of force, and can be switched off and on again."""
    whole.run("rm -r /var/lib/pam-tailscale/halves")
    until_out_of_force(whole)
    assert tried(site, whole, *INVITED, *BURGLARS, *ON_LAN) == {
        **all_are("refused", (*INVITED, *BURGLARS)),
        **LAN_AS_ALWAYS,
    }, whole.report()
    whole.run("pam-tailscale disable --yes")
    assert not whole.box.exists(f"{DROP_IN}.disabled")
    whole.run(ENABLE)


def test_the_drop_in_is_removed(site: Site, whole: Machine) -> None:
    """Nothing of the other half alone changes anything: sshd is as before `enable` once it has reloaded."""
    whole.run(f"rm {DROP_IN}; systemctl reload ssh")
    site.wait_for(whole)  # sshd of Debian 12 is away for a moment
    assert tried(site, whole, *INVITED, *BURGLARS, *ON_LAN) == {
        **all_are("refused", (*INVITED, *BURGLARS)),
        **LAN_AS_ALWAYS,
    }


def test_dpkg_installs_sshd_over_itself(site: Site, whole: Machine) -> None:
    """With Debian's own /etc/pam.d/sshd in the place of ours: the package's trigger puts both halves in place again."""
    force = "--force-confask --force-confnew"
    whole.run(f"dpkg {force} --install {_DEBIAN}")
    site_is = tried(site, whole, *INVITED, *BURGLARS, *ON_LAN)
    assert site_is == {**all_are("in", INVITED), **all_are("refused", BURGLARS), **LAN_AS_ALWAYS}, whole.report()


def test_sshd_does_not_reload(site: Site, whole: Machine) -> None:
    """An error elsewhere in sshd_config: sshd cannot forget the drop-in, so it gets its other half back."""
    config = whole.box.read("/etc/ssh/sshd_config")
    whole.run("echo 'NoSuchThing yes' >> /etc/ssh/sshd_config")
    try:
        whole.run(f"rm {_half(whole)}")
        wait_until(lambda: whole.box.exists(DROP_IN) and _put_back(whole), _SECONDS * 2, "both halves are there again")
        until_checked(whole)
        assert tried(site, whole, *INVITED, *BURGLARS, *ON_LAN) == {
            **all_are("in", INVITED),
            **all_are("refused", BURGLARS),
            **LAN_AS_ALWAYS,
        }, whole.report()
    finally:
        whole.box.write("/etc/ssh/sshd_config", config)
        whole.run("systemctl reload ssh")


def test_what_began_before_ends_over_the_tailnet_alone(site: Site, whole: Machine) -> None:
    """The watch may end those, and sees which they are; a login from elsewhere goes on."""
    with ExitStack() as stack:

        def connected(box: Sandbox, address: str) -> list[EarlyConnection]:
            both = (False, True)
            return [stack.enter_context(EarlyConnection(box, address, speaks=speaks)) for speaks in both]

        tailnet = connected(site.alices.box, whole.known_ipv4)
        lan = connected(site.clients["the LAN"].box, whole.lan_address)
        whole.run(f"rm {_half(whole)}")
        until_out_of_force(whole)
        assert [connection.is_open() for connection in (*tailnet, *lan)] == [False, False, True, True], whole.report()


@pytest.fixture
def listened_for(whole: Machine) -> Iterator[Machine]:
    """The machine, where systemd listens for sshd, which has not run."""
    whole.run(f"{SWITCH_OVER}systemctl stop ssh.service; systemctl restart ssh.socket")
    assert not whole.box.exists("/run/sshd")
    yield whole
    whole.run(
        "systemctl disable --quiet --now ssh.socket; systemctl stop ssh.service; systemctl enable --now ssh.service"
    )


def test_a_half_is_lost_before_the_first_connection(site: Site, listened_for: Machine) -> None:
    """The drop-in goes, although sshd has nothing yet that it wants for reading its files."""
    listened_for.run(f"rm {_half(listened_for)}")
    until_out_of_force(listened_for)
    assert tried(site, listened_for, *INVITED, *BURGLARS, *ON_LAN) == {
        **all_are("refused", (*INVITED, *BURGLARS)),
        **LAN_AS_ALWAYS,
    }, listened_for.report()


def test_a_half_is_lost_while_others_restart_sshd(site: Site, listened_for: Machine) -> None:
    """One start more than systemd allows in a while would be refused, and then nobody would listen."""
    listened_for.run(f"for start in 1 2 3 4 5; do systemctl restart ssh.service; done; rm {_half(listened_for)}")
    until_out_of_force(listened_for)
    assert listened_for.failed_units() == []
    assert tried(site, listened_for, *INVITED, *BURGLARS, *ON_LAN) == {
        **all_are("refused", (*INVITED, *BURGLARS)),
        **LAN_AS_ALWAYS,
    }, listened_for.report()


def test_sshds_own_reload_is_kept(suite: Suite) -> None:
    """A list of commands can be replaced only as a whole: ours ends with Debian's own, as they are in this release."""
    theirs = _reload(booted_root(suite) / "usr/lib/systemd/system/ssh.service")
    ours = _reload(PROJECT / "contrib/systemd/ssh.service.d/pam-tailscale.conf")
    assert ours == ["", "-/usr/libexec/pam-tailscale/check-halves", *theirs]


def _reload(unit: Path) -> list[str]:
    """What a unit or its drop-in runs to reload."""
    return [value for line in unit.read_text().splitlines() if (value := line.removeprefix("ExecReload=")) != line]


def _half(machine: Machine) -> str:
    """A file without which the drop-in must not be in force."""
    return _SERVICE if machine.has_service_names else _ACCESS


def _put_back(machine: Machine) -> bool:
    return machine.box.exists(_half(machine))
