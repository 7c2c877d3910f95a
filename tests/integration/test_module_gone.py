"""Parts of the installation that are gone or broken: the tailnet is refused, the LAN is as ever."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from pam_tailscale.model import Reason
from tests.integration.expect import lan_as_ever, let_in, nobody_from_the_tailnet, not_let_in, refused
from tests.support.documented import commands
from tests.support.early_connection import EarlyConnection
from tests.support.host import DROP_IN, HELPER, ROOT_PASSWORD, Host
from tests.support.scene import LAN, Scene, tailnet_address
from tests.support.shims import compile_module
from tests.support.waiting import wait_until
from tests.support.waiting_login import plain_ssh

# Every entry point of a module that crashes; `when` decides whether it does.
_CRASHING = """
#include <security/pam_modules.h>
#include <security/pam_ext.h>
#include <stdlib.h>
#include <string.h>
static int from_tailnet(pam_handle_t *pamh) {
    const char *text = pam_getenv(pamh, "SSH_CONNECTION");
    return text != NULL && (strncmp(text, "100.", 4) == 0 || strncmp(text, "fd7a:", 5) == 0);
}
static int crash(pam_handle_t *pamh) { if (from_tailnet(pamh)) abort(); return PAM_IGNORE; }
#define ENTRY(name) int name(pam_handle_t *p, int f, int c, const char **v) \\
    { (void)f; (void)c; (void)v; return crash(p); }
ENTRY(pam_sm_authenticate) ENTRY(pam_sm_setcred) ENTRY(pam_sm_acct_mgmt)
ENTRY(pam_sm_open_session) ENTRY(pam_sm_close_session)
"""
_WITHOUT_ENTRY_POINTS = "int nothing_here(void); int nothing_here(void) { return 0; }"
_EM_MACHINE = 18
"""Offset of e_machine in an ELF header (System V ABI, chapter 4)."""


def _missing(host: Host) -> None:
    host.box.run(["rm", host.module_file])


def _garbage(host: Host) -> None:
    host.box.write(host.module_file, b"\x7fELF but no more than that\n" * 200)


def _empty(host: Host) -> None:
    host.box.write(host.module_file, b"")


def _wrong_machine(host: Host) -> None:
    content = bytearray(host.box.path(host.module_file).read_bytes())
    content[_EM_MACHINE : _EM_MACHINE + 2] = (0xFFFE).to_bytes(2, "little")
    host.box.write(host.module_file, bytes(content))


def _no_entry_points(host: Host) -> None:
    host.box.write(host.module_file, compile_module(host.box, _WITHOUT_ENTRY_POINTS))


def _unresolved(host: Host) -> None:
    source = "void gone(void); int pam_sm_authenticate(void); int pam_sm_authenticate(void) { gone(); return 0; }"
    host.box.write(host.module_file, compile_module(host.box, source))


BROKEN = (_missing, _garbage, _empty, _wrong_machine, _no_entry_points, _unresolved)


@contextmanager
def _shims_restored(scene: Scene) -> Iterator[None]:
    try:
        yield
    finally:
        scene.host.install_shims()
        let_in(scene.login("alice"))


@contextmanager
def _halves_restored(scene: Scene) -> Iterator[None]:
    try:
        yield
    finally:
        scene.host.install_halves()
        scene.host.restart_sshd()
        let_in(scene.login("alice"))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda function: function.__name__.lstrip("_"))
def test_a_module_that_cannot_be_used_refuses_the_tailnet_alone(scene: Scene, broken: Callable[[Host], None]) -> None:
    """Whatever became of the module's file, from the tailnet nobody gets in, and the LAN does not notice."""
    with _shims_restored(scene):
        broken(scene.host)
        nobody_from_the_tailnet(scene)
        lan_as_ever(scene)


def test_a_module_that_crashes_refuses_the_tailnet_alone(scene: Scene) -> None:
    """A module that brings sshd's child down takes the one connection with it."""
    with _shims_restored(scene):
        scene.host.box.write(scene.host.module_file, compile_module(scene.host.box, _CRASHING))
        nobody_from_the_tailnet(scene, may_break=True)
        lan_as_ever(scene)


def test_a_helper_that_is_gone_leaves_none_alone(scene: Scene) -> None:
    """Without the key helper no key gets in over the tailnet; the other methods are as before."""
    with _shims_restored(scene):
        scene.host.box.run(["rm", HELPER])
        let_in(scene.login("alice"))
        refused(scene.login("alice", scene.nodes.bob, key=scene.client.make_key("alice")))
        lan_as_ever(scene, passwords=False)


def test_without_the_drop_in_nobody_gets_in_by_the_policy(scene: Scene) -> None:
    """The PAM half alone opens nothing: `none` fails, and no empty password and no password of root's is enough."""
    with _halves_restored(scene):
        scene.host.box.run(["rm", DROP_IN])
        scene.host.restart_sshd()
        refused(scene.login("alice"))
        refused(scene.login("decoy", scene.nodes.stranger))
        refused(scene.login("decoy", scene.nodes.stranger, password=""))
        lan_as_ever(scene)


def test_without_the_drop_in_old_sshd_still_asks_the_policy(scene: Scene) -> None:
    """Before 9.8 our lines stand in sshd's own service, so a password or key from the tailnet still meets the policy.

    From 9.8 on, the service file that nobody names is without effect and the tailnet is a network like any other.
    """
    with _halves_restored(scene):
        scene.host.box.run(["rm", DROP_IN])
        scene.host.restart_sshd()
        done = scene.login("alice", scene.nodes.stranger, key=scene.client.make_key("alice"))
        (let_in if scene.host.has_service_names else not_let_in)(done)


def _no_pam_half(host: Host) -> None:
    if host.has_service_names:
        host.box.run(["rm", host.pam_file])
    else:
        host.box.write(host.pam_file, host.stock_pam)


def _pam_half_cut(host: Host) -> None:
    """A type of the service is missing, or a line of ours."""
    lines = host.pam_half().splitlines(keepends=True)
    host.box.write(
        host.pam_file, "".join(line for line in lines if not line.startswith("account") or "include" in line)
    )


def _pam_half_weakened(host: Host) -> None:
    host.box.write(host.pam_file, host.pam_half().replace("default=die", "default=ignore"))


def _line_above(host: Host) -> None:
    host.box.write(host.pam_file, "auth sufficient pam_unix.so nullok\n" + host.pam_half())


ALTERED = (_no_pam_half, _pam_half_cut, _pam_half_weakened, _line_above)


@pytest.mark.parametrize("alter", ALTERED, ids=lambda function: function.__name__.lstrip("_"))
def test_the_drop_in_does_not_stay_in_force_without_its_pam_half(scene: Scene, alter: Callable[[Host], None]) -> None:
    """The check before every start and reload of sshd takes the drop-in away; the doors that it opened are shut."""
    host = scene.host
    with _halves_restored(scene):
        alter(host)
        said = host.check_halves().stderr
        assert "missing or altered" in said
        assert not host.box.exists(DROP_IN)
        host.restart_sshd()
        for user, password in (("decoy", None), ("decoy", ""), ("alice", None)):
            refused(scene.login(user, scene.nodes.stranger, password=password))
        lan_as_ever(scene)


def _pam_half_replaced(host: Host) -> None:
    """By a package's own file, as an upgrade does; from 9.8 on by anybody."""
    host.box.write(host.pam_file, host.stock_pam)


def _pam_file_gone(host: Host) -> None:
    host.box.run(["rm", host.pam_file])


@pytest.mark.parametrize(
    "alter", [_pam_half_replaced, _pam_file_gone], ids=lambda function: function.__name__.lstrip("_")
)
def test_a_sshd_that_cannot_be_told_goes_on_asking_the_policy(scene: Scene, alter: Callable[[Host], None]) -> None:
    """Its configuration has an error, so it does not read that anew: the door stays shut, and who may get in does."""
    host = scene.host
    host.install_systemctl("exit 1\n")
    with _halves_restored(scene):
        alter(host)
        let_in(scene.login("decoy", scene.nodes.stranger))
        assert host.check_halves("--reload", check=False).returncode == 1
        for user, password in (("decoy", None), ("decoy", ""), ("root", ROOT_PASSWORD), ("alice", None)):
            refused(scene.login(user, scene.nodes.stranger, password=password))
        let_in(scene.login("alice"))
        lan_as_ever(scene)


# Connections that began before a half was lost


@contextmanager
def _connected(scene: Scene, *addresses: str) -> Iterator[list[EarlyConnection]]:
    """Two connections to each address, one that says nothing and one that does."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(EarlyConnection(scene.client.box, address, speaks=speaks))
            for address in addresses
            for speaks in (False, True)
        ]


@contextmanager
def _session(scene: Scene) -> Iterator[subprocess.Popen[bytes]]:
    """Alice is logged in over the tailnet."""
    address = tailnet_address(1, 4)
    command = plain_ssh("alice", address, source=scene.nodes.alice.addresses[0], remote="echo in; exec sleep 300")
    log = "/var/log/session.log"
    scene.client.box.run(["rm", "-f", log])
    session = scene.client.box.popen(command, log)
    try:
        wait_until(lambda: "in\n" in scene.client.box.read(log), 10, "alice is logged in")
        yield session
    finally:
        session.kill()
        session.wait(10)


_TAILNET_ADDRESSES = (tailnet_address(1, 4), tailnet_address(1, 6))


def test_the_check_ends_what_began_before_over_the_tailnet_alone(scene: Scene) -> None:
    """Each goes by what sshd said when it began, also one before its first line; sessions and the LAN stay."""
    host = scene.host
    host.install_systemctl("exit 0\n")
    with (
        _halves_restored(scene),
        _session(scene) as session,
        _connected(scene, *_TAILNET_ADDRESSES) as tailnet,
        _connected(scene, *LAN.values()) as lan,
    ):
        host.box.run(["rm", host.pam_file] if host.has_service_names else ["cp", "/dev/null", host.pam_file])
        assert host.check_halves("--reload").returncode == 0
        assert [connection.is_open() for connection in tailnet] == [False] * 4
        assert [connection.is_open() for connection in lan] == [True] * 4
        assert session.poll() is None


def test_by_hand_everything_before_a_login_ends(scene: Scene) -> None:
    """With the commands of docs/break-glass.md."""
    with _session(scene) as session, _connected(scene, *_TAILNET_ADDRESSES) as waiting:
        scene.host.box.run(["sh", "-euc", commands("docs/break-glass.md", "Without our command", 2)])
        assert [connection.is_open() for connection in waiting] == [False] * 4
        assert session.poll() is None
    let_in(scene.login("alice"))


def test_the_check_leaves_whole_halves_alone(scene: Scene) -> None:
    """Nothing is wrong, so nothing is said or changed."""
    done = scene.host.check_halves()
    assert (done.stdout, done.stderr) == ("", "")
    assert scene.host.box.read(DROP_IN) == scene.host.drop_in()


def test_an_altered_drop_in_goes(scene: Scene) -> None:
    """A drop-in that somebody edited may be open in ways nobody checked."""
    with _halves_restored(scene):
        scene.host.box.write(DROP_IN, scene.host.drop_in().replace("AuthorizedKeysFile none", ""))
        assert "is altered" in scene.host.check_halves().stderr
        assert not scene.host.box.exists(DROP_IN)


def test_an_agent_in_another_mode_than_the_module_refuses(scene: Scene) -> None:
    """The agent is set to observe, sshd to enforce: that is a mistake, and not one that opens anything."""
    scene.host.configure('mode = "observe"\n')
    scene.host.stop_agent()
    scene.host.start_agent()
    try:
        assert scene.reason(lambda: nobody_from_the_tailnet(scene)) == Reason.MODE_MISMATCH.value
        lan_as_ever(scene, passwords=False)
    finally:
        scene.host.configure("")
        scene.restart_agent()
        let_in(scene.login("alice"))
