"""The stage: which files a sshd of each variant sees, and what of the host it does not."""

from pathlib import Path

import pytest

from pam_tailscale.host.proving.actors import Actor
from pam_tailscale.host.proving.stage import expanded
from tests.unit.host.proving import on_stage

_BUILD = """
import os, stat
from pathlib import Path
from pam_tailscale.host.proving import stage
from pam_tailscale.host.proving.actors import Actor
from pam_tailscale.host.proving.trial import DECOY, PROBE, Variant
from tests.unit.host.proving.plans import plan
marks = {"/etc/pam-tailscale-test/deep/file": b"after", "/etc/hostname": b"other", "/etc/passwd-": None,
         "/etc/mtab": b"a file", "/var/lib/pam-tailscale/elsewhere": b"not on the stage"}
given = plan(before=dict.fromkeys(marks), after=marks)
actors = stage.build(given, (PROBE, DECOY), {PROBE: "hash", DECOY: "", "root": "other"})
stage.authorize(actors[0], ["%h/.ssh/authorized_keys", "/etc/keys-test/%u", "/usr/keys/%u"], "ssh-ed25519 key")
stage.authorize(Actor("root", 0, "/root"), [".ssh/authorized_keys"], "ssh-ed25519 key")
def read(path):
    return Path(path).read_text(errors="replace") if os.path.exists(path) else None
def seen_by(variant):
    reading, writing = os.pipe()
    if os.fork() == 0:
        stage.enter(variant)
        shadow = dict(line.split(":")[:2] for line in read("/etc/shadow").splitlines())
        os.write(writing, json.dumps({
            "marks": {path: read(path) for path in marks},
            "passwords": {name: shadow.get(name) for name in (PROBE, DECOY, "root")},
            "names": [line.split(":")[0] for line in read("/etc/passwd").splitlines()],
            "key": read(f"/etc/keys-test/{PROBE}"),
            "shadow mode": oct(os.stat("/etc/shadow").st_mode),
        }).encode())
        os._exit(0)
    os.close(writing)
    data = b""
    while part := os.read(reading, 65536):
        data += part
    return json.loads(data)
found["actors"] = [[actor.name, actor.home, os.stat(actor.home).st_uid == actor.uid] for actor in actors]
found["home key"] = read(actors[0].home + "/.ssh/authorized_keys")
found["root key"] = read("/root/.ssh/authorized_keys")
found["own shadow"] = "pam-tailscale-decoy" in read("/etc/shadow")
found["hidden"] = {place: os.listdir(place) for place in ("/home", "/var/log")}
found["processes"] = len([name for name in os.listdir("/proc") if name.isdigit()])
found["run"] = os.listdir("/run")
found["sshd"] = [os.listdir("/run/sshd"), oct(os.stat("/run/sshd").st_mode)]
for variant in Variant:
    found[variant.value] = seen_by(variant)
"""


def test_each_variant_sees_its_own_files() -> None:
    """Copies, with decoys; and the host's own files stay what they are."""
    found = on_stage.run(_BUILD)
    names = ["pam-tailscale-probe", "pam-tailscale-decoy"]
    assert [actor[0] for actor in found["actors"]] == names
    assert all(owned for *_, owned in found["actors"])
    for variant in ("before", "after", "module gone"):
        seen = found[variant]
        assert seen["names"][:2] == names
        assert seen["passwords"] == {"pam-tailscale-probe": "hash", "pam-tailscale-decoy": "", "root": "other"}
        assert seen["key"] == "ssh-ed25519 key\n"
        assert seen["shadow mode"] == oct(Path("/etc/shadow").stat().st_mode)
    # The last is a link to a file of the kernel's, on every Debian.
    after = {"/etc/pam-tailscale-test/deep/file": "after", "/etc/hostname": "other", "/etc/passwd-": None}
    after |= {"/etc/mtab": "a file"}
    nothing = dict.fromkeys(after)
    assert {path: text for path, text in found["before"]["marks"].items() if path.startswith("/etc")} == nothing
    for variant in ("after", "module gone"):
        assert {path: text for path, text in found[variant]["marks"].items() if path.startswith("/etc")} == after
    assert not Path("/etc/pam-tailscale-test").exists()


def test_homes_and_logs_are_hidden_and_nobody_hears_of_the_logins() -> None:
    """No start-up file of a person's runs, and neither logind nor a cache of names is there."""
    found = on_stage.run(_BUILD)
    assert found["hidden"] == {"/home": [], "/var/log": []}
    assert found["processes"] == 1
    assert found["home key"] == found["root key"] == "ssh-ed25519 key\n"
    assert not found["own shadow"]
    assert {"sshd", "faillock", "systemd"} <= set(found["run"])
    assert {"dbus", "nscd", "user", "utmp"}.isdisjoint(found["run"])
    assert found["sshd"] == [[], "0o40755"]


_HOMES = """
import os, pwd
from pathlib import Path
from pam_tailscale.host.proving import stage
from pam_tailscale.host.proving.trial import Variant
from tests.unit.host.proving.plans import PLAN
homes = dict(zip(("root", "alice", "bob"), sys.argv[1:]))
namespaces.own_read_only_mounts()
for place in ("/srv", "/etc/default"):
    namespaces.mount("tmpfs", place, "mode=0755")
for number, home in enumerate(homes.values()):
    os.makedirs(home, exist_ok=True)
    if home.startswith(("/srv", "/etc/default")):
        Path(home, ".profile").write_text("echo mine")
def known(name):
    if name not in homes:
        raise KeyError(name)
    return pwd.struct_passwd((name, "x", 7 * len(name), 9, "", homes[name], "/bin/sh"))
pwd.getpwnam = known
stage.build(PLAN, (), {})
found["homes"] = []
for home in homes.values():
    status = os.stat(home)
    found["homes"].append([os.listdir(home) == [], oct(status.st_mode), status.st_uid, status.st_gid])
if os.fork() == 0:
    stage.enter(Variant.AFTER)
    Path(stage.ROOM / "seen").write_text(json.dumps([os.listdir(home) == [] for home in homes.values()]))
    os._exit(0)
os.wait()
found["entered"] = json.loads(Path(stage.ROOM / "seen").read_text())
found["sh"] = os.path.exists("/bin/sh")
"""


def test_homes_of_those_who_are_tried_are_empty_wherever_they_are() -> None:
    """Nothing of their own is executed, and they own what is there instead."""
    found = on_stage.run(_HOMES, "/srv/root", "/srv/people/alice", "/etc/default/bob")
    assert found["homes"] == [[True, "0o40700", uid, 9] for uid in (28, 35, 21)]
    assert found["entered"] == [True, True, True]


@pytest.mark.parametrize("place", ["/", "/usr/lib", "/etc"])
def test_a_home_without_which_nothing_runs_stays(place: str) -> None:
    """It is no person's own."""
    found = on_stage.run(_HOMES, "/srv/root", place, "/srv/bob")
    assert found["sh"]
    assert found["entered"] == [True, False, True]


_RUN = """
import socket
from pathlib import Path
from pam_tailscale.host.proving import stage
namespaces.own_read_only_mounts()
namespaces.mount("proc", "/proc")
namespaces.mount("tmpfs", "/run", "mode=755")
for folder in ("agent", "dbus", "systemd/userdb", "systemd/journal", "sshd"):
    Path("/run", folder).mkdir(parents=True)
Path("/run/dbus/bus").touch()
Path("/run/nologin").write_text("closed")
Path("/run/link").symlink_to("/run/nologin")
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/agent/agent.sock")
listener.listen()
namespaces.mount("tmpfs", "/run/systemd/userdb")
Path("/run/systemd/userdb/mounted").touch()
namespaces.mount("tmpfs", "/tmp")
stage.ROOM.mkdir()
stage._replace_run()
with socket.socket(socket.AF_UNIX) as client:
    client.connect("/run/agent/agent.sock")
    found["socket"] = client.getpeername()
found["names"] = sorted(os.listdir("/run"))
found["systemd"] = [os.listdir("/run/systemd"), os.listdir("/run/systemd/userdb")]
found["link"] = [os.readlink("/run/link"), Path("/run/link").read_text()]
Path("/run/written").touch()
log = stage.open_log()
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
if log is not None:
    sender.connect("/dev/log")
    sender.send(b"<86>sshd: a line")
    found["log"] = log.recv(100).decode()
"""


def test_sockets_of_the_host_are_where_they_were() -> None:
    """The agent is asked through its own; what is mounted below /run is there as well, and it can be written to."""
    found = on_stage.run(_RUN)
    assert found["socket"] == "/run/agent/agent.sock"
    assert found["names"] == ["agent", "faillock", "link", "nologin", "sshd", "systemd"]
    assert found["systemd"] == [["userdb"], ["mounted"]]
    assert found["link"] == ["/run/nologin", "closed"]


def _logs(before: str) -> dict[str, object]:
    script = _RUN.replace(
        "log = stage.open_log()", f"{before}\nlog = stage.open_log()\nfound['has log'] = log is not None"
    )
    dev = 'namespaces.mount("tmpfs", "/dev")\nos.mknod("/dev/null", 0o20666, os.makedev(1, 3))\n'
    return on_stage.run(
        script.replace('namespaces.mount("tmpfs", "/tmp")\n', f'namespaces.mount("tmpfs", "/tmp")\n{dev}')
    )


@pytest.mark.parametrize(
    ("before", "has_log"),
    [
        ('Path("/dev/log").symlink_to("/run/systemd/journal/dev-log")', True),
        ('Path("/dev/log").touch()', True),
        ("", False),
    ],
    ids=["the journal's", "a socket", "none"],
)
def test_what_pam_says_is_heard_here_and_not_by_the_hosts_log(before: str, *, has_log: bool) -> None:
    """Whether /dev/log is a link to the journal's or a socket of its own. Where there is none, there is none."""
    found = _logs(before)
    assert found["has log"] is has_log
    assert found.get("log") == ("<86>sshd: a line" if has_log else None)


_MODULE = """
import os
from pathlib import Path
from pam_tailscale.host.proving import stage
from pam_tailscale.host.proving.trial import Variant
from tests.unit.host.proving.plans import PLAN
stage.build(PLAN, (), {})
places = sys.argv[1:]
for place in places:
    namespaces.mount("tmpfs", os.path.dirname(place))
    Path(place).write_text("module")
for variant in Variant:
    reading, writing = os.pipe()
    if os.fork() == 0:
        stage.enter(variant)
        os.write(writing, json.dumps([Path(place).read_text() for place in places]).encode())
        os._exit(0)
    found[variant.value] = json.loads(os.read(reading, 1000))
"""


def test_the_module_is_gone_for_one_variant_alone() -> None:
    """Its file is there and empty, which no dynamic linker takes."""
    module = next(Path("/usr/lib").glob("*/security")) / "pam_tailscale.so"
    found = on_stage.run(_MODULE, str(module))
    assert found == {"before": ["module"], "after": ["module"], "module gone": [""]}


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (".ssh/authorized_keys", ".ssh/authorized_keys"),
        ("%h/.ssh/keys", "/stage/one/.ssh/keys"),
        ("/etc/ssh/keys/%u", "/etc/ssh/keys/one"),
        ("/keys/%U", "/keys/59999"),
        ("/keys/%%u/%u", "/keys/%u/one"),
        ("/keys/%k", "/keys/%k"),
    ],
)
def test_tokens_of_authorized_keys_files(pattern: str, path: str) -> None:
    """As sshd_config(5) has them."""
    assert expanded(pattern, Actor("one", 59999, "/stage/one")) == path
