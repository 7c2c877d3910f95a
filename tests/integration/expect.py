"""What a login came to, as assertions that say what was seen instead."""

from subprocess import CompletedProcess

from tests.support.client import Client
from tests.support.host import ROOT_PASSWORD, USER_PASSWORD
from tests.support.scene import Scene

Done = CompletedProcess[str]

ATTEMPTS: tuple[tuple[str, str | None], ...] = (
    ("alice", None),
    ("alice", USER_PASSWORD),
    ("root", None),
    ("root", ROOT_PASSWORD),
    ("decoy", None),
    ("decoy", ""),
)
"""Account and password typed, where one is: everybody who could get in if the policy did not decide."""


def let_in(done: Done) -> None:
    """The login succeeded, and so did the command."""
    assert done.returncode == 0, f"not let in: {done.returncode}, {done.stderr!r}"


def refused(done: Done) -> None:
    """The login was refused by sshd; it did not merely break."""
    assert done.returncode == 255, f"let in: {done.returncode}, {done.stdout!r}"
    assert "Permission denied" in done.stderr or "Too many authentication failures" in done.stderr, done.stderr


def not_let_in(done: Done) -> None:
    """The login failed, be it that the connection broke."""
    assert done.returncode == 255, f"let in: {done.returncode}, {done.stdout!r}"


def nobody_from_the_tailnet(scene: Scene, *, may_break: bool = False) -> None:
    """Whatever is tried from alice's node and a stranger's, nobody gets in. `may_break`: connections may end early."""
    check = not_let_in if may_break else refused
    for user, password in ATTEMPTS:
        check(scene.login(user, password=password))
    check(scene.login("decoy", scene.nodes.stranger))
    # The helper may have taken the key before the account phase ends the connection.
    not_let_in(scene.login("alice", key=scene.client.make_key("alice")))


def lan_as_ever(scene: Scene, *, passwords: bool = True) -> None:
    """From the LAN the right key and the right password get in, an empty password and a wrong key do not."""
    client: Client = scene.client
    let_in(scene.lan_login("alice", key=client.make_key("alice")))
    refused(scene.lan_login("alice", key=client.make_key("other")))
    refused(scene.lan_login("decoy"))
    refused(scene.lan_login("decoy", password=""))
    if passwords:
        let_in(scene.lan_login("alice", password=USER_PASSWORD))
        let_in(scene.lan_login("root", password=ROOT_PASSWORD))


def lan_works(scene: Scene) -> bool:
    """Whether root gets in from elsewhere by password, as always."""
    return scene.lan_login("root", password=ROOT_PASSWORD).returncode == 0
