"""What test_switching.py promises can fail: with its defence taken away, the same run does what must never happen.

A defence is taken away by a few lines that run in front of the command and switch a step of it off.
"""

import pytest

from tests.integration.expect import lan_works
from tests.support.held import Held
from tests.support.host import DROP_IN
from tests.support.scene import Scene, tailnet_address
from tests.support.switching import BROKEN, Switched, look, switch, switch_on_unproved, switch_without

# What is wrong shows only once sshd goes by it, and whoever takes it back has no such trouble any more.
_SSHD_DOES_NOT_ANSWER = """
from pam_tailscale.errors import HostError
from pam_tailscale.host import asking
real = asking.ask
def ask(*args, **options):
    asking.ask = real
    raise HostError("sshd could not be asked")
asking.ask = ask
"""
_FOR_EVERYBODY = """
from pam_tailscale.host import dropin
real = dropin.text
def text(wanted):
    before, match, after = real(wanted).partition("Match LocalAddress ")
    return before + "Match all" + after[after.index("\\n"):]
dropin.text = text
"""
_NO_PROOF = "from pam_tailscale.host.proving import proof\nproof.prove = lambda plan, say: ()\n"


@pytest.fixture
def scene(switched_off: Scene) -> Scene:
    """A host on which nothing is switched on."""
    return switched_off


@pytest.mark.parametrize(("patch", "gets_in"), [("", False), ("switch.end_waiting = lambda: 0", True)])
def test_4_without_ending_them_who_waits_at_the_door_walks_in(scene: Scene, patch: str, *, gets_in: bool) -> None:
    """The connection still goes by the drop-in; in the PAM half's place is what asks for a password, and has none."""
    switch_on_unproved(scene.host)
    held = Held(scene.client.box, tailnet_address(1, 4), "decoy", "")
    lines = f"from pam_tailscale.host import switch\n{patch}\n"
    assert switch_without(scene.host, lines, "disable").status == 0
    assert ("in" in held.goes_on().values()) is gets_in


def test_4_without_telling_sshd_the_door_stays_open(scene: Scene) -> None:
    """It hands the tailnet's connections to PAM by what it has read, where nobody asks the policy any more."""
    switch_on_unproved(scene.host)
    lines = "from pam_tailscale.host.sshd import Sshd\nSshd.reload = lambda self: True\n"
    told = switch_without(scene.host, lines, "disable")
    assert (told.status, "does not go by its files as they are now" in told.document["problem"]) == (1, True), told
    assert scene.login("decoy", scene.nodes.stranger).returncode != 0
    lines += "from pam_tailscale.host import asking\nasking.ask = lambda *_, **__: []\n"
    assert switch_without(scene.host, lines, "disable").status == 0
    assert scene.login("decoy", scene.nodes.stranger).returncode == 0


def test_4_an_open_door_is_seen_at_the_running_sshd(scene: Scene) -> None:
    """By a module that says yes to everything, which the proof was kept from finding; without asking it stays."""
    box, host = scene.host.box, scene.host
    before = look(host)
    box.run(["cp", f"{host.module_file.rpartition('/')[0]}/pam_permit.so", host.module_file])
    try:
        refused = switch_without(host, _NO_PROOF, "enable")
        assert (refused.status, look(host) == before) == (1, True), refused
        assert "without asking for anything" in refused.document["problem"]
        lines = "from pam_tailscale.host import asking\nasking.ask = lambda *_, **__: []\n"
        assert switch_without(host, _NO_PROOF + lines, "enable").status == 0
        assert scene.login("decoy", scene.nodes.stranger).returncode == 0
    finally:
        host.install_shims()


def test_9_without_taking_back_a_failed_run_stays(scene: Scene) -> None:
    """Sshd goes by what was never seen to work."""
    before = look(scene.host)
    failed = switch_without(scene.host, _SSHD_DOES_NOT_ANSWER + _NO_PROOF, "enable")
    assert (failed.status, look(scene.host) == before) == (1, True), failed
    lines = "from pam_tailscale.host.enable import Enabler\nEnabler._take_back = lambda *_: None\n"
    failed = switch_without(scene.host, _SSHD_DOES_NOT_ANSWER + _NO_PROOF + lines, "enable")
    assert (failed.status, scene.host.box.exists(DROP_IN)) == (1, True), failed
    assert scene.login("alice").returncode == 0


def test_9_without_testing_first_an_error_of_somebody_elses_ends_sshd(scene: Scene) -> None:
    """And nobody is let in from anywhere."""
    switch_on_unproved(scene.host)
    scene.host.box.write(BROKEN, "NoSuchThing yes\n")
    assert switch(scene.host, "disable").status == 1
    assert lan_works(scene)
    lines = "from pam_tailscale.host.sshd import Sshd\nSshd.test = lambda self: None\n"
    assert switch_without(scene.host, lines, "disable").status == 1
    assert not lan_works(scene)


def test_2_without_the_proof_a_drop_in_for_everybody_is_one_for_the_lan(scene: Scene) -> None:
    """Nothing else sees it: the files are whole, and on the tailnet everything is as it should be.

    Passwords are not asked for on the LAN then, and before 9.8 the empty one opens.
    """
    before = look(scene.host)
    refused = switch_without(scene.host, _FOR_EVERYBODY, "enable")
    assert (refused.status, "the proof failed" in refused.document["problem"]) == (1, True), refused
    assert look(scene.host) == before
    assert lan_works(scene)
    assert not _empty_password_works(scene)
    on: Switched = switch_without(scene.host, _FOR_EVERYBODY + _NO_PROOF, "enable")
    assert on.status == 0, on
    assert scene.login("alice").returncode == 0
    assert not lan_works(scene)
    assert _empty_password_works(scene) is not scene.host.has_service_names


def _empty_password_works(scene: Scene) -> bool:
    return scene.lan_login("decoy").returncode == 0
