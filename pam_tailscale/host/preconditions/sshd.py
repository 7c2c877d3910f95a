"""Preconditions about sshd as a program: which one runs, and what runs it."""

from pam_tailscale import paths
from pam_tailscale.host.facts import Facts, Listener
from pam_tailscale.host.preconditions.row import Action, Row, joined
from pam_tailscale.host.sshdconfig import MAIN, PROGRAM


def _version_unknown(facts: Facts) -> str:
    return "" if facts.sshd.openssh else f"{PROGRAM} is missing, or does not say which OpenSSH it is"


def _version_old(facts: Facts) -> str:
    found = facts.sshd.openssh
    return f"OpenSSH {found}" if found and not found.is_supported else ""


def _complaint(facts: Facts) -> str:
    return facts.sshd.complaint


def _other_program(facts: Facts) -> str:
    found = facts.sshd.listener
    return f"what listens is {found.program} (process {found.pid})" if found and not found.is_installed else ""


def _replaced_program(facts: Facts) -> str:
    found = facts.sshd.listener
    is_old = found is not None and found.is_installed and found.program.endswith(" (deleted)")
    return f"sshd was upgraded and has not been restarted (process {found.pid})" if found and is_old else ""


def _other_config(facts: Facts) -> str:
    found = facts.sshd.listener
    return f"sshd runs with -f {found.config} (process {found.pid})" if found and found.config != MAIN else ""


def _own_options(facts: Facts) -> str:
    return f"sshd is run with options of its own: {joined(list(facts.sshd.unproved))}" if facts.sshd.unproved else ""


def _not_of_unit(facts: Facts) -> str:
    found, unit = facts.sshd.listener, facts.sshd.unit
    if not unit.booted or found is None or found.pid == unit.main_pid:
        return ""
    return f"sshd (process {found.pid}) is not run by ssh.service"


def _unguarded(facts: Facts) -> str:
    return "" if facts.sshd.unit.booted else "systemd does not run this host"


def _others_with_ours(facts: Facts) -> str:
    return joined([_named(one) for one in facts.sshd.others if one.reads_drop_in])


def _others(facts: Facts) -> str:
    return joined([_named(one) for one in facts.sshd.others if not one.reads_drop_in])


def _named(one: Listener) -> str:
    return f"{one.program} (process {one.pid}, {one.config}, port {', '.join(str(end.port) for end in one.sockets)})"


def _not_running(facts: Facts) -> str:
    is_down = facts.sshd.listener is None and not facts.sshd.unit.socket_active
    return "sshd does not run" if is_down else ""


def _socket_activation(facts: Facts) -> str:
    return "systemd listens for sshd (ssh.socket)" if facts.sshd.unit.socket_active else ""


def _several_ports(facts: Facts) -> str:
    ports = facts.sshd.ports
    return f"sshd listens on ports {', '.join(map(str, ports))}" if len(ports) > 1 else ""


def _not_on_tailnet(facts: Facts) -> str:
    listening = {end.address for end in facts.sshd.sockets}
    reached = any(
        address in listening or any(one.is_unspecified and one.version == address.version for one in listening)
        for address in facts.tailscaled.addresses
    )
    if reached or not listening or not facts.tailscaled.addresses:
        return ""
    return f"sshd listens on {', '.join(sorted(map(str, listening)))} alone, none of which is this node's"


def _masked(facts: Facts) -> str:
    unit = facts.sshd.unit
    return "ssh.service is masked" if unit.booted and unit.load_state == "masked" else ""


def _not_guarded(facts: Facts) -> str:
    unit = facts.sshd.unit
    if not unit.booted or unit.guarded or unit.load_state != "loaded":
        return ""
    return "ssh.service does not run check-halves" + (f": see {', '.join(unit.drop_ins)}" if unit.drop_ins else "")


def _selinux(facts: Facts) -> str:
    return "SELinux enforces" if "SELinux" in facts.sshd.confinement else ""


def _apparmor(facts: Facts) -> str:
    return "an AppArmor profile confines sshd" if "AppArmor" in facts.sshd.confinement else ""


ROWS = (
    Row(
        "sshd_unknown",
        Action.REFUSE,
        _version_unknown,
        "the files depend on the version, and a wrong one shuts everybody out in ways that 'sshd -t' does not see",
        "install openssh-server",
    ),
    Row(
        "sshd_old",
        Action.REFUSE,
        _version_old,
        "this was only tried with OpenSSH 9.2 and later",
        "upgrade to Debian 12 or later",
    ),
    Row(
        "sshd_config_broken",
        Action.REFUSE,
        _complaint,
        "sshd would not start with its configuration as it is, so nothing can be added to it",
        "mend the line it names, then see that 'sshd -t' says nothing",
    ),
    Row(
        "other_program",
        Action.REFUSE,
        _other_program,
        f"what is proved with {PROGRAM} would say nothing about it",
        f"run Debian's own sshd, or stop the other one: 'systemctl restart ssh' starts {PROGRAM}",
    ),
    Row(
        "replaced_program",
        Action.HANDLE,
        _replaced_program,
        "when it reads its configuration again, it starts the new program in its place",
    ),
    Row(
        "other_config",
        Action.REFUSE,
        _other_config,
        f"it would never read {paths.DROP_IN}",
        f"run sshd with {MAIN}: see SSHD_OPTS in /etc/default/ssh and 'systemctl cat ssh'",
    ),
    Row(
        "own_options",
        Action.REFUSE,
        _own_options,
        "what is proved without them would say nothing about it, and what they name is not run or opened for a proof",
        "put them into sshd_config, and start sshd without them: see SSHD_OPTS in /etc/default/ssh",
    ),
    Row(
        "not_of_unit",
        Action.REFUSE,
        _not_of_unit,
        "nothing would make it forget the drop-in when its PAM half is gone: it would open the tailnet to empty "
        "passwords",
        "stop it, and run sshd as ssh.service: 'systemctl start ssh'",
    ),
    Row(
        "others_with_ours",
        Action.REFUSE,
        _others_with_ours,
        "it would read the drop-in, UsePAM included, and nothing would make it forget that when the PAM half is gone",
        f"take the Include of {paths.DROP_IN.parent} out of its configuration, or stop it",
    ),
    Row(
        "other_listeners",
        Action.HANDLE,
        _others,
        "it does not read the drop-in: people are let in by it as before, over the tailnet, too",
        "stop it, or have it listen elsewhere than on this node's tailnet addresses",
    ),
    Row("not_running", Action.HANDLE, _not_running, "what is written counts when it starts"),
    Row(
        "socket_activation",
        Action.HANDLE,
        _socket_activation,
        "sshd reads its configuration when it is started, at the latest by the next connection",
    ),
    Row("several_ports", Action.HANDLE, _several_ports, "the tailnet's policy decides on all of them"),
    Row(
        "not_on_tailnet",
        Action.REFUSE,
        _not_on_tailnet,
        "nobody can log in over the tailnet, whatever its policy says",
        "add a ListenAddress for this node's tailnet addresses, or listen on all",
    ),
    Row(
        "unit_masked",
        Action.REFUSE,
        _masked,
        "systemd does not reload it: the drop-in could not be taken out of force when its other half is gone",
        "run 'systemctl unmask ssh.service'",
    ),
    Row(
        "unit_not_guarded",
        Action.REFUSE,
        _not_guarded,
        "sshd could read the drop-in while its PAM half is gone, and would open the tailnet to empty passwords",
        "leave ExecStartPre and ExecReload of ssh.service as they are, see 'systemctl cat ssh.service'; then run "
        "'systemctl daemon-reload'",
    ),
    Row(
        "unguarded",
        Action.HANDLE,
        _unguarded,
        "nobody watches the two halves: if the PAM half is lost or altered, sshd opens the tailnet to empty passwords",
        f"run '{paths.KEY_HELPER.with_name('check-halves')}' before sshd starts, and each minute from cron with "
        "'--reload'; where that says something, reload sshd",
    ),
    Row(
        "selinux",
        Action.ASK,
        _selinux,
        "this was not tried with SELinux: it may keep sshd from asking the agent, and then refuses the whole tailnet",
        "try it on a host that you can reach otherwise",
        "--confined-sshd",
        lambda answers: "not tried with SELinux, and switched on as you said" if answers.confined_sshd else "",
    ),
    Row(
        "apparmor",
        Action.ASK,
        _apparmor,
        "this was not tried with AppArmor: it may keep sshd from asking the agent, and then refuses the whole tailnet",
        "allow sshd to load pam_tailscale.so, to use /run/pam-tailscale/agent.sock and to start the key helper",
        "--confined-sshd",
        lambda answers: "not tried with AppArmor, and switched on as you said" if answers.confined_sshd else "",
    ),
)
