"""`doctor` on real sshd, PAM and agent: each kind of damage is named, with what mends it, and is gone after that.

Where a mend is a command of systemd, which does not run here, a script does what systemd would.
"""

import dataclasses
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from contrib.demo.localapi import Answer, LocalAPI
from contrib.demo.tailnet import nodes_rule
from tests.support.host import CONFIG, DISABLED, DROP_IN, HALVES, PIN, Host
from tests.support.roots import Suite
from tests.support.scene import Scene, check_rule, serve
from tests.support.shims import compile_module
from tests.support.switching import Looked, killed_at, look, switch, take_away
from tests.support.waiting import wait_until

AGENTS = "/var/lib/pam-tailscale/agent"
FIRST_CONF = "/etc/ssh/sshd_config.d/05-first.conf"
KNOWN = {"units", "ssh-unit", "unguarded", "empty-passwords", "shared-accounts"}
"""What is never in order here: there is no systemd, decoy has an empty password, and the runner is let in as people."""
PROGRAM = """\
#!/bin/sh
# `pam-tailscale` as a person has it, but that it asks nothing.
export PYTHONPATH=/opt/pam-tailscale PYTHONDONTWRITEBYTECODE=1
case $1 in enable | disable) set -- "$@" --yes ;; esac
exec python3 -m pam_tailscale.cli.main "$@"
"""
SYSTEMCTL = """\
case "$*" in
"reload ssh") kill -HUP "$(cat /run/sshd.pid)" ;;
*) echo "not here: $*" >&2; exit 1 ;;
esac
"""
LETS_IN = """
#include <security/pam_modules.h>
#define ENTRY(name) int name(pam_handle_t *p, int f, int c, const char **v) \\
    { (void)p; (void)f; (void)c; (void)v; return PAM_SUCCESS; }
ENTRY(pam_sm_authenticate) ENTRY(pam_sm_setcred) ENTRY(pam_sm_acct_mgmt)
ENTRY(pam_sm_open_session) ENTRY(pam_sm_close_session)
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One run of doctor."""

    status: int
    document: dict[str, Any]
    err: str

    @property
    def states(self) -> dict[str, str]:
        """Name to state, of what is not in order and always so."""
        checks = self.document["checks"]
        return {one["name"]: one["state"] for one in checks if one["state"] != "ok" and one["name"] not in KNOWN}

    def check(self, name: str) -> dict[str, Any]:
        """A check by its name; of several of that name the worst."""
        found: dict[str, Any] = next(one for one in self.document["checks"] if one["name"] == name)
        return found


def doctor(scene: Scene, *arguments: str) -> Seen:
    """`pam-tailscale doctor --json`."""
    ran = scene.host.cli("doctor", "--json", *arguments, check=False)
    assert "Traceback" not in ran.stderr, ran.stderr
    return Seen(ran.returncode, json.loads(ran.stdout), ran.stderr)


def sh(scene: Scene, script: str) -> None:
    """What somebody does at a root shell."""
    scene.host.box.run(["sh", "-euc", script])


@pytest.fixture(scope="module")
def switched_on(suite: Suite) -> Iterator[Scene]:
    """A host on which `enable` has run."""
    with Scene.of(suite) as scene:
        take_away(scene.host)
        scene.host.restart_sshd()
        scene.host.box.write("/usr/local/sbin/pam-tailscale", PROGRAM, 0o755)
        scene.host.install_systemctl(SYSTEMCTL)
        on = switch(scene.host, "enable")
        assert on.status == 0, on
        yield scene


@pytest.fixture
def scene(switched_on: Scene) -> Iterator[Scene]:
    """The same for each test, which leaves it in order."""
    yield switched_on
    after = doctor(switched_on)
    if after.states:
        make_anew(switched_on)
    assert after.states == {}, after.document


def make_anew(scene: Scene) -> None:
    """So that what one test has left is not what another finds."""
    take_away(scene.host)
    sh(scene, f"rm -f {FIRST_CONF} {CONFIG}; chmod 0755 /run/pam-tailscale")
    scene.host.install_shims()
    scene.host.pin()
    scene.host.restart_sshd()
    scene.restart_agent()
    assert switch(scene.host, "enable").status == 0


def test_in_order(scene: Scene) -> None:
    """Nothing wrong; only what systemd would say is not known here."""
    seen = doctor(scene)
    assert (seen.status, seen.document["switched"], seen.states) == (3, "on", {})
    assert {one["name"] for one in seen.document["checks"] if one["state"] == "unknown"} == {"units", "ssh-unit"}
    assert seen.check("empty-passwords")["items"] == ["decoy"]
    assert "it was tried that PAM refuses them" in seen.check("empty-passwords")["means"]


def test_it_changes_nothing(scene: Scene) -> None:
    """Not a file, not a lock, not a check, not a session; and a person who logs in meanwhile is not in its way."""
    before = files(scene)
    with scene.rules(nodes_rule([scene.nodes.alice], {"alice": "="}), check_rule([scene.nodes.bob], {"bob": "="})):
        doctor(scene, "alice", "--from", "100.64.0.2")
        doctor(scene, "bob", "--from", "100.64.0.3")
        assert scene.checks()["pending"] == []
        assert scene.login("alice").returncode == 0
    scene.restart_agent()  # it warns of a control plane that it does not reach, once a rule asks for checks
    assert files(scene) == before
    assert scene.host.unfinished_logins() == []
    assert scene.host.box.run(["sh", "-c", "ls /run/faillock 2> /dev/null || true"]).stdout == ""


def files(scene: Scene) -> Looked:
    """All of them, but for what the agent itself remembers."""
    return {path: entry for path, entry in look(scene.host).items() if not path.startswith(AGENTS)}


def test_on_one_screen(scene: Scene) -> None:
    """For people: what is wrong, and a last line."""
    ran = scene.host.cli("doctor", check=False)
    lines = ran.stdout.splitlines()
    assert lines[0] == "This host is on: over the tailnet its policy is to decide"
    assert lines[-1].startswith("not seen: 2, warnings: 3, in order: ")
    assert len(lines) < 40


def test_only_root(scene: Scene) -> None:
    """Others are told so."""
    ran = scene.host.cli("doctor", check=False, user="alice")
    assert (ran.returncode, "not run as root" in ran.stdout) == (3, True)


# Damage, and what mends it


@dataclass(frozen=True, slots=True)
class Damage:
    """What somebody did, what is found, and how it is mended: by the command that is named, or by hand."""

    name: str
    script: str = ""
    """At a root shell; `$half` is the file that our PAM half is in."""
    do: Callable[[Scene], None] = lambda _: None
    by_hand: Callable[[Scene], None] | None = None
    """Where the mend is no command, or one of systemd's or apt's."""
    state: str = "problem"
    also: frozenset[str] = frozenset()
    """What else is found: one thing may be wrong in several ways."""
    only: str = "both"
    """The arrangement that it is about: `9.8`, `before`, or `both`."""


def has(scene: Scene, only: str) -> bool:
    """Whether a damage is about this arrangement."""
    return only == "both" or (only == "9.8") == scene.host.has_service_names


def rewrite(path: str, old: str, new: str) -> Callable[[Scene], None]:
    """Replace a text in a file."""

    def change(scene: Scene) -> None:
        before = scene.host.box.read(path)
        assert old in before
        scene.host.box.write(path, before.replace(old, new))

    return change


def restart_without_drop_in(scene: Scene) -> None:
    """A sshd that was started before the drop-in was there."""
    box = scene.host.box
    sh(scene, f"mv {DROP_IN} /root/kept")
    scene.host.restart_sshd()
    sh(scene, f"mv /root/kept {DROP_IN}")
    assert box.exists(DROP_IN)


def write_and_reload(path: str, text: str) -> Callable[[Scene], None]:
    """Another file of sshd's, that it has read."""

    def change(scene: Scene) -> None:
        scene.host.box.write(path, text)
        scene.host.restart_sshd()

    return change


def remove_and_reload(scene: Scene) -> None:
    """Its end."""
    sh(scene, f"rm -f {FIRST_CONF}")
    scene.host.restart_sshd()


def observe(scene: Scene) -> None:
    """An agent that only observes."""
    scene.host.configure('mode = "observe"\n')
    scene.restart_agent()


def enforce(scene: Scene) -> None:
    """It enforces again."""
    sh(scene, f"rm -f {CONFIG}")
    scene.restart_agent()


def settings(**prefs: Any) -> Callable[[Scene], None]:
    """Settings of tailscaled; the agent hears of them."""

    def change(scene: Scene) -> None:
        scene.tailnet.prefs |= prefs
        scene.tailnet.changed()

    return change


def stop_agent(scene: Scene) -> None:
    """Its end."""
    scene.host.stop_agent()


def operator_gone(scene: Scene) -> None:
    """As after `tailscale set --operator=` and a restart of tailscaled."""
    settings(OperatorUser="")(scene)
    scene.localapi.stop()
    scene.localapi = serve_again(scene)
    scene.restart_agent()


def serve_again(scene: Scene) -> LocalAPI:
    """What tailscaled is after its restart."""
    return serve(scene.host.box, scene.tailnet).start()


WRITE_ANEW = frozenset(
    {"pam-half", "pam-service", "pam-order", "pam-arguments", "pam-refuses", "effective", "sshd-running"}
)

DAMAGES = [
    # Both halves, what they are compared with, and what says that the host is on.
    Damage("pam-half", 'rm "$half"', also=frozenset({"pam-service", "pam-refuses"}), only="9.8"),
    Damage("pam-half", 'echo "# a comment" >> "$half"', only="9.8"),
    Damage("pam-half", "rm /etc/security/not-tailnet.access", only="before"),
    Damage("pam-half", "sed -i s/noaudit// /etc/pam.d/sshd", only="before"),
    Damage("pam-service", 'sed -i "/^password/d" "$half"', also=WRITE_ANEW, only="9.8"),
    Damage("pam-order", 'sed -i "1i auth optional pam_env.so" "$half"', also=WRITE_ANEW),
    Damage("pam-order", 'sed -i "s/try_again=done default=die/default=ignore/" "$half"', also=WRITE_ANEW, only="9.8"),
    Damage("pam-arguments", 'sed -i "s,100.64.0.0/10.fd7a,fd7a," "$half"', also=WRITE_ANEW),
    Damage("pam-arguments", 'sed -i s/mode=enforce/mode=observe/ "$half"', also=WRITE_ANEW),
    Damage("drop-in", f"echo '# a comment' >> {DROP_IN}", also=frozenset({"sshd-running"})),
    Damage("drop-in", f"mv {DROP_IN} {DISABLED}"),
    Damage("drop-in", f"rm {DROP_IN}"),
    Damage("drop-in-disabled", f"touch {DISABLED}", state="warning"),
    Damage("references", f"rm {HALVES}/drop-in", also=frozenset({"drop-in"})),
    Damage("references", f"chmod g+w {HALVES}"),
    Damage("references", f"chown alice {HALVES}/drop-in"),
    Damage("marker", "rm /var/lib/pam-tailscale/enabled.json"),
    Damage("marker", "echo damaged > /var/lib/pam-tailscale/enabled.json"),
    # The pin.
    Damage("first-pin", f"rm {PIN}", also=frozenset({"cannot-decide"})),
    Damage(
        "damaged-pin",
        f"chmod 0666 {PIN}",
        by_hand=lambda scene: sh(scene, f"chmod 0644 {PIN}"),
        also=frozenset({"cannot-decide"}),
    ),
    # sshd.
    Damage("sshd-running", do=restart_without_drop_in, also=frozenset()),
    Damage(
        "effective",
        do=write_and_reload(FIRST_CONF, "Match Address 100.64.0.0/10\n    PasswordAuthentication no\n"),
        by_hand=remove_and_reload,
        also=frozenset({"sshd-running"}),
    ),
    Damage(
        "two-methods",
        do=write_and_reload(FIRST_CONF, "Match Address 100.64.0.0/10\n    AuthenticationMethods none,publickey\n"),
        by_hand=remove_and_reload,
        also=frozenset({"several-methods", "earlier-setting", "effective", "sshd-running"}),
    ),
    # The module and the agent.
    Damage(
        "pam-module",
        do=lambda scene: sh(scene, f"rm {scene.host.module_file}"),
        by_hand=lambda scene: scene.host.install_shims(),
        also=frozenset({"pam-refuses"}),
    ),
    Damage(
        "pam-refuses",
        do=lambda scene: scene.host.box.write(scene.host.module_file, compile_module(scene.host.box, LETS_IN)),
        by_hand=lambda scene: scene.host.install_shims(),
        also=frozenset({"sshd-running"}),
    ),
    Damage("pam-mode", do=observe, by_hand=enforce),
    Damage("agent-down", do=stop_agent, by_hand=Scene.restart_agent, also=frozenset({"pam-mode"})),
    Damage("agent-socket", "chmod 0600 /run/pam-tailscale/agent.sock", by_hand=Scene.restart_agent),
    Damage("run-directory", "chmod 0777 /run/pam-tailscale"),
    Damage(
        "reader-socket",
        "chmod 0644 /run/pam-tailscale/reader.sock",
        by_hand=lambda scene: sh(scene, "chmod 0600 /run/pam-tailscale/reader.sock"),
    ),
    Damage("state-directory", "chmod 0755 /var/lib/pam-tailscale/agent"),
    # Accounts.
    Damage(
        "uid-0",
        "echo 'toor:x:0:0::/root:/bin/sh' >> /etc/passwd",
        by_hand=lambda scene: sh(scene, "sed -i /^toor:/d /etc/passwd"),
        state="warning",
    ),
    Damage(
        "shared-uids",
        "sed -n 's/^alice:/alice2:/p' /etc/passwd > /tmp/line; cat /tmp/line >> /etc/passwd",
        by_hand=lambda scene: sh(scene, "sed -i /^alice2:/d /etc/passwd"),
        state="warning",
    ),
    Damage(
        "admin-group",
        "gpasswd -a alice pam-tailscale-admin",
        by_hand=lambda scene: sh(scene, "gpasswd -d alice pam-tailscale-admin"),
        state="warning",
    ),
    # tailscaled.
    Damage("operator", do=settings(OperatorUser="alice"), by_hand=operator_gone, also=frozenset({"cannot-decide"})),
    Damage("tailscale-ssh", do=settings(RunSSH=True), by_hand=settings(RunSSH=False), also=frozenset({"agent-warns"})),
    Damage(
        "shields-up", do=settings(ShieldsUp=True), by_hand=settings(ShieldsUp=False), also=frozenset({"agent-warns"})
    ),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=[f"{number}-{one.name}" for number, one in enumerate(DAMAGES)])
def test_damage_is_named_and_mended(scene: Scene, damage: Damage) -> None:
    """By the very command that it names, where it is one."""
    if not has(scene, damage.only):
        assert doctor(scene).states == {}
        return
    damage.do(scene)
    if damage.script:
        sh(scene, f"half={scene.host.pam_file}\n{damage.script}")
    seen = doctor(scene)
    check = seen.check(damage.name)
    assert check["state"] == damage.state, seen.document
    assert seen.status == (1 if "problem" in seen.states.values() else 3)
    assert set(seen.states) - {damage.name} <= damage.also, seen.states
    if damage.by_hand is not None:
        damage.by_hand(scene)
    else:
        sh(scene, check["mend"])
    wait_until(lambda: doctor(scene).states == {}, 20, "it is mended", pause_seconds=0.2)


def test_the_line_that_wins_is_named(scene: Scene) -> None:
    """With its file and number."""
    write_and_reload(FIRST_CONF, "# first\nMatch Address 100.64.0.0/10\n    PermitEmptyPasswords no\n")(scene)
    assert doctor(scene).check("effective")["items"] == [f"permitemptypasswords no ({FIRST_CONF}:3)"]
    remove_and_reload(scene)


def test_root_that_sshd_config_keeps_out_since(scene: Scene) -> None:
    """The drop-in lets root in to the policy; the agent has to be told."""
    write_and_reload(FIRST_CONF, "PermitRootLogin no\n")(scene)
    seen = doctor(scene)
    assert seen.check("root-kept-out")["state"] == "problem"
    sh(scene, seen.check("root-kept-out")["mend"])
    scene.restart_agent()
    assert doctor(scene).states == {}
    assert scene.reason(lambda: scene.login("root")) == "root_not_allowed"
    remove_and_reload(scene)
    sh(scene, "pam-tailscale enable")
    scene.restart_agent()


def test_an_interrupted_change(scene: Scene) -> None:
    """`enable` killed in its middle, and what doctor names finishes it."""
    assert switch(scene.host, "disable").status == 0
    assert killed_at(scene.host, 8, "enable")
    seen = doctor(scene)
    assert seen.check("interrupted-change")["state"] == "problem"
    sh(scene, seen.check("interrupted-change")["mend"])
    assert doctor(scene).states == {}


def test_another_pin(scene: Scene) -> None:
    """Only root can say that it is meant."""
    rewrite(PIN, '"node_id": "', '"node_id": "x')(scene)
    seen = doctor(scene)
    assert seen.check("other-pin")["state"] == "problem"
    assert "--repin" in seen.check("other-pin")["mend"]
    sh(scene, "pam-tailscale enable --repin")
    wait_until(lambda: scene.status()["ready"], 10, "the agent has read the pin")


def test_off(scene: Scene) -> None:
    """It says so, and what enable would find; nothing is wrong with being off."""
    assert switch(scene.host, "disable").status == 0
    seen = doctor(scene)
    assert (seen.status, seen.document["switched"], seen.states) == (0, "off", {})
    assert "enable would" in seen.check("empty-passwords")["means"]
    settings(ShieldsUp=True)(scene)
    seen = doctor(scene)
    assert (seen.status, seen.check("shields-up")["means"].startswith("enable refuses")) == (1, True)
    settings(ShieldsUp=False)(scene)
    assert switch(scene.host, "enable").status == 0


def test_what_was_left_behind(scene: Scene) -> None:
    """A PAM half without the drop-in, on a host that is off."""
    half = scene.host.box.read(scene.host.pam_file)
    assert switch(scene.host, "disable").status == 0
    scene.host.box.write(scene.host.pam_file, half)
    seen = doctor(scene)
    assert seen.check("left-over-half")["state"] == "warning"
    sh(scene, seen.check("left-over-half")["mend"])
    assert doctor(scene).states == {}
    assert switch(scene.host, "enable").status == 0


# When what is asked is itself broken


@contextmanager
def moved_away(scene: Scene, path: str) -> Iterator[None]:
    """Something of the host's is not there for a while."""
    sh(scene, f"mv {path} {path}.away")
    try:
        yield
    finally:
        sh(scene, f"mv {path}.away {path}")
        if path.startswith("/etc/ssh"):
            scene.host.restart_sshd()  # what has come back is newer than what it has read


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/shadow", "/etc/pam.d", "/etc/ssh/sshd_config", "/usr/sbin/sshd", "/usr/bin/ssh"]
)
def test_a_broken_host_is_a_finding(scene: Scene, path: str) -> None:
    """And never the end of the examination."""
    with moved_away(scene, path):
        seen = doctor(scene)
        assert seen.status in (1, 3)
        assert len(seen.document["checks"]) > 10
        assert set(seen.states.values()) & {"problem", "unknown"} or path == "/etc/shadow"


def test_a_directory_in_the_place_of_a_file(scene: Scene) -> None:
    """Is said; what is in it nobody can tell."""
    sh(scene, f"mv {DROP_IN} /root/kept; mkdir {DROP_IN}")
    seen = doctor(scene)
    assert seen.check("unreadable")["state"] == "problem"
    sh(scene, f"rmdir {DROP_IN}; mv /root/kept {DROP_IN}")
    scene.host.restart_sshd()


def test_without_tailscaled(scene: Scene) -> None:
    """What it would say is unknown, and that it is down a problem."""
    scene.localapi.stop()
    seen = doctor(scene, "alice", "--from", "100.64.0.2")
    assert seen.check("tailscaled-unreachable")["state"] == "problem"
    assert {seen.check(name)["state"] for name in ("relaying-nodes", "shared-accounts")} == {"unknown"}
    assert seen.document["login"]["explanation"]["decision"] == "deny"
    scene.localapi = serve_again(scene)
    scene.wait_until_ready()


def test_without_sshd(scene: Scene) -> None:
    """Its files are still judged."""
    scene.host.stop_sshd()
    seen = doctor(scene)
    assert (seen.check("sshd-running")["state"], seen.check("effective")["state"]) == ("warning", "ok")
    scene.host.start_sshd()


def test_without_agent(scene: Scene) -> None:
    """Nobody explains a login; that PAM refuses is tried all the same."""
    scene.host.stop_agent(signal.SIGKILL)
    seen = doctor(scene, "alice", "--from", "100.64.0.2")
    assert (seen.check("agent-down")["state"], seen.check("login")["state"]) == ("problem", "unknown")
    assert seen.check("pam-refuses")["state"] == "ok"
    scene.restart_agent()


# Who lends their identity, and who shares


def with_peers(scene: Scene, *peers: dict[str, Any]) -> None:
    """What tailscaled's status then says."""

    def status(answer: Answer) -> Answer:
        document = json.loads(answer.body)
        document["Peer"] = {str(number): one for number, one in enumerate(peers)}
        document["User"] = {"7": {"LoginName": "alice@example.com"}, "8": {"LoginName": "bob@example.com"}}
        return dataclasses.replace(answer, body=json.dumps(document).encode())

    scene.localapi.faults["status"] = status


def peer(name: str, number: int, user: int, **changes: Any) -> dict[str, Any]:
    """A peer as status has it."""
    own = f"100.64.0.{number}"
    return {
        "ID": f"n{number}",
        "DNSName": f"{name}.tailnet.example.",
        "UserID": user,
        "TailscaleIPs": [own],
        "AllowedIPs": [f"{own}/32"],
    } | changes


def test_who_shares_and_who_relays(scene: Scene) -> None:
    """All of it warnings: they may be meant."""
    alice, bob = scene.nodes.alice, scene.nodes.bob
    keys = "/home/bob/.ssh/authorized_keys"
    scene.host.box.write(keys, f'command="/bin/date",no-pty {scene.client.public_key("bob")}', 0o600)
    with_peers(
        scene,
        peer("alice-laptop", 2, 7),
        peer("bob-laptop", 3, 8, AllowedIPs=["100.64.0.3/32", "192.0.2.0/24"], ExitNodeOption=True),
        peer("phone", 7, 8, ShareeNode=True),
    )
    with scene.rules(nodes_rule([alice, bob], {"bob": "=", "root": "root"})):
        seen = doctor(scene)
    assert seen.states == dict.fromkeys(["relaying-nodes", "shared-in-nodes", "restricted-keys"], "warning")
    assert seen.check("shared-accounts")["state"] == "warning"
    assert seen.check("relaying-nodes")["items"] == [
        "bob-laptop.tailnet.example (bob@example.com): routes 192.0.2.0/24, exit node"
    ]
    assert seen.check("shared-in-nodes")["items"] == ["phone.tailnet.example (bob@example.com)"]
    both = "alice@example.com, bob@example.com"
    assert seen.check("shared-accounts")["items"] == [f"bob: {both}", f"root: {both}"]
    assert seen.check("restricted-keys")["items"] == [f"bob (command, no-pty): {both}"]
    del scene.localapi.faults["status"]
    sh(scene, f"rm {keys}")


# One login


@pytest.mark.parametrize("address", ["100.64.0.2", "fd7a:115c:a1e0::2"], ids=["IPv4", "IPv6"])
def test_a_login_that_is_let_in(scene: Scene, address: str) -> None:
    """By the real PAM, as by the agent; and the person's own login afterwards is as ever."""
    seen = doctor(scene, "alice", "--from", address)
    assert seen.document["login"]["explanation"]["decision"] == "allow"
    assert seen.document["login"]["pam"] == {
        "lets_in": True,
        "steps": [
            {"function": "pam_authenticate", "result": "PAM_SUCCESS"},
            {"function": "pam_acct_mgmt", "result": "PAM_SUCCESS"},
        ],
        "person_reads": [],
    }
    assert scene.login("alice").returncode == 0


def test_a_login_from_a_port_is_not_in_the_way_of_one(scene: Scene) -> None:
    """The agent gives a connection one method: the connection that was made up is none of sshd's."""
    seen = doctor(scene, "alice", "--from", "100.64.0.2:40123")
    assert seen.document["login"]["pam"]["lets_in"] is True
    assert any("addr=100.64.0.2:40123 " in line for line in scene.host.decisions())
    connect = "ProxyCommand=python3 -c " + f'"{_FROM_PORT}"'
    ran = scene.login("alice", None, "-o", connect)
    assert ran.returncode == 0, ran.stderr


_FROM_PORT = (
    "import os,socket,threading;s=socket.create_connection(('100.64.0.1',22),source_address=('100.64.0.2',40123));"
    "f=lambda a,b:[b(d) for d in iter(a,b'')] and None;"
    "threading.Thread(target=f,args=(lambda:os.read(0,65536),s.sendall),daemon=True).start();"
    "f(lambda:s.recv(65536),lambda d:os.write(1,d))"
)


def test_a_login_that_is_refused(scene: Scene) -> None:
    """By both, which is in order."""
    seen = doctor(scene, "bob", "--from", "100.64.0.2")
    assert (seen.document["login"]["explanation"]["decision"], seen.check("login")["state"]) == ("deny", "ok")
    assert seen.document["login"]["pam"]["steps"] == [{"function": "pam_authenticate", "result": "PAM_AUTH_ERR"}]


def test_a_check_is_not_started(scene: Scene) -> None:
    """Only explained."""
    with scene.rules(check_rule([scene.nodes.alice], {"alice": "="})):
        before = len(scene.host.decisions())
        seen = doctor(scene, "alice", "--from", "100.64.0.2")
        assert seen.document["login"]["explanation"]["decision"] == "check"
        assert seen.document["login"]["pam"] is None
        assert "nobody but a login may start one" in seen.document["login"]["why_no_pam"]
        about = [line for line in scene.host.decisions()[before:] if "addr=100.64.0.2" in line]
        assert (about, scene.checks()["pending"]) == ([], [])
    scene.restart_agent()


def test_what_else_in_pam_refuses(scene: Scene) -> None:
    """The policy lets in and another line does not: that is what the walk is for."""
    sh(scene, "touch /etc/nologin")
    seen = doctor(scene, "alice", "--from", "100.64.0.2")
    sh(scene, "rm /etc/nologin")
    assert seen.check("login")["state"] == "problem"
    assert seen.document["login"]["pam"]["steps"][-1]["function"] == "pam_acct_mgmt"


def test_a_pam_that_lets_in_whom_the_policy_does_not(scene: Scene) -> None:
    """The worst there is, and seen in three ways."""
    scene.host.box.write(scene.host.module_file, compile_module(scene.host.box, LETS_IN))
    seen = doctor(scene, "bob", "--from", "100.64.0.2")
    scene.host.install_shims()
    assert {name: seen.states[name] for name in ("login", "pam-refuses")} == {
        "login": "problem",
        "pam-refuses": "problem",
    }
    assert seen.check("empty-passwords")["state"] == "problem"
    assert seen.check("empty-passwords")["items"] == ["root", "decoy"]


def test_pam_is_not_asked_where_another_module_would_answer(scene: Scene) -> None:
    """A question to a damaged stack would be a failed login, which faillock counts.

    The running sshd is asked all the same, for an account that nobody logs in to.
    """
    host: Host = scene.host
    before = host.box.read(host.pam_file)
    host.box.write("/root/note", '#!/bin/sh\necho "$PAM_USER" >> /root/asked\n', 0o755)
    host.box.write(host.pam_file, f"auth optional pam_exec.so quiet /root/note\n{before}")
    seen = doctor(scene, "alice", "--from", "100.64.0.2")
    host.box.write(host.pam_file, before)
    assert seen.document["login"]["pam"] is None
    assert set(host.box.read("/root/asked").split()) == {"pam-tailscale"}
