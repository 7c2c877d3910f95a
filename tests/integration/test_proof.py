"""The proof that `enable` does first, on real sshd: that it can fail, and that it leaves nothing behind."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pam_tailscale.host.answers import Methods
from pam_tailscale.host.proving.trial import NOT_TRIED
from tests.integration.expect import let_in
from tests.support.host import DROP_IN, HELPER, LOCAL_CONF, Host
from tests.support.proving import command, plan, prove
from tests.support.sandbox import Sandbox
from tests.support.scene import FAMILIES, Family, Scene
from tests.support.waiting import wait_until

EARLIER = "/etc/ssh/sshd_config.d/05-earlier.conf"
LATER = "/etc/ssh/sshd_config.d/60-later.conf"
ACCESS = "/etc/security/not-tailnet.access"

# Everything that a login could leave behind, by when it was last changed.
_FILES = """
import json, os
found = {}
for top in ("/etc", "/home", "/root", "/run", "/tmp", "/usr", "/var", "/dev/shm"):
    for directory, directories, names in os.walk(top):
        for name in [*directories, *names]:
            status = os.lstat(os.path.join(directory, name))
            found[os.path.join(directory, name)] = [status.st_mode, status.st_uid, status.st_gid, status.st_ctime_ns]
print(json.dumps(found))
"""


COMMON_AUTH = "/etc/pam.d/common-auth"


@pytest.fixture(scope="module", autouse=True)
def _without_delay(scene: Scene) -> None:
    """pam_unix does not wait after a wrong password, which is most of what a proof takes."""
    text = scene.host.box.read(COMMON_AUTH)
    scene.host.box.write(COMMON_AUTH, text.replace("nullok", "nullok nodelay"))


@contextmanager
def as_debian_has_it(box: Sandbox) -> Iterator[None]:
    """pam_unix waits."""
    text = box.read(COMMON_AUTH)
    box.write(COMMON_AUTH, text.replace(" nodelay", ""))
    try:
        yield
    finally:
        box.write(COMMON_AUTH, text)


@contextmanager
def present(box: Sandbox, path: str, text: str) -> Iterator[None]:
    """A file that is there for a while, as if it always had been."""
    box.write(path, text)
    try:
        yield
    finally:
        box.run(["rm", path])


@contextmanager
def absent(box: Sandbox, path: str) -> Iterator[None]:
    """A file that is away for a while."""
    box.run(["mv", path, f"{path}.away"])
    try:
        yield
    finally:
        box.run(["mv", f"{path}.away", path])


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_is_as_it_should_be(scene: Scene, family: Family) -> None:
    """Each login comes to what it has to, over either family, and the policy has let somebody in by both methods."""
    with as_debian_has_it(scene.host.box):
        proof = prove(scene.host, plan(scene.host, family=family))
    assert (proof.error, proof.failed) == ("", {})
    assert [one.name for one in proof.outcomes if one.found == NOT_TRIED] == []
    assert proof.about("at port 22").found == "let in by none"
    assert proof.about("cannot do `none`").found == "let in by publickey"
    assert proof.about("as root with the right password").found == "let in by password"
    assert proof.about("with nothing to show").expected == "refused (publickey,password)"
    assert any("logins" in line for line in proof.said)


def test_it_is_the_plan_that_is_proved_and_not_what_the_host_has(scene: Scene) -> None:
    """A host on which nothing is written yet, as at the first `enable`."""
    given = plan(scene.host)
    with absent(scene.host.box, DROP_IN), absent(scene.host.box, scene.host.pam_file):
        if not scene.host.has_service_names:
            scene.host.box.write(scene.host.pam_file, scene.host.stock_pam)
        assert prove(scene.host, given).failed == {}


def test_a_key_in_addition(scene: Scene) -> None:
    """The policy's word is counted, and is not enough."""
    with present(scene.host.box, LATER, "AuthenticationMethods publickey,password\n"):
        proof = prove(scene.host, plan(scene.host, methods=Methods.WITH_KEY))
    assert (proof.error, proof.failed) == ("", {})
    assert proof.about("asked for in addition").found == "refused after a partial success by none"


def test_nobody_to_try_is_said(scene: Scene) -> None:
    """A policy that lets nobody in yet stops nothing, and is not passed over in silence."""
    proof = prove(scene.host, plan(scene.host, accept=False, deny=False))
    assert proof.failed == {}
    assert [one.name for one in proof.outcomes if one.found == NOT_TRIED] == [
        "over the tailnet, whom the policy lets in",
        "over the tailnet, whom the policy refuses",
    ]


def test_nothing_of_an_accounts_own_is_executed(scene: Scene) -> None:
    """Wherever its home is: what its shell runs there at a login would hang where it cannot write."""
    box = scene.host.box
    box.run(["mkdir", "-p", "/srv/alice"])
    box.write("/srv/alice/.bashrc", "touch /srv/alice/ran || sleep 100\n")
    box.run(["sh", "-eu", "-c", "cp -p /etc/passwd /etc/passwd.kept; chown -R alice: /srv/alice"])
    box.run(["sed", "-i", "/^alice:/s,:/home/alice:,:/srv/alice:,", "/etc/passwd"])
    try:
        let_in(scene.login("alice"))
        assert box.exists("/srv/alice/ran")
        proof = prove(scene.host, plan(scene.host))
    finally:
        box.run(["mv", "/etc/passwd.kept", "/etc/passwd"])
        box.run(["rm", "-r", "/srv/alice"])
    assert (proof.error, proof.failed) == ("", {})


def test_sshd_need_not_run(scene: Scene) -> None:
    """Nor need it ever have run since the host was started."""
    scene.host.stop_sshd()
    scene.host.box.run(["mv", "/run/sshd", "/run/sshd.away"])
    try:
        proof = prove(scene.host, plan(scene.host))
    finally:
        scene.host.box.run(["mv", "/run/sshd.away", "/run/sshd"])
        scene.host.start_sshd()
    assert (proof.error, proof.failed) == ("", {})


# Where it has to fail


def test_without_the_pam_half(scene: Scene) -> None:
    """The drop-in alone opens the tailnet to empty passwords: the decoy shows it."""
    host = scene.host
    half = None if host.has_service_names else host.stock_pam
    proof = prove(host, plan(host, {host.pam_file: half}))
    assert proof.about("an account with an empty password").found == "let in by none"
    assert proof.about("at port 22").found == "refused"


def test_with_a_line_above_the_pam_half(scene: Scene) -> None:
    """It lets in by itself; that the account phase then says no is not how a refusal looks."""
    host = scene.host
    proof = prove(host, plan(host, {host.pam_file: f"auth sufficient pam_unix.so nullok\n{host.pam_half()}"}))
    assert proof.about("an account with an empty password").found == "closed without a word"
    assert not proof.about("an account with an empty password").ok


def test_without_the_modules_file(scene: Scene) -> None:
    """Nobody gets in by the policy."""
    with absent(scene.host.box, scene.host.module_file):
        failed = prove(scene.host, plan(scene.host)).failed
    assert any("alice" in name for name in failed)
    assert not any(found.startswith("let in") for found in failed.values())


def test_without_the_helper(scene: Scene) -> None:
    """Clients that cannot do `none` would not get in."""
    with absent(scene.host.box, HELPER):
        failed = prove(scene.host, plan(scene.host)).failed
    assert [name for name in failed if "cannot do `none`" not in name] == []
    assert len(failed) == 1


def test_where_a_key_is_needed_in_addition_nobody_needs_the_helper(scene: Scene) -> None:
    """So its absence is no failure."""
    with (
        present(scene.host.box, LATER, "AuthenticationMethods publickey,password\n"),
        absent(scene.host.box, HELPER),
    ):
        assert prove(scene.host, plan(scene.host, methods=Methods.WITH_KEY)).failed == {}


@pytest.mark.parametrize(
    ("text", "fails"),
    [
        ("Match all\n    PermitEmptyPasswords no\n", "at port 22"),
        ("Match all\n    AuthorizedKeysFile .ssh/authorized_keys\n", "no rule is about"),
        ("Match all\n    AuthorizedKeysCommand none\n", "cannot do `none`"),
        ("Match all\n    AuthenticationMethods publickey\n", "at port 22"),
    ],
    ids=["none is off", "keys count", "no helper", "methods"],
)
def test_where_an_earlier_file_overrides_the_drop_in(scene: Scene, text: str, fails: str) -> None:
    """The first Match counts, and it is not ours."""
    with present(scene.host.box, EARLIER, text):
        failed = prove(scene.host, plan(scene.host)).failed
    assert any(fails in name for name in failed), failed


def test_with_an_agent_that_only_observes(scene: Scene) -> None:
    """It refuses whoever is to be let in by it."""
    scene.host.configure('mode = "observe"\n')
    scene.restart_agent()
    try:
        proof = prove(scene.host, plan(scene.host))
    finally:
        scene.host.configure("")
        scene.restart_agent()
    assert any("alice" in name for name in proof.failed)
    assert proof.about("at port 22").found == "refused"


def test_with_no_agent(scene: Scene) -> None:
    """The detail says what the module said."""
    scene.host.stop_agent()
    try:
        proof = prove(scene.host, plan(scene.host))
    finally:
        scene.restart_agent()
    assert "agent_unreachable" in proof.about("at port 22").detail
    assert not any("from elsewhere" in name for name in proof.failed)


def test_without_the_access_list(scene: Scene) -> None:
    """Nobody would notice until the module's file goes: then the LAN is shut out. From 9.8 on there is no such list."""
    failed = prove(scene.host, plan(scene.host, {ACCESS: None})).failed
    expected = () if scene.host.has_service_names else ("with its own key", "with the right password")
    assert len(failed) == len(expected)
    for way in expected:
        assert any(name.startswith("with the module's file gone, from elsewhere") and way in name for name in failed)


@pytest.mark.parametrize(
    ("settings", "fails"),
    [
        (
            ("PasswordAuthentication no", "PermitRootLogin no", "AuthorizedKeysFile none"),
            (
                "what sshd goes by",
                "with nothing to show",
                "with the right password",
                "with its own key",
                "as root with the right password",
                "as root with its own key",
            ),
        ),
        (
            ("PermitEmptyPasswords yes", "KbdInteractiveAuthentication yes"),
            ("what sshd goes by", "with nothing to show", "where the password is empty"),
        ),
        (("MaxAuthTries 3",), ("what sshd goes by",)),
    ],
    ids=["shut", "open", "unseen"],
)
def test_where_logins_from_elsewhere_would_change(
    scene: Scene, settings: tuple[str, ...], fails: tuple[str, ...]
) -> None:
    """Settings of the drop-in that are not confined to the tailnet."""
    text = "\n".join([*settings, scene.host.drop_in()])
    failed = prove(scene.host, plan(scene.host, {DROP_IN: text})).failed
    assert {f"from elsewhere, {name}" for name in fails} <= set(failed)


def test_where_pam_was_not_used(scene: Scene) -> None:
    """The drop-in switches it on for everybody; that is no small change, though passwords go on being passwords."""
    before = scene.host.box.read(LOCAL_CONF)
    scene.host.box.write(LOCAL_CONF, f"{before}UsePAM no\n")
    try:
        proof = prove(scene.host, plan(scene.host))
    finally:
        scene.host.box.write(LOCAL_CONF, before)
    assert proof.failed == {"from elsewhere, what sshd goes by": "changes: usepam"}


def test_where_the_module_would_let_in_anybody_from_elsewhere(scene: Scene) -> None:
    """A wrong password would be enough: the PAM half decides about the LAN, too."""
    host = scene.host
    place = "/etc/pam.d/sshd"
    text = f"auth sufficient pam_permit.so\n{host.stock_pam}"
    failed = prove(host, plan(host, {place: text})).failed
    assert failed["from elsewhere, with a wrong key and a wrong password"] == "let in by password"


def test_a_configuration_that_sshd_does_not_take(scene: Scene) -> None:
    """What is wrong is said in sshd's own words, before and after."""
    given = plan(scene.host, {DROP_IN: "Nonsense yes\n"})
    proof = prove(scene.host, given)
    assert [(one.name, one.ok) for one in proof.outcomes] == [("sshd takes the new configuration", False)]
    assert "Nonsense" in proof.outcomes[0].detail
    with present(scene.host.box, LATER, "Nonsense yes\n"):
        assert "Nonsense" in prove(scene.host, plan(scene.host)).error


# What is left


def test_nothing_of_the_host_is_touched(scene: Scene) -> None:
    """No file, no log, no record of a login, no process, mount or network: only the agent's journal has lines."""
    box = scene.host.box
    given = plan(scene.host)
    syslog = len(scene.host.syslog())
    before = state(scene.host)
    assert prove(scene.host, given).failed == {}
    assert wait_until(lambda: processes(box) == before["processes"], 10, "no process is left")
    after = state(scene.host)
    for part in ("files", "mounts", "links", "last"):
        assert after[part] == before[part]
    assert scene.host.syslog()[syslog:] == []
    let_in(scene.login("alice"))


def test_it_can_be_proved_again(scene: Scene) -> None:
    """As it is when `enable` runs on a host that is on already; both may be under way."""
    given = plan(scene.host)
    assert [prove(scene.host, given).failed for _ in range(2)] == [{}, {}]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_what_it_made_ends_with_the_command(scene: Scene, number: signal.Signals) -> None:
    """However that ends, and at whatever moment: sshd, its children and the clients go with it."""
    host = scene.host
    host.box.write("/run/plan.json", json.dumps(plan(host)))
    before = processes(host.box)
    script = 'exec "$@" < /run/plan.json'
    child = host.box.popen(["sh", "-c", script, "sh", *command(host)], "/var/log/proof.log", env=host._env)
    wait_until(lambda: any("sshd -i" in line for line in processes(host.box)), 10, "sshd runs on the stage")
    child.send_signal(number)
    child.wait(10)
    wait_until(lambda: processes(host.box) == before, 10, "everything is gone")
    host.box.run(["rm", "/run/plan.json", "/var/log/proof.log"])


def processes(box: Sandbox) -> list[str]:
    """What runs in a sandbox, but for the program that looks."""
    lines = box.run(["ps", "-eo", "args="]).stdout.splitlines()
    return sorted(line for line in lines if not line.startswith("ps "))


def state(host: Host) -> dict[str, object]:
    """What a proof must not change."""
    box = host.box
    files: dict[str, list[int]] = json.loads(box.run([host.python, "-c", _FILES]).stdout)
    return {
        # What the agent and sshd go on writing.
        "files": {path: status for path, status in files.items() if not path.startswith(("/var/log/agent.log",))},
        "mounts": box.run(["cat", "/proc/self/mountinfo"]).stdout,
        "links": box.host_tool(["ip", "-o", "address"]),
        "last": box.run(["sh", "-c", "cat /run/utmp /var/log/[wb]tmp /var/log/lastlog 2> /dev/null || true"]).stdout,
        "processes": processes(box),
    }
