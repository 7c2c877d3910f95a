"""What the packages' scripts do where something is in their way, on hosts on which nothing runs."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from pam_tailscale import paths
from tests.support import debs
from tests.support.booted import booted_root
from tests.support.machine import DROP_IN
from tests.support.roots import Suite
from tests.support.sandbox import Sandbox

MARKER, CHANGE, CONFIG = str(paths.ENABLED), str(paths.CHANGE), str(paths.CONFIG)
SECRET = "/etc/pam-tailscale/client-secret"
DOCTOR = "pam-tailscale doctor"


@pytest.fixture
def host(suite: Suite) -> Iterator[Sandbox]:
    """A host without our packages."""
    with Sandbox(booted_root(suite), hostname="host") as box:
        yield box


@pytest.fixture
def installed(host: Sandbox, packages: tuple[Path, ...]) -> Sandbox:
    """The host with our packages."""
    debs.install(host, packages)
    return host


def state(box: Sandbox, package: str = "pam-tailscale") -> str:
    """What dpkg calls a package."""
    return box.run(["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]).stdout


def reinstall_sshd(box: Sandbox) -> CompletedProcess[str]:
    """Unpacks and configures Debian's sshd over itself, as an upgrade does; the root keeps its package."""
    return box.run(["sh", "-euc", "dpkg --install /var/cache/apt/archives/openssh-server_*.deb"])


def test_another_sshd_refreshes_only_where_it_is_on(installed: Sandbox) -> None:
    """Where it is off, a new sshd is none of our business."""
    done = reinstall_sshd(installed)
    assert "Processing triggers for pam-tailscale" in done.stdout
    assert DOCTOR not in done.stderr
    assert not installed.exists(DROP_IN)


def test_a_refresh_that_fails_fails_nobody_elses_installation(installed: Sandbox) -> None:
    """The upgrade of sshd goes through, and the administrator is told what to ask."""
    installed.write(MARKER, "{}")
    done = reinstall_sshd(installed)
    assert DOCTOR in done.stderr
    assert state(installed) == state(installed, "openssh-server") == "installed"
    assert installed.read(MARKER) == "{}"


@pytest.mark.parametrize(("status", "refreshes"), [(101, False), (104, True)])
def test_a_refresh_asks_whether_sshd_may_be_reloaded(installed: Sandbox, status: int, *, refreshes: bool) -> None:
    """As whoever builds an image says (policy-rc.d); sshd's upgrade goes through, and what to run later is said."""
    policy = f"#!/bin/sh\ncase \"$*\" in 'ssh reload') exit {status} ;; esac\nexit 104\n"
    installed.write("/usr/sbin/policy-rc.d", policy, 0o755)
    installed.write(MARKER, "{}")
    done = reinstall_sshd(installed)
    assert (DOCTOR in done.stderr) is refreshes
    assert ("pam-tailscale enable --refresh" in done.stderr) is not refreshes
    assert state(installed) == state(installed, "openssh-server") == "installed"
    assert installed.read(MARKER) == "{}"


def test_an_upgrade_goes_through_where_its_refresh_fails(
    host: Sandbox, packages: tuple[Path, ...], lower_packages: tuple[Path, ...]
) -> None:
    """What was in force stays in force, so there is nothing to stop for."""
    debs.install(host, lower_packages)
    host.write(MARKER, "{}")
    for package in packages:
        host.write(f"/root/{package.name}", package.read_bytes())
    done = host.run(["dpkg", "--install", *(f"/root/{package.name}" for package in packages)])
    assert DOCTOR in done.stderr
    assert state(host) == "installed"


@pytest.mark.parametrize("path", [MARKER, CHANGE, DROP_IN])
def test_it_is_not_removed_while_anything_of_it_is_on(installed: Sandbox, path: str) -> None:
    """Neither with the marker, nor a change under way, nor the drop-in alone: here `disable` cannot read the file."""
    installed.run(["mkdir", "-p", path])
    done = installed.run(["dpkg", "--remove", "pam-tailscale"], check=False)
    assert done.returncode != 0
    assert "pam-tailscale disable" in done.stderr
    assert state(installed) == "installed"
    assert installed.run(["pam-tailscale", "--version"]).returncode == 0
    installed.run(["rmdir", path])
    installed.run(["dpkg", "--remove", "pam-tailscale"])


def test_a_drop_in_without_a_marker_goes_with_the_package(installed: Sandbox) -> None:
    """Of an installation by hand, for instance."""
    installed.write(DROP_IN, "# pam_tailscale\nUsePAM yes\n")
    installed.run(["dpkg", "--remove", "pam-tailscale"])
    assert not installed.exists(DROP_IN)


def test_what_is_the_administrators_survives_until_the_purge_and_secrets_longer(installed: Sandbox) -> None:
    """Removing keeps configuration and pin; purging keeps only what we neither wrote nor named."""
    made = {CONFIG: "allow_root = false\n", str(paths.PIN): "{}", str(paths.DROP_IN_DISABLED): "", SECRET: "secret"}
    for path, text in made.items():
        installed.write(path, text)
    installed.run(["dpkg", "--remove", "pam-tailscale"])
    assert all(installed.exists(path) for path in made)
    installed.run(["dpkg", "--purge", "pam-tailscale", "libpam-tailscale"])
    assert {path for path in made if installed.exists(path)} == {SECRET}
    assert not installed.exists("/var/lib/pam-tailscale")


def test_the_accounts_have_no_shell_and_no_home(installed: Sandbox) -> None:
    """Nobody logs in as they."""
    for name in ("pam-tailscale", "pam-tailscale-keys"):
        account = installed.account(name)
        assert account.shell == "/usr/sbin/nologin"
        assert account.home in {"/", "/nonexistent"}
        assert 0 < account.uid < 1000
