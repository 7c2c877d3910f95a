"""check-halves: the drop-in is in force only with its other half, and a host that is being changed is not disturbed."""

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from pam_tailscale import paths
from pam_tailscale.host.arrangement import PATHS, File, Part, Wanted, applied, arrange, removed
from pam_tailscale.host.version import OpenSSH
from tests.support.host import CHECK_HALVES, DISABLED, DROP_IN, HALVES, Host
from tests.support.roots import Suite, debian_root
from tests.support.sandbox import Sandbox
from tests.support.shims import build_shims
from tests.support.waiting import wait_until

LOCK = str(paths.LOCK)
SSHD = str(paths.PAM_SSHD)
_ASKED = "/run/systemctl-asked"
_SOCKET_RESTART = [
    "--quiet is-active ssh.socket",
    # Before, so that systemd's limit of starts does not count those of others.
    "reset-failed ssh.service",
    "try-restart ssh.service",
]


@pytest.fixture(scope="module")
def installed(suite: Suite) -> Iterator[Host]:
    """A host on which nothing runs."""
    with Sandbox(debian_root(suite), "host") as box, Host(box, build_shims(suite)) as made:
        yield made


@pytest.fixture
def host(installed: Host) -> Host:
    """The same, switched on; a reload of sshd succeeds and is noted."""
    for path in (*PATHS, _ASKED, LOCK):
        installed.box.run(["rm", "-f", path])
    installed.box.run(["install", "-d", "-o", "0", "-g", "0", "-m", "0755", HALVES, "/var/lib/pam-tailscale"])
    installed.box.write(SSHD, installed.stock_pam)
    installed.install_halves()
    reloads(installed, 0)
    return installed


def reloads(host: Host, status: int) -> None:
    """What a reload of sshd ends with."""
    host.install_systemctl(f'echo "$*" >> {_ASKED}\nexit {status}\n')


def has_socket_activation(host: Host) -> None:
    """Systemd listens for sshd."""
    host.box.write("/usr/local/sbin/systemctl", f'#!/bin/sh\necho "$*" >> {_ASKED}\n', 0o755)


def asked(host: Host) -> list[str]:
    """What systemctl was asked to do."""
    return host.box.read(_ASKED).splitlines() if host.box.exists(_ASKED) else []


def present(host: Host) -> dict[str, bytes]:
    """The files as they are."""
    return {path: host.box.path(path).read_bytes() for path in PATHS if host.box.exists(path)}


def whole(host: Host) -> dict[str, bytes]:
    """The files as they were when the host was switched on."""
    return dict(applied(host.arrangement(), {SSHD: host.stock_pam.encode()}))


def written(host: Host) -> list[str]:
    """What belongs together."""
    return [file.path for file in host.arrangement() if file.part is not Part.AGENT]


def put(host: Host, file: File) -> None:
    """One step of switching on or off."""
    if file.content is None:
        host.box.run(["rm", "-f", file.path])
    else:
        host.box.write(file.path, file.content)


def test_what_is_whole_is_left_alone(host: Host) -> None:
    """Whoever asks, and also where the administrator has written below our lines."""
    for options in ([], ["--reload"]):
        done = host.check_halves(*options)
        assert (done.stdout, done.stderr) == ("", "")
    assert present(host) == whole(host)
    host.box.write(SSHD, host.box.read(SSHD) + "session optional pam_echo.so\n")
    assert host.check_halves().stderr == ""
    assert asked(host) == []


# What may become of a file


def _missing(host: Host, path: str) -> None:
    host.box.run(["rm", path])


def _empty(host: Host, path: str) -> None:
    host.box.write(path, b"")


def _another_first_byte(host: Host, path: str) -> None:
    host.box.write(path, b"\n" + host.box.path(path).read_bytes()[1:])


def _a_line_above(host: Host, path: str) -> None:
    host.box.write(path, b"# managed by hand\n" + host.box.path(path).read_bytes())


ALTERED = (_missing, _empty, _another_first_byte, _a_line_above)


@pytest.mark.parametrize("alter", ALTERED, ids=lambda function: function.__name__.lstrip("_"))
def test_whatever_is_altered_the_drop_in_goes(host: Host, alter: Callable[[Host, str], None]) -> None:
    """Each of the files, by a single byte; what it says is which."""
    for path in written(host):
        alter(host, path)
        said = host.check_halves().stderr
        assert not host.box.exists(DROP_IN), path
        assert "pam-tailscale enable" in said or path == DROP_IN
        assert path.startswith(HALVES) or path in said or not host.box.exists(path), said
        host.install_halves()
    assert host.check_halves().stderr == ""


def test_a_part_is_not_enough(host: Host) -> None:
    """The last line of what was written is missing."""
    for file in host.arrangement():
        if file.part in (Part.PAM, Part.DROP_IN):
            assert file.content is not None
            ours = file.content.removesuffix(host.stock_pam.encode())
            host.box.write(file.path, b"".join(ours.splitlines(keepends=True)[:-1]))
            assert file.path in host.check_halves().stderr
            assert not host.box.exists(DROP_IN)
            host.install_halves()


def test_a_drop_in_that_was_taken_away_is_kept_for_the_administrator(host: Host) -> None:
    """Where sshd does not read it, and whoever edited it finds it."""
    host.box.write(DROP_IN, f"# mine\n{host.drop_in()}")
    said = host.check_halves().stderr
    assert f"{DROP_IN} is altered" in said
    assert host.box.read(DISABLED) == f"# mine\n{host.drop_in()}"


def test_references_are_believed_only_where_root_alone_can_write_them(host: Host) -> None:
    """Whoever else can write them, or put others in their place, would say what is whole."""
    service = f"{HALVES}/drop-in"
    for command in (
        ["chmod", "g+w", service],
        ["chmod", "o+w", service],
        ["chown", "nobody", service],
        ["chmod", "o+w", HALVES],
        ["chown", "nobody", HALVES],
        ["chmod", "g+w", "/var/lib/pam-tailscale"],
        ["chown", "nobody", "/var/lib/pam-tailscale"],
        ["sh", "-c", f"mv {service} /run/elsewhere && ln -s /run/elsewhere {service}"],
        ["sh", "-c", f"mv {HALVES} /run/halves && ln -s /run/halves {HALVES}"],
    ):
        host.box.run(command)
        assert "not root alone may write it" in host.check_halves().stderr, command
        assert not host.box.exists(DROP_IN)
        host.box.run(["rm", "-rf", HALVES, "/run/halves", "/run/elsewhere"])
        host.box.run(["install", "-d", "-o", "0", "-g", "0", "-m", "0755", HALVES, "/var/lib/pam-tailscale"])
        host.install_halves()
    assert host.check_halves().stderr == ""


def test_a_drop_in_without_any_record_goes(host: Host) -> None:
    """Nobody can say what it belongs to."""
    host.box.run(["rm", "-r", HALVES])
    assert "no record" in host.check_halves().stderr
    assert not host.box.exists(DROP_IN)


# While the host is being changed


def test_a_look_at_any_moment_of_a_change_is_safe(host: Host) -> None:
    """After every single step, on and off, also from one arrangement to the other: nothing has to be taken away."""
    keys = host.box.account("pam-tailscale-keys")
    for openssh in (OpenSSH(9, 2), OpenSSH(10, 0), OpenSSH(9, 2)):
        wanted = Wanted(openssh, keys_uid=keys.uid, keys_gid=keys.gid, allow_root=False)
        for steps in (removed(present(host)), arrange(wanted, {SSHD: host.stock_pam.encode()})):
            assert steps
            for step in steps:
                put(host, step)
                assert host.check_halves().stderr == "", step.path
        assert host.box.exists(DROP_IN)


@pytest.mark.parametrize("backwards", [slice(None, None, -1)])
def test_in_another_order_it_would_not_be(host: Host, backwards: slice) -> None:
    """The test above can fail: the drop-in first, and it is taken away."""
    said = ""
    for step in removed(present(host)):
        put(host, step)
    for step in host.arrangement()[backwards]:
        put(host, step)
        said += host.check_halves().stderr
    assert "The drop-in is now" in said


class Change:
    """Somebody who is changing the host, and holds the lock until told to let go."""

    def __init__(self, host: Host) -> None:
        held = "/run/lock-held"
        script = f"umask 077; exec 9>> {LOCK}; flock 9; touch {held}; exec sleep 300"
        self._process = host.box.popen(["sh", "-c", script], "/var/log/change.log")
        wait_until(lambda: host.box.exists(held), 10, "the lock is held")
        host.box.run(["rm", held])

    def end(self) -> None:
        """Lets go."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


@pytest.fixture
def change(host: Host) -> Iterator[Change]:
    """A change under way."""
    made = Change(host)
    yield made
    made.end()


def started(host: Host, *options: str) -> subprocess.Popen[bytes]:
    """check-halves, not waited for."""
    return host.box.popen([CHECK_HALVES, *options], "/var/log/check-halves.log")


def waits(host: Host) -> bool:
    """Whether somebody waits for the lock."""
    return "flock -w" in host.box.run(["ps", "-eo", "args="]).stdout


def test_it_waits_for_a_change_that_is_under_way(host: Host, change: Change) -> None:
    """What is not whole meanwhile may be in a moment; then nothing is done."""
    host.box.run(["mv", host.pam_file, "/run/away"])
    check = started(host, "--reload")
    wait_until(lambda: waits(host), 10, "it waits")
    assert host.box.exists(DROP_IN)
    host.box.run(["mv", "/run/away", host.pam_file])
    change.end()
    assert check.wait(10) == 0
    assert present(host) == whole(host)
    assert asked(host) == []


@pytest.mark.usefixtures("change")
def test_it_does_not_wait_for_ever(host: Host) -> None:
    """A change that hangs does not keep the door open."""
    host.box.run(["rm", host.pam_file])
    assert started(host, "--reload").wait(20) == 0
    assert not host.box.exists(DROP_IN)
    assert asked(host) == ["try-reload-or-restart ssh.service"]


@pytest.mark.usefixtures("change")
def test_as_a_part_of_sshds_reload_it_does_not_wait(host: Host) -> None:
    """Whoever holds the lock may be waiting for that very reload."""
    host.box.run(["rm", host.pam_file])
    check = started(host)
    wait_until(lambda: waits(host) or check.poll() is not None, 10, "it ends or waits")
    assert check.poll() == 0
    assert not host.box.exists(DROP_IN)


@pytest.mark.usefixtures("change")
def test_what_is_whole_is_not_waited_for(host: Host) -> None:
    """Most changes of a watched directory are nobody's business here."""
    check = started(host, "--reload")
    wait_until(lambda: waits(host) or check.poll() is not None, 10, "it ends or waits")
    assert check.poll() == 0


def test_a_drop_in_that_went_while_it_waited_is_no_alarm(host: Host, change: Change) -> None:
    """The host was being switched off."""
    host.box.run(["rm", host.pam_file])
    check = started(host, "--reload")
    wait_until(lambda: waits(host), 10, "it waits")
    host.box.run(["rm", DROP_IN])
    change.end()
    assert check.wait(10) == 0
    assert not host.box.exists(DISABLED)
    assert asked(host) == []


# Telling sshd


def test_a_running_sshd_is_told(host: Host) -> None:
    """When a file has changed, but not as a part of sshd's own reload."""
    host.box.run(["rm", host.pam_file])
    assert host.check_halves("--reload").returncode == 0
    assert asked(host) == ["try-reload-or-restart ssh.service"]
    host.install_halves()
    host.box.run(["rm", host.pam_file])
    host.check_halves()
    assert len(asked(host)) == 1


def alterations(host: Host) -> Sequence[Callable[[], object]]:
    """Ways to lose a half."""
    stock = host.stock_pam if host.pam_file == SSHD else "# by a package\n"
    return [
        lambda: host.box.write(host.pam_file, stock),
        lambda: host.box.write(host.pam_file, host.pam_half().replace("default=die", "default=ignore")),
        lambda: host.box.write(DROP_IN, "# mine\n"),
        lambda: host.box.run(["rm", host.pam_file]),
        lambda: host.box.run(["rm", "-f", str(paths.PAM_SERVICE), str(paths.NOT_TAILNET)]),
    ]


def test_a_sshd_that_has_its_socket_from_systemd_is_restarted(host: Host) -> None:
    """Told to read its files again it would end. With a configuration that it refuses it is left alone."""
    has_socket_activation(host)
    host.box.run(["rm", host.pam_file])
    assert host.check_halves("--reload", check=False).returncode == 0
    assert asked(host) == _SOCKET_RESTART
    host.install_halves()
    host.box.run(["rm", host.pam_file])
    host.box.write("/etc/ssh/sshd_config.d/60-broken.conf", "NoSuchKeyword yes\n")
    try:
        assert host.check_halves("--reload", check=False).returncode == 1
    finally:
        host.box.run(["rm", "/etc/ssh/sshd_config.d/60-broken.conf"])
    assert asked(host)[3:] == ["--quiet is-active ssh.socket"]


def test_a_sshd_that_has_not_run_since_boot_takes_its_configuration(host: Host) -> None:
    """ssh.service makes the directory that sshd wants, and where a connection is waited for it has not been started."""
    has_socket_activation(host)
    host.box.run(["rmdir", "/run/sshd"])
    host.box.run(["rm", host.pam_file])
    done = host.check_halves("--reload", check=False)
    assert (done.returncode, host.box.exists(DROP_IN)) == (0, False), done.stderr
    assert host.box.run(["stat", "--format=%a %U %G", "/run/sshd"]).stdout == "755 root root\n"
    assert asked(host) == _SOCKET_RESTART


def test_sshd_is_told_twice(host: Host) -> None:
    """While it executes itself anew it ignores the signal, so a second later the watch asks once more."""
    host.box.run(["rm", host.pam_file])
    for times in (1, 2):
        assert host.check_halves("--reload").returncode == 0
        assert asked(host) == ["try-reload-or-restart ssh.service"] * times


def test_where_sshd_cannot_be_told_its_other_half_comes_back(host: Host) -> None:
    """An error in sshd_config keeps it from reading that: it goes on by the drop-in, so both halves must be there."""
    reloads(host, 1)
    for alter in alterations(host):
        alter()
        done = host.check_halves("--reload", check=False)
        assert done.returncode == 1
        assert "both halves were put back" in done.stderr
        assert host.check_halves().stderr == ""
        assert host.box.read(DROP_IN) == host.drop_in()
        assert host.box.read(host.pam_file).startswith(host.pam_half().removesuffix(host.stock_pam))
        host.install_halves()


def test_what_else_stands_in_pams_file_stays_when_it_comes_back(host: Host) -> None:
    """A package's new file is not lost, and the file's mode is kept."""
    reloads(host, 1)
    other = b"# a newer one\n" + host.stock_pam.encode()
    host.box.write(SSHD, other, 0o640)
    if host.has_service_names:
        host.box.run(["rm", host.pam_file])
    host.check_halves("--reload", check=False)
    assert host.box.path(SSHD).read_bytes().endswith(other)
    assert host.box.path(SSHD).stat().st_mode & 0o777 == 0o640
    assert dict(applied(removed(present(host)), present(host))) == {SSHD: other}


def test_a_service_without_a_file_goes_on_as_it_would(host: Host) -> None:
    """Before 9.8 our lines alone would let nobody in from elsewhere; what libpam takes then is `other`."""
    reloads(host, 1)
    host.box.run(["rm", SSHD])
    host.box.run(["rm", "-f", str(paths.PAM_SERVICE)])
    host.check_halves("--reload", check=False)
    assert host.check_halves().stderr == ""
    if host.has_service_names:
        assert not host.box.exists(SSHD)
    else:
        assert File(SSHD, b"@include other\n", Part.PAM) in removed(present(host))


def test_it_comes_back_also_where_another_check_was_first(host: Host) -> None:
    """The one before a reload took the drop-in away, and then sshd did not reload."""
    reloads(host, 1)
    host.box.run(["rm", host.pam_file])
    host.check_halves()
    assert not host.box.exists(DROP_IN)
    assert host.check_halves("--reload", check=False).returncode == 1
    assert host.box.read(DROP_IN) == host.drop_in()
    assert host.check_halves().stderr == ""


def test_without_a_record_nothing_can_come_back(host: Host) -> None:
    """It says so, and does not leave the drop-in there alone."""
    reloads(host, 1)
    host.box.run(["rm", "-r", HALVES])
    host.box.run(["rm", host.pam_file])
    done = host.check_halves("--reload", check=False)
    assert done.returncode == 1
    assert "without its other half" in done.stderr
    assert not host.box.exists(DROP_IN)


# Connections that have not logged in


_HOLDS_A_CONNECTION = """
import socket, sys, time
name, here, address = sys.argv[1:]
family = socket.AF_INET6 if ":" in here else socket.AF_INET
with socket.create_server((here, 0), family=family, dualstack_ipv6=family == socket.AF_INET6) as listener:
    with socket.create_connection((address, listener.getsockname()[1])):
        connection, _ = listener.accept()
with open("/proc/self/comm", "w") as comm:
    comm.write(name)
print("ready", flush=True)
time.sleep(300)
"""
_LAN = "192.168.64.100"
"""The bytes of a tailnet address, backwards."""


class Connection:
    """A process that has taken a connection, and calls itself as one of sshd's does."""

    def __init__(
        self, host: Host, name: str, address: str, *, here: str = "::", user: str = "sshd", before: Sequence[str] = ()
    ) -> None:
        log = "/var/log/connection.log"
        host.box.run(["rm", "-f", log])
        argv = [*before, "python3", "-c", _HOLDS_A_CONNECTION, name, here, address]
        self._process = host.box.popen(argv, log, user=None if before else user)
        wait_until(lambda: host.box.read(log) == "ready\n", 10, f"{name} has its connection to {address}")

    def has_ended(self) -> bool:
        """Whether it was ended; signals that were sent before this count."""
        with suppress(subprocess.TimeoutExpired):
            assert self._process.wait(0.2) == -signal.SIGKILL
        return self._process.poll() is not None

    def end(self) -> None:
        """Hangs up."""
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def connected(host: Host) -> Iterator[Callable[..., Connection]]:
    """Makes connections to the host, which has tailnet addresses and others."""
    for address in (*_TAILNET, *_ELSEWHERE):
        host.box.run(["ip", "address", "replace", f"{address}/{128 if ':' in address else 32}", "dev", "lo"])
    made: list[Connection] = []

    def connect(*args: str, **options: Any) -> Connection:
        made.append(Connection(host, *args, **options))
        return made[-1]

    yield connect
    for connection in made:
        connection.end()


_TAILNET = ("100.64.0.1", "100.127.255.254", "fd7a:115c:a1e0::99", "fd7a:115c:a1e0:ab12:ffff:ffff:ffff:ffff")
_ELSEWHERE = (_LAN, "100.63.255.254", "100.128.0.1", "fd7a:115c:a1e1::99", "fd7b:115c:a1e0::99", "64.64.0.100")


def test_connections_over_the_tailnet_that_have_not_logged_in_end(
    host: Host, connected: Callable[..., Connection]
) -> None:
    """They go by what sshd said when they began; also those that came while it was being told."""
    for _ in range(2):
        waiting = [connected("sshd", address) for address in _TAILNET]
        waiting += [connected("sshd", address, here="0.0.0.0") for address in _TAILNET if "." in address]
        waiting += [connected(name, _TAILNET[0]) for name in ("sshd-session", "sshd-auth")]
        host.box.run(["rm", "-f", host.pam_file])
        host.check_halves("--reload")
        assert [connection.has_ended() for connection in waiting] == [True] * len(waiting)


def test_no_others_end(host: Host, connected: Callable[..., Connection]) -> None:
    """Sessions, logins from elsewhere, and what has the same number for another account, or sshd's in a container."""
    container = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "setpriv",
        "--reuid=sshd",
        "--regid=65534",
        "--clear-groups",
    ]
    others = [
        connected("sshd", _TAILNET[0], user="alice"),
        connected("nginx", _TAILNET[0]),
        connected("sshd-keygen", _TAILNET[0]),
        connected("sshd", _TAILNET[0], before=container),
        *(connected("sshd", address) for address in _ELSEWHERE),
        *(connected("sshd", address, here="0.0.0.0") for address in _ELSEWHERE if "." in address),
    ]
    host.box.run(["rm", host.pam_file])
    host.check_halves("--reload")
    assert [connection.has_ended() for connection in others] == [False] * len(others)


@pytest.mark.parametrize(
    ("program", "script"),
    [("od", "echo 256"), ("awk", "exit 1"), ("cat", "exit 1"), ("find", "exit 1")],
    ids=["bytes in another order", "no awk", "nothing to read", "nothing to see"],
)
def test_where_it_cannot_be_seen_from_where_they_came_all_end(
    host: Host, connected: Callable[..., Connection], program: str, script: str
) -> None:
    """Those from elsewhere, too: they can try again."""
    waiting = connected("sshd", _LAN)
    host.box.run(["rm", host.pam_file])
    fake = f"/usr/local/sbin/{program}"
    host.box.write(fake, f"#!/bin/sh\n{script}\n", 0o755)
    try:
        host.check_halves("--reload")
    finally:
        host.box.run(["rm", fake])
    assert waiting.has_ended()


def test_a_host_that_was_switched_off_is_not_looked_at(host: Host) -> None:
    """Nothing of ours is in force."""
    for step in removed(present(host)):
        put(host, step)
    for options in ([], ["--reload"]):
        done = host.check_halves(*options)
        assert (done.stdout, done.stderr) == ("", "")
    assert asked(host) == []
