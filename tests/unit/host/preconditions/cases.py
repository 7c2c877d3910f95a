"""One way to see each row of the table apply, as a change of a host on which nothing is in the way."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pam_tailscale.config import Config
from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.facts import Answer, Facts, HostAddress, HostFile, Program, Unit, Unknown, Written
from pam_tailscale.host.preconditions import Action
from pam_tailscale.host.version import OpenSSH
from pam_tailscale.model import Mode
from tests.support.host_facts import (
    BOOKWORM,
    BOOTED,
    DROP_IN,
    LAN0,
    OTHER_PIN,
    STOCK,
    address,
    config,
    healthy,
    listener,
    sockets,
    with_agent,
    with_config,
    with_effective,
    with_host,
    with_pam,
    with_session,
    with_sshd,
    with_tailscaled,
)

OLD, NEW = healthy(BOOKWORM), healthy()
UNANSWERED = Answers()
SERVICE = "/etc/pam.d/sshd"


@dataclass(frozen=True, slots=True)
class Case:
    """What is seen, and what comes of it."""

    facts: Facts
    action: Action
    says: str
    """Stands in what was seen."""
    answers: Answers = UNANSWERED
    answered: Answers | None = None
    """The answer that makes an ASK a HANDLE."""


REFUSE, ASK, HANDLE = Action


def _deny(reason: str = "no_rule", *, can_tell: bool = True) -> Answer:
    return Answer("deny", reason, "no rule is about this peer", can_tell)


def own_file(written: Written, trouble: str = "", path: str = DROP_IN) -> tuple[HostFile, ...]:
    """A file at one of our places."""
    return (HostFile(path, trouble, written),)


def _changed(facts: Facts) -> Callable[..., Facts]:
    return lambda **changes: dataclasses.replace(facts, **changes)


FILES: Mapping[str, Case] = {
    "unknown": Case(
        _changed(NEW)(unknown=(Unknown("the addresses", "no netlink"),)), REFUSE, "the addresses: no netlink"
    ),
    "read_only": Case(
        with_host(NEW, read_only=("/etc/ssh/sshd_config.d",)), REFUSE, "/etc/ssh/sshd_config.d is read-only"
    ),
    "pam_service_missing": Case(with_pam(NEW, service=None), REFUSE, "/etc/pam.d/sshd is missing"),
    "pam_service_trouble": Case(
        with_pam(NEW, service=HostFile(SERVICE, "is a link", Written.NOT_OURS)), REFUSE, "/etc/pam.d/sshd is a link"
    ),
    "pam_service_edited": Case(with_pam(NEW, is_edited=True), HANDLE, "/etc/pam.d/sshd is not as"),
    "module_broken": Case(with_pam(NEW, module_error="invalid ELF header"), REFUSE, "invalid ELF header"),
    "program_broken": Case(_changed(NEW)(programs=(Program("/x", "is no program"),)), REFUSE, "/x is no program"),
    "user_missing": Case(with_host(NEW, keys_user=None), REFUSE, "there is no account pam-tailscale-keys"),
    "own_file_trouble": Case(
        _changed(NEW)(files=own_file(Written.AS_WRITTEN, "is a link")), REFUSE, f"{DROP_IN} is a link"
    ),
    "own_file_by_others": Case(_changed(NEW)(files=own_file(Written.BY_OTHERS)), REFUSE, f"{DROP_IN} is there"),
    "own_file_altered": Case(
        _changed(NEW)(files=own_file(Written.ALTERED)),
        ASK,
        f"{DROP_IN} was altered",
        answered=Answers(replace_edits=True),
    ),
    "guarded_off": Case(_changed(NEW)(is_guarded_off=True), HANDLE, ".disabled is there"),
}

PROGRAMS: Mapping[str, Case] = {
    "sshd_unknown": Case(with_sshd(NEW, openssh=None), REFUSE, "/usr/sbin/sshd is missing"),
    "sshd_old": Case(with_sshd(NEW, openssh=OpenSSH(8, 9)), REFUSE, "OpenSSH 8.9"),
    "sshd_config_broken": Case(with_sshd(NEW, complaint="line 3: Bad option"), REFUSE, "line 3: Bad option"),
    "other_program": Case(
        with_sshd(NEW, listener=listener(program="/opt/sshd", is_installed=False)), REFUSE, "/opt/sshd (process 400)"
    ),
    "replaced_program": Case(
        with_sshd(NEW, listener=listener(program="/usr/sbin/sshd (deleted)")), HANDLE, "has not been restarted"
    ),
    "other_config": Case(with_sshd(NEW, listener=listener(config="/etc/other")), REFUSE, "-f /etc/other"),
    "own_options": Case(
        with_sshd(NEW, unproved=("ForceCommand=/bin/true",)), REFUSE, "options of its own: ForceCommand=/bin/true"
    ),
    "not_of_unit": Case(with_sshd(NEW, listener=listener(pid=399)), REFUSE, "(process 399) is not run by ssh.service"),
    "others_with_ours": Case(
        with_sshd(NEW, others=(listener(pid=401, sockets=sockets("::", port=2222), reads_drop_in=True),)),
        REFUSE,
        "/usr/sbin/sshd (process 401, /etc/ssh/sshd_config, port 2222)",
    ),
    "other_listeners": Case(
        with_sshd(NEW, others=(listener(pid=401, config="/etc/other", sockets=sockets("::", port=2222)),)),
        HANDLE,
        "/usr/sbin/sshd (process 401, /etc/other, port 2222)",
    ),
    "not_running": Case(with_sshd(NEW, listener=None), HANDLE, "sshd does not run"),
    "socket_activation": Case(
        with_sshd(NEW, listener=None, unit=dataclasses.replace(BOOTED, active=False, socket_active=True)),
        HANDLE,
        "ssh.socket",
    ),
    "several_ports": Case(
        with_sshd(NEW, sockets=(*sockets("::"), *sockets("::", port=2222))), HANDLE, "ports 22, 2222"
    ),
    "not_on_tailnet": Case(with_sshd(NEW, sockets=sockets("192.0.2.1")), REFUSE, "192.0.2.1 alone"),
    "unit_masked": Case(
        with_sshd(NEW, unit=dataclasses.replace(BOOTED, load_state="masked")), REFUSE, "ssh.service is masked"
    ),
    "unit_not_guarded": Case(
        with_sshd(NEW, unit=dataclasses.replace(BOOTED, guarded=False, drop_ins=("/etc/systemd/x.conf",))),
        REFUSE,
        "does not run check-halves: see /etc/systemd/x.conf",
    ),
    "unguarded": Case(with_sshd(NEW, unit=Unit()), HANDLE, "systemd does not run this host"),
    "selinux": Case(
        with_sshd(NEW, confinement=("SELinux",)), ASK, "SELinux enforces", answered=Answers(confined_sshd=True)
    ),
    "apparmor": Case(
        with_sshd(NEW, confinement=("AppArmor",)), ASK, "an AppArmor profile", answered=Answers(confined_sshd=True)
    ),
}

_METHODS = Answers(methods=Methods.REPLACE)

CONFIGURATION: Mapping[str, Case] = {
    "include_absent": Case(with_config(NEW, "UsePAM yes\n"), REFUSE, f"does not include {DROP_IN}"),
    "include_in_match": Case(
        with_config(NEW, f"UsePAM yes\nMatch User alice\n{STOCK}"), REFUSE, "stands inside Match user alice"
    ),
    "earlier_setting": Case(
        with_config(NEW, f05="Match User alice\n PasswordAuthentication no\n"),
        REFUSE,
        "passwordauthentication no (/etc/ssh/sshd_config.d/05-a.conf:2)",
    ),
    "command_line": Case(
        with_sshd(NEW, config=config(options=("PerSourcePenaltyExemptList=192.0.2.0/24",))),
        REFUSE,
        "persourcepenaltyexemptlist 192.0.2.0/24 (the command line of sshd)",
    ),
    "no_pam": Case(
        with_config(NEW, STOCK.replace("UsePAM yes", "UsePAM no")), REFUSE, "usepam no (/etc/ssh/sshd_config:3)"
    ),
    "use_dns": Case(
        with_effective(with_config(OLD, STOCK + "UseDNS yes\n"), usedns="yes"),
        REFUSE,
        "usedns yes (/etc/ssh/sshd_config:4)",
    ),
    "keys_command": Case(
        with_config(NEW, f20="AuthorizedKeysCommand /usr/bin/userdbctl ssh-authorized-keys %u\n"),
        HANDLE,
        "/usr/bin/userdbctl",
    ),
    "several_methods": Case(
        with_config(NEW, STOCK + "AuthenticationMethods publickey,keyboard-interactive\n"),
        ASK,
        "publickey,keyboard-interactive (/etc/ssh/sshd_config:4)",
        answered=_METHODS,
    ),
    "one_method": Case(
        with_config(NEW, STOCK + "AuthenticationMethods publickey\n"),
        ASK,
        "authenticationmethods publickey",
        answered=_METHODS,
    ),
    "no_keys_allowed": Case(
        with_config(NEW, STOCK + "AuthenticationMethods publickey,password\nPubkeyAuthentication no\n"),
        REFUSE,
        "pubkeyauthentication no",
        answers=Answers(methods=Methods.WITH_KEY),
    ),
    "no_keys": Case(with_config(NEW, STOCK + "PubkeyAuthentication no\n"), HANDLE, "pubkeyauthentication no"),
    "force_command": Case(
        with_config(NEW, STOCK + "Match Group sftp\nForceCommand internal-sftp\n"), HANDLE, "internal-sftp"
    ),
    "chroot": Case(with_config(NEW, STOCK + "ChrootDirectory /srv/%u\n"), HANDLE, "chrootdirectory /srv/%u"),
    "user_lists": Case(with_config(NEW, STOCK + "AllowUsers alice bob\n"), HANDLE, "allowusers alice bob"),
    "root_kept_out": Case(
        with_config(NEW, STOCK + "PermitRootLogin no\n"),
        HANDLE,
        "permitrootlogin no",
        answered=Answers(allow_root=True),
    ),
    "root_by_agent": Case(
        _changed(with_config(NEW, STOCK + "PermitRootLogin no\n"))(allow_root=True),
        HANDLE,
        "allow_root in /etc/pam-tailscale",
    ),
    "own_exempt_list": Case(
        with_config(NEW, STOCK + "PerSourcePenaltyExemptList 192.0.2.0/24\n"), HANDLE, "192.0.2.0/24"
    ),
    "login_grace": Case(with_effective(NEW, logingracetime="0"), REFUSE, "LoginGraceTime 0"),
    "max_startups": Case(
        with_effective(NEW, maxstartups="8:30:100"), REFUSE, "MaxStartups 8:30:100, and 4 connections"
    ),
}

TAILNET: Mapping[str, Case] = {
    "tailscaled_unreachable": Case(with_tailscaled(NEW, problem="cannot reach", now=None), REFUSE, "cannot reach"),
    "logged_out": Case(with_tailscaled(NEW, logged_out=True, now=None), REFUSE, "logged out"),
    "tailscaled_stopped": Case(with_tailscaled(NEW, state="Stopped", now=None), REFUSE, "in state 'Stopped'"),
    "no_tun": Case(with_tailscaled(NEW, tun=False), REFUSE, "userspace networking"),
    "shields_up": Case(with_tailscaled(NEW, shields_up=True), REFUSE, "shields up"),
    "tailscale_ssh": Case(with_tailscaled(NEW, run_ssh=True), REFUSE, "its own SSH server"),
    "operator": Case(with_tailscaled(NEW, operator="bob"), REFUSE, "bob is tailscale's operator"),
    "operator_trusted": Case(
        _changed(with_tailscaled(NEW, operator="bob"))(config=Config(trust_operator=True)), HANDLE, "trusts them"
    ),
    "no_interface": Case(with_tailscaled(NEW, interface=None), REFUSE, "100.64.0.1, fd7a:115c:a1e0::1"),
    "range_elsewhere": Case(
        with_host(NEW, addresses=(*NEW.host.addresses, HostAddress(LAN0, address("100.100.0.1")))),
        REFUSE,
        "100.100.0.1 on lan0",
    ),
    "agent_down": Case(with_agent(NEW, problem="the agent cannot be reached"), REFUSE, "cannot be reached"),
    "cannot_decide": Case(with_agent(NEW, problems=("a netmap of its disk",)), REFUSE, "a netmap of its disk"),
    "agent_warns": Case(with_agent(NEW, warnings=("no checks",)), HANDLE, "no checks"),
    "observes": Case(_changed(NEW)(config=Config(mode=Mode.OBSERVE)), REFUSE, "only observes"),
    "agent_config_damaged": Case(_changed(NEW)(config_problem="line 1: mood is unknown"), REFUSE, "mood is unknown"),
    "first_pin": Case(_changed(NEW)(pin=None), HANDLE, "node nHostCNTRL of https://control.tailnet.example"),
    "other_pin": Case(_changed(NEW)(pin=OTHER_PIN), ASK, "nOtherCNTRL", answered=Answers(repin=True)),
    "damaged_pin": Case(
        _changed(NEW)(pin=None, pin_problem="pin.json: is damaged"), ASK, "is damaged", answered=Answers(repin=True)
    ),
}

PEOPLE: Mapping[str, Case] = {
    "no_other_way": Case(
        with_host(NEW, ways_in=()), ASK, "no account could log in", answered=Answers(no_other_way=True)
    ),
    "cut_off": Case(
        with_session(NEW, answer=_deny()),
        ASK,
        "alice from 100.64.0.2, and the policy refuses",
        answered=Answers(cut_me_off=True),
    ),
    "cut_off_unknown": Case(
        with_session(NEW, answer=_deny("tailscaled_unreachable", can_tell=False)),
        ASK,
        "the agent cannot say",
        answered=Answers(cut_me_off=True),
    ),
    "asked_after_pinning": Case(with_session(NEW, answer=_deny("not_pinned")), HANDLE, "you are logged in as alice"),
    "check_ahead": Case(
        with_session(NEW, answer=Answer("check", "check_needed", "", can_tell=True)), HANDLE, "the policy wants a check"
    ),
}

CASES: Mapping[str, Case] = {**FILES, **PROGRAMS, **CONFIGURATION, **TAILNET, **PEOPLE}
