"""Everything that can be in the way of switching on, on real sshd: what `enable` says, and that it locks nobody out.

One case at least for each row of the table of preconditions. Whatever comes of it, sshd answers on the LAN as it did
before, and the account with an empty password stays out over the tailnet. Design section 10, points 2, 4, 9 and 11.
"""

import json
import shlex
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from contrib.demo.tailnet import nodes_rule
from pam_tailscale.host.pamfiles import BLOCK
from pam_tailscale.host.preconditions import ROWS, Action
from tests.integration.expect import let_in, not_let_in
from tests.support.faults_of_host import CONFIG_DIRECTORY, SSHD, SSHD_CONFIG, Fault, Lab
from tests.support.host import DROP_IN, HELPER, LOCAL_CONF, PIN, ROOT_PASSWORD, USER_PASSWORD
from tests.support.roots import Suite
from tests.support.scene import LAN, Scene, check_rule, tailnet_address
from tests.support.switching import Looked, Switched, switch

PAM_SSHD = "/etc/pam.d/sshd"
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf"
OTHER_PIN = json.dumps({"format": 1, "control_url": "https://elsewhere.example", "node_id": "n1", "tailnet_id": ""})
PERMIT_ROOT = "PermitRootLogin yes\n"
"""What the host of the tests has in LOCAL_CONF."""


# How each fault is made


def half_of_our_lines(lab: Lab) -> None:
    """Two lines that name our module, of which one is as enable writes it; the LAN steps over both."""
    ours = next(line for line in BLOCK.decode().splitlines() if line.startswith("account"))
    lab.edit(
        PAM_SSHD,
        lambda text: f"{text}{ours}\naccount optional pam_permit.so\naccount required pam_tailscale.so debug\n",
    )


def _read_only_directory(lab: Lab) -> None:
    lab.run("mount", "--bind", "-o", "ro", CONFIG_DIRECTORY, CONFIG_DIRECTORY, undo=("umount", CONFIG_DIRECTORY))


def _service_is_a_link(lab: Lab) -> None:
    lab.run("mv", PAM_SSHD, "/etc/sshd.pam")
    lab.run("ln", "-s", "/etc/sshd.pam", PAM_SSHD)


def _drop_in_is_a_link(lab: Lab) -> None:
    lab.write("/etc/ssh/some.conf", "X11Forwarding no\n")
    lab.run("ln", "-s", "/etc/ssh/some.conf", DROP_IN)


def _enabled(lab: Lab) -> None:
    on = switch(lab.host, "enable")
    assert on.status == 0, on


def _altered(lab: Lab) -> None:
    _enabled(lab)
    lab.edit(DROP_IN, lambda text: text + "    X11Forwarding no\n")


def _altered_half(lab: Lab) -> None:
    _enabled(lab)
    lab.edit(lab.host.pam_file, lambda text: text.replace("noaudit", "debug", 1))


def _guarded_off(lab: Lab) -> None:
    _enabled(lab)
    if lab.host.has_service_names:
        lab.run("rm", lab.host.pam_file)
    else:
        lab.write(lab.host.pam_file, lab.host.stock_pam)
    lab.host.check_halves(check=False)
    assert not lab.box.exists(DROP_IN)
    lab.start_sshd()


def says_version(text: str) -> Any:
    """An sshd that calls itself something else."""

    def make(lab: Lab) -> None:
        lab.run("cp", "-a", SSHD, "/usr/sbin/sshd.real")
        script = f'#!/bin/sh\ncase "$*" in -V) echo {text} >&2; exit 1 ;; esac\nexec /usr/sbin/sshd.real "$@"\n'
        lab.write("/usr/sbin/sshd.script", script, 0o755)
        lab.run("mv", "/usr/sbin/sshd.script", SSHD)

    return make


def _other_program(lab: Lab) -> None:
    lab.run("cp", SSHD, "/opt/sshd")
    lab.start_sshd(program="/opt/sshd")


def _upgraded(lab: Lab) -> None:
    lab.run("cp", "-a", SSHD, "/usr/sbin/sshd.new")
    lab.run("mv", "/usr/sbin/sshd.new", SSHD)


def _other_config(lab: Lab) -> None:
    lab.run("cp", SSHD_CONFIG, "/etc/ssh/other_config")
    lab.start_sshd("-f", "/etc/ssh/other_config")


def _forcing_sshd(lab: Lab) -> None:
    """Options that sshd's own configuration has nothing of."""
    lab.start_sshd("-o", "ForceCommand=echo forced")


def _run_by_hand(lab: Lab) -> None:
    """A host of systemd's, whose ssh.service is another process or none."""
    lab.systemd()
    lab.run("rm", "/run/sshd.pid")


def _second_sshd_with_ours(lab: Lab) -> None:
    """One that takes its configuration from the usual place."""
    lab.start_another_sshd("-p", "2222", "-o", "PidFile=none")


def _second_sshd(lab: Lab) -> None:
    lab.write("/etc/ssh/other_config", lab.box.read(SSHD_CONFIG).replace(INCLUDE, ""))
    lab.start_another_sshd("-f", "/etc/ssh/other_config", "-p", "2222", "-o", "PidFile=none")


def option(lab: Lab) -> None:
    """The only keywords of ours that one can take from us."""
    lab.start_sshd("-o", "PerSourcePenaltyExemptList=192.0.2.0/24" if lab.host.has_service_names else "UsePAM=no")


def _socket_activation(lab: Lab) -> None:
    """Systemd has the socket, and starts sshd when it is told to restart it."""
    lab.systemd("ActiveState=inactive", socket="active")
    lab.host.stop_sshd()
    ends = "pid=$(cat /run/sshd.pid) || exit 0; kill $pid; while kill -0 $pid; do sleep 0.05; done"
    lab.on_mending("sh", "-c", ends)


def confined(path: str, text: str) -> Any:
    """A kernel that confines sshd, as far as files show it; here is none that does."""

    def make(lab: Lab) -> None:
        top = "/sys/kernel/security" if "apparmor" in path else "/sys/fs"
        lab.run("mount", "-t", "tmpfs", "tmpfs", top, undo=("umount", top))
        lab.write(path, text)

    return make


def _no_include(lab: Lab) -> None:
    lab.edit(SSHD_CONFIG, lambda text: text.replace(INCLUDE, ""))
    lab.start_sshd()


def _include_in_match(lab: Lab) -> None:
    lab.edit(SSHD_CONFIG, lambda text: text.replace(INCLUDE, "") + f"Match User bob\n{INCLUDE}\n")
    lab.start_sshd()


def _without_pam(lab: Lab) -> None:
    lab.edit(SSHD_CONFIG, lambda text: text.replace("UsePAM yes", "UsePAM no"))
    lab.start_sshd()


def configured(text: str, name: str = "60-local.conf") -> Any:
    """A file in sshd_config.d."""
    return lambda lab: lab.sshd_config(text, name)


def _root_kept_out(lab: Lab) -> None:
    lab.sshd_config("PermitRootLogin no\n", LOCAL_CONF.rpartition("/")[2])


def _root_by_agent(lab: Lab) -> None:
    _root_kept_out(lab)
    lab.agent_config("allow_root = true\n")


def _no_tailscaled(lab: Lab) -> None:
    socket = "/run/tailscale/tailscaled.sock"
    lab.run("mv", socket, f"{socket}.away", undo=("mv", f"{socket}.away", socket))
    lab.tailnet()


def _trusted_operator(lab: Lab) -> None:
    lab.prefs(OperatorUser="bob")
    lab.agent_config("trust_operator = true\n")
    lab.until_known()


def moved_address(lab: Lab) -> None:
    """One of the node's addresses on another interface."""
    lab.run(
        "ip",
        "addr",
        "del",
        f"{tailnet_address(1, 6)}/48",
        "dev",
        "tailscale0",
        undo=_address("add", "/48", "tailscale0"),
    )
    lab.run("ip", "addr", "add", f"{tailnet_address(1, 6)}/128", "dev", "lo", undo=_address("del", "/128", "lo"))


def _address(verb: str, bits: str, device: str) -> tuple[str, ...]:
    nodad = ("nodad",) if verb == "add" else ()
    return ("ip", "addr", verb, f"{tailnet_address(1, 6)}{bits}", "dev", device, *nodad)


def _used_elsewhere(lab: Lab) -> None:
    lab.run(
        "ip",
        "addr",
        "add",
        "100.100.0.1/24",
        "dev",
        "lan0",
        undo=("ip", "addr", "del", "100.100.0.1/24", "dev", "lan0"),
    )


def _from_disk(lab: Lab) -> None:
    lab.tailnet(cached=True)
    lab.until_agent_says("netmap of its disk")


def _without_debug(lab: Lab) -> None:
    lab.tailnet(debug=False)
    lab.until_agent_says("without debug")


def _unknown_policy(lab: Lab) -> None:
    lab.tailnet(policy={"rules": 7})
    lab.restart_agent()


def warning(lab: Lab) -> None:
    """A damaged file that the agent was told to read and that is mended since."""
    agent = lab.host.agent
    assert agent is not None
    lab.host.configure("damaged")
    agent.send_signal(signal.SIGHUP)
    lab.until_agent_says("was not taken")
    lab.host.configure("")
    lab.tailnet()


def _observing(lab: Lab) -> None:
    lab.agent_config('mode = "observe"\n')
    lab.until_known()


def _pinned_here(lab: Lab) -> None:
    lab.host.pin()


def _no_key_and_no_password(lab: Lab) -> None:
    for name in ("root", "alice", "bob"):
        lab.box.set_password(name, None)
    lab.run("rm", "/home/alice/.ssh/authorized_keys", undo=("cp", "-a", "/run/key", "/home/alice/.ssh/authorized_keys"))


def _with_key(lab: Lab) -> None:
    lab.run("cp", "-a", "/home/alice/.ssh/authorized_keys", "/run/key")
    _no_key_and_no_password(lab)


def refused_session(lab: Lab) -> None:
    """Bob's node, which no rule lets in as root."""
    _pinned_here(lab)


def _session_without_agent(lab: Lab) -> None:
    _pinned_here(lab)
    lab.stop_agent()


def _checked_session(lab: Lab) -> None:
    alice = lab.scene.nodes.alice
    _pinned_here(lab)
    lab.rules(nodes_rule([alice], {"alice": "="}), check_rule([alice], {"root": "root"}))


# What is to be seen after a HANDLE


def _on_port_2222(lab: Lab) -> None:
    let_in(lab.scene.login("alice", None, "-p", "2222"))
    not_let_in(lab.scene.login("decoy", None, "-p", "2222"))


def not_on_port_2222(lab: Lab) -> None:
    """That one asks for a password as it always did."""
    not_let_in(lab.scene.login("alice", None, "-p", "2222"))
    not_let_in(lab.scene.login("decoy", None, "-p", "2222"))
    let_in(lab.scene.login("alice", None, "-p", "2222", password=USER_PASSWORD))


def _edits_are_kept(lab: Lab) -> None:
    assert "session optional pam_permit.so local\n" in lab.box.read(PAM_SSHD)


def _edits_are_gone(lab: Lab) -> None:
    assert "X11Forwarding" not in lab.box.read(DROP_IN)


def _half_is_ours(lab: Lab) -> None:
    assert lab.box.read(lab.host.pam_file) == BLOCK.decode() + lab.host.stock_pam


def _nothing_disabled(lab: Lab) -> None:
    assert not lab.box.exists(f"{DROP_IN}.disabled")


def _command_is_forced(lab: Lab) -> None:
    assert lab.scene.login("alice", command="id").stdout == "forced\n"


def _bob_stays_out(lab: Lab) -> None:
    not_let_in(lab.scene.login("bob", lab.scene.nodes.bob))


def root_stays_out(lab: Lab) -> None:
    """Once the agent has read its configuration, which systemd would have told it."""
    agent = lab.host.agent
    assert agent is not None
    agent.send_signal(signal.SIGHUP)
    lab.restart_agent()
    lab.until_known()
    not_let_in(lab.scene.login("root"))


def _root_gets_in(lab: Lab) -> None:
    let_in(lab.scene.login("root"))


def with_a_key_alone_nobody(lab: Lab) -> None:
    """The policy and a key: bob has the one, alice both."""
    scene = lab.scene
    not_let_in(scene.login("alice"))
    not_let_in(scene.login("bob", scene.nodes.bob, key=scene.client.make_key("bob")))
    not_let_in(scene.login("alice", scene.nodes.bob, key=scene.client.make_key("alice")))
    let_in(scene.login("alice", key=scene.client.make_key("alice")))


def _list_is_merged(lab: Lab) -> None:
    assert "PerSourcePenaltyExemptList 100.64.0.0/10,fd7a:115c:a1e0::/48,192.0.2.0/24\n" in lab.box.read(DROP_IN)


def _pinned_now(lab: Lab) -> None:
    assert json.loads(lab.box.read(PIN))["node_id"] == lab.scene.nodes.server.stable_id


def lan_stays_shut(lab: Lab) -> None:
    """There was no way before."""
    not_let_in(lab.scene.lan_login("alice", password=USER_PASSWORD))


NEW_ONLY: tuple[Suite, ...] = ("trixie",)
OLD_ONLY: tuple[Suite, ...] = ("bookworm",)
TWO_METHODS = "AuthenticationMethods publickey,password\n"
REPLACE, WITH_KEY = ("--methods", "replace"), ("--methods", "with-key")

FAULTS: tuple[Fault, ...] = (
    # Files
    Fault("unknown", half_of_our_lines),
    Fault("read_only", _read_only_directory),
    Fault("pam_service_missing", lambda lab: lab.run("rm", PAM_SSHD)),
    Fault("pam_service_trouble", _service_is_a_link, name="link"),
    Fault("pam_service_trouble", lambda lab: lab.run("chmod", "0666", PAM_SSHD), name="mode"),
    Fault(
        "pam_service_edited",
        lambda lab: lab.edit(PAM_SSHD, lambda text: f"{text}session optional pam_permit.so local\n"),
        after=_edits_are_kept,
        suites=OLD_ONLY,
    ),
    Fault("module_broken", lambda lab: lab.write(lab.host.module_file, "\x7fELF nonsense"), name="damaged"),
    Fault("module_broken", lambda lab: lab.run("rm", lab.host.module_file), name="missing"),
    Fault("program_broken", lambda lab: lab.run("rm", HELPER), name="missing"),
    Fault("program_broken", lambda lab: lab.run("chmod", "0777", HELPER.rpartition("/")[0]), name="open"),
    Fault("user_missing", lambda lab: lab.run("sed", "-i", "/^pam-tailscale-keys:/d", "/etc/passwd")),
    Fault("own_file_trouble", _drop_in_is_a_link),
    Fault("own_file_by_others", lambda lab: lab.write(DROP_IN, "X11Forwarding no\n")),
    Fault("own_file_altered", _altered, ("--replace-edits",), NEW_ONLY, after=_edits_are_gone),
    Fault("own_file_altered", _altered_half, ("--replace-edits",), OLD_ONLY, name="half", after=_half_is_ours),
    Fault("guarded_off", _guarded_off, after=_nothing_disabled),
    # Which sshd
    Fault("sshd_unknown", says_version("something")),
    Fault("sshd_old", says_version("OpenSSH_8.9p1")),
    Fault("sshd_config_broken", lambda lab: lab.write(f"{CONFIG_DIRECTORY}/60-local.conf", "NoSuchKeyword yes\n")),
    Fault("other_program", _other_program),
    Fault("replaced_program", _upgraded, suites=NEW_ONLY),
    Fault("other_config", _other_config),
    Fault("own_options", _forcing_sshd, suites=NEW_ONLY),
    Fault("not_of_unit", _run_by_hand, suites=NEW_ONLY),
    Fault("others_with_ours", _second_sshd_with_ours),
    Fault("other_listeners", _second_sshd, suites=NEW_ONLY, after=not_on_port_2222),
    Fault("not_running", lambda lab: lab.host.stop_sshd(), lan=False, after=Lab.start_sshd),
    Fault("socket_activation", _socket_activation, suites=NEW_ONLY),
    Fault("several_ports", configured("Port 22\nPort 2222\n"), after=_on_port_2222, suites=NEW_ONLY),
    Fault("not_on_tailnet", configured(f"ListenAddress {LAN[4]}\n")),
    Fault("unit_masked", lambda lab: lab.systemd("LoadState=masked"), suites=NEW_ONLY),
    Fault("unit_not_guarded", lambda lab: lab.systemd("ExecReload=\nDropInPaths=/etc/x.conf"), suites=NEW_ONLY),
    Fault("unguarded", lambda _: None, suites=NEW_ONLY),
    Fault("selinux", confined("/sys/fs/selinux/enforce", "1"), ("--confined-sshd",), NEW_ONLY),
    Fault(
        "apparmor",
        confined("/sys/kernel/security/apparmor/profiles", "/usr/sbin/sshd (enforce)\n"),
        ("--confined-sshd",),
        OLD_ONLY,
    ),
    # Its configuration
    Fault("include_absent", _no_include),
    Fault("include_in_match", _include_in_match),
    Fault("earlier_setting", configured("Match User alice\nPasswordAuthentication no\n", "05-local.conf"), lan=False),
    Fault("command_line", option),
    Fault("no_pam", _without_pam),
    Fault("use_dns", configured("UseDNS yes\n"), suites=OLD_ONLY),
    Fault(
        "keys_command",
        configured("AuthorizedKeysCommand /bin/true\nAuthorizedKeysCommandUser nobody\n"),
        suites=NEW_ONLY,
    ),
    Fault("several_methods", configured(TWO_METHODS), REPLACE, lan=False, name="replace", suites=OLD_ONLY),
    Fault(
        "several_methods", configured(TWO_METHODS), WITH_KEY, lan=False, name="with-key", after=with_a_key_alone_nobody
    ),
    Fault("one_method", configured("AuthenticationMethods publickey\n"), REPLACE, NEW_ONLY, lan=False),
    Fault(
        "one_method",
        configured("Match Group nogroup\nAuthenticationMethods publickey\n"),
        REPLACE,
        OLD_ONLY,
        name="some",
    ),
    Fault(
        "no_keys_allowed", configured(f"{TWO_METHODS}Match User bob\nPubkeyAuthentication no\n"), WITH_KEY, lan=False
    ),
    Fault("no_keys", configured("PubkeyAuthentication no\n"), suites=OLD_ONLY),
    Fault("force_command", configured("ForceCommand echo forced\n"), suites=NEW_ONLY, after=_command_is_forced),
    Fault("chroot", configured("ChrootDirectory /\n"), suites=OLD_ONLY),
    Fault("user_lists", configured("DenyUsers bob\n"), after=_bob_stays_out, suites=OLD_ONLY),
    Fault("root_kept_out", _root_kept_out, after=root_stays_out, suites=OLD_ONLY),
    Fault("root_kept_out", _root_kept_out, ("--allow-root",), name="allowed", after=_root_gets_in, suites=NEW_ONLY),
    Fault("root_by_agent", _root_by_agent, suites=OLD_ONLY, after=_root_gets_in),
    Fault(
        "own_exempt_list",
        configured("PerSourcePenaltyExemptList 192.0.2.0/24\n"),
        suites=NEW_ONLY,
        after=_list_is_merged,
    ),
    Fault("login_grace", configured("LoginGraceTime 0\n"), name="none"),
    Fault("login_grace", configured("LoginGraceTime 10m\n"), name="long"),
    Fault("max_startups", configured("MaxStartups 8:30:100\n")),
    # tailscaled and the agent
    Fault("tailscaled_unreachable", _no_tailscaled, suites=NEW_ONLY),
    Fault("logged_out", lambda lab: lab.tailnet(state="NeedsLogin"), suites=OLD_ONLY),
    Fault("tailscaled_stopped", lambda lab: lab.tailnet(state="Stopped")),
    Fault("no_tun", lambda lab: lab.tailnet(tun=False)),
    Fault("shields_up", lambda lab: lab.prefs(ShieldsUp=True)),
    Fault("tailscale_ssh", lambda lab: lab.prefs(RunSSH=True)),
    Fault("operator", lambda lab: lab.prefs(OperatorUser="bob")),
    Fault("operator_trusted", _trusted_operator, suites=OLD_ONLY),
    Fault("no_interface", moved_address),
    Fault("range_elsewhere", _used_elsewhere),
    Fault("agent_down", Lab.stop_agent, suites=OLD_ONLY),
    Fault("cannot_decide", _from_disk, name="cached"),
    Fault("cannot_decide", _without_debug, suites=NEW_ONLY, name="no-debug"),
    Fault("cannot_decide", _unknown_policy, suites=OLD_ONLY, name="unknown-policy"),
    Fault("agent_warns", warning, suites=NEW_ONLY),
    Fault("observes", _observing),
    Fault("agent_config_damaged", lambda lab: lab.host.configure("damaged")),
    Fault("first_pin", lambda _: None, after=_pinned_now),
    Fault("other_pin", lambda lab: lab.write(PIN, OTHER_PIN), ("--repin",), after=_pinned_now, suites=OLD_ONLY),
    Fault("damaged_pin", lambda lab: lab.write(PIN, "{}"), ("--repin",), NEW_ONLY, after=_pinned_now),
    # People
    Fault("no_other_way", _with_key, ("--no-other-way",), OLD_ONLY, lan=False, after=lan_stays_shut),
    Fault(
        "no_other_way",
        configured(f"ListenAddress {tailnet_address(1, 4)}\n"),
        ("--no-other-way",),
        NEW_ONLY,
        name="address",
        lan=False,
    ),
    Fault("cut_off", refused_session, ("--cut-me-off",), node=lambda scene: scene.nodes.bob, suites=NEW_ONLY),
    Fault("cut_off_unknown", _session_without_agent, suites=NEW_ONLY, node=lambda scene: scene.nodes.alice),
    Fault("asked_after_pinning", lambda _: None, node=lambda scene: scene.nodes.alice, suites=OLD_ONLY),
    Fault("check_ahead", _checked_session, suites=NEW_ONLY, node=lambda scene: scene.nodes.alice),
)

CASES = [(suite, fault) for fault in FAULTS for suite in fault.suites]


def test_every_row_has_a_case() -> None:
    """The table of preconditions and this matrix are the same."""
    assert list(dict.fromkeys(fault.row for fault in FAULTS)) == [row.name for row in ROWS]


@pytest.fixture(scope="module")
def labs() -> Iterator[dict[str, Lab]]:
    """A host of each release, made when it is first asked for."""
    scenes: list[Scene] = []

    class Labs(dict[str, Lab]):
        def __missing__(self, suite: str) -> Lab:
            scene = Scene.of("bookworm" if suite == "bookworm" else "trixie").__enter__()
            scenes.append(scene)
            self[suite] = Lab(scene)
            return self[suite]

    try:
        yield Labs()
    finally:
        for scene in scenes:
            scene.__exit__(None, None, None)


def run(lab: Lab, fault: Fault, *options: str) -> Switched:
    """`enable`, on the host or from a session of root's over the tailnet."""
    if fault.node is None:
        return switch(lab.host, "enable", *options)
    host = lab.host
    argv = [f"{name}={value}" for name, value in host._env.items()]
    argv += [host.python, "-m", "pam_tailscale.cli.main", "enable", *options, "--yes", "--json"]
    done = lab.scene.login("root", fault.node(lab.scene), password=ROOT_PASSWORD, command=shlex.join(["env", *argv]))
    return Switched(done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr)


def action(ran: Switched, row: str) -> str:
    """What came of a row; empty where it was not told."""
    return next((found["action"] for found in ran.document.get("findings", []) if found["row"] == row), "")


def nobody_is_locked_out(lab: Lab, *, lan: bool) -> None:
    """Alice gets in from the LAN by her password, if that worked before, and the decoy nowhere."""
    if lan:
        let_in(lab.scene.lan_login("alice", password=USER_PASSWORD))
    not_let_in(lab.scene.login("decoy"))
    not_let_in(lab.scene.login("decoy", password=""))
    not_let_in(lab.scene.lan_login("decoy", password=""))


@pytest.mark.parametrize(
    ("suite", "fault"),
    [pytest.param(suite, fault, marks=pytest.mark.xdist_group(suite), id=f"{fault}-{suite}") for suite, fault in CASES],
)
def test_a_fault(labs: dict[str, Lab], suite: str, fault: Fault) -> None:
    """Refused or asked: not a byte is changed. Handled, or answered: it works."""
    row = next(row for row in ROWS if row.name == fault.row)
    lab = labs[suite]
    with lab.mended():
        fault.make(lab)
        before = lab.look()
        if row.action is not Action.HANDLE:
            must_change_nothing(lab, fault, row.action, before)
        if row.action is Action.HANDLE or (row.action is Action.ASK and fault.answer):
            must_work(lab, fault)
    assert lab.look() == lab.whole
    let_in(lab.scene.lan_login("alice", password=USER_PASSWORD))


def must_change_nothing(lab: Lab, fault: Fault, expected: Action, before: Looked) -> None:
    """The finding is told, and everything is as it was, to the byte."""
    options = () if expected is Action.ASK else fault.answer
    ran = run(lab, fault, *options)
    assert action(ran, fault.row) == expected.value, ran
    assert (ran.status, ran.document["changed"]) == (1, False), ran
    assert lab.look() == before
    nobody_is_locked_out(lab, lan=fault.lan)


def must_work(lab: Lab, fault: Fault) -> None:
    """It is switched on, and told; over the tailnet the policy lets in, and nobody else gets in."""
    ran = run(lab, fault, *fault.answer)
    assert action(ran, fault.row) == Action.HANDLE.value, ran
    assert (ran.status, ran.document["on"], ran.document["problem"]) == (0, True, ""), ran
    fault.after(lab)
    if fault.answer != WITH_KEY:
        let_in(lab.scene.login("alice"))
    not_let_in(lab.scene.login("alice", lab.scene.nodes.stranger))
    nobody_is_locked_out(lab, lan=fault.lan)


def test_a_first_run_from_a_session_that_the_policy_refuses_is_taken_back(labs: dict[str, Lab]) -> None:
    """The policy can only be asked once the host is pinned; then it is, and nothing stays of it, the pin neither."""
    lab = labs["trixie"]
    fault = Fault("cut_off", lambda _: None, node=lambda scene: scene.nodes.bob)
    with lab.mended():
        ran = run(lab, fault)
        assert ran.status == 1, ran
        assert "the policy refuses that" in ran.document["problem"]
        assert lab.look() == lab.whole
        nobody_is_locked_out(lab, lan=True)
