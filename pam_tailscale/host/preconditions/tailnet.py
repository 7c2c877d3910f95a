"""Preconditions about tailscaled, the agent and the pin."""

from pam_tailscale import paths
from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.preconditions.row import Action, Row, joined
from pam_tailscale.model import Mode, Pin, in_tailnet


def _unreachable(facts: Facts) -> str:
    return facts.tailscaled.problem


def _logged_out(facts: Facts) -> str:
    found = facts.tailscaled
    return "tailscaled is logged out" if not found.problem and found.logged_out else ""


def _not_running(facts: Facts) -> str:
    found = facts.tailscaled
    if found.problem or found.logged_out or found.now is not None:
        return ""
    return f"tailscaled is in state {found.state!r}"


def _no_tun(facts: Facts) -> str:
    return "tailscaled runs with userspace networking" if not facts.tailscaled.tun else ""


def _shields_up(facts: Facts) -> str:
    return "tailscaled has its shields up" if facts.tailscaled.shields_up else ""


def _run_ssh(facts: Facts) -> str:
    return "tailscaled runs its own SSH server" if facts.tailscaled.run_ssh else ""


def _operator(facts: Facts) -> str:
    found = facts.tailscaled.operator
    return f"{found} is tailscale's operator" if found and not facts.config.trust_operator else ""


def _operator_trusted(facts: Facts) -> str:
    found = facts.tailscaled.operator
    return f"{found} is tailscale's operator, and {paths.CONFIG} trusts them" if found and not _operator(facts) else ""


def _no_interface(facts: Facts) -> str:
    found = facts.tailscaled
    if found.now is None or not found.tun or found.interface is not None:
        return ""
    return f"no interface has the node's addresses ({', '.join(map(str, found.addresses)) or 'it has none'})"


def _elsewhere(facts: Facts) -> str:
    own = facts.tailscaled.interface
    if own is None:
        return ""
    return joined(
        [
            f"{one.address} on {one.interface.name}"
            for one in facts.host.addresses
            if in_tailnet(one.address) and one.interface.index != own.index
        ]
    )


def _agent_down(facts: Facts) -> str:
    return facts.agent.problem


def _cannot_decide(facts: Facts) -> str:
    """What the agent knows beyond what is asked of tailscaled itself: the policy, and how old all of it is."""
    told = (_unreachable, _logged_out, _not_running, _operator)
    return "" if any(one(facts) for one in told) else joined(list(facts.agent.problems))


def _warnings(facts: Facts) -> str:
    """What the agent warns of, but for settings of tailscaled that have rows of their own."""
    told = (_no_tun, _run_ssh, _shields_up, _operator, _operator_trusted)
    return "" if any(one(facts) for one in told) else joined(list(facts.agent.warnings))


def _observes(facts: Facts) -> str:
    if facts.config.mode is Mode.OBSERVE or facts.agent.mode == Mode.OBSERVE.value:
        return f"the agent only observes (mode in {paths.CONFIG})"
    return ""


def _config(facts: Facts) -> str:
    return facts.config_problem


def _first_pin(facts: Facts) -> str:
    now = facts.tailscaled.now
    return f"this is {words(now)}" if now and facts.pin is None and not facts.pin_problem else ""


def _other_pin(facts: Facts) -> str:
    now, pin = facts.tailscaled.now, facts.pin
    if now is None or pin is None or now == pin:
        return ""
    return f"this host is pinned to {words(pin)}, and tailscaled is at {words(now)}"


def _damaged_pin(facts: Facts) -> str:
    return facts.pin_problem


def words(pin: Pin) -> str:
    """A pin for people."""
    tailnet = f", tailnet {pin.tailnet_id}" if pin.tailnet_id else ""
    return f"node {pin.node_id} of {pin.control_url}{tailnet}"


def _repinned(answers: Answers) -> str:
    return "it is pinned to what tailscaled is at now, as you said" if answers.repin else ""


ROWS = (
    Row(
        "tailscaled_unreachable",
        Action.REFUSE,
        _unreachable,
        "nobody could say who is at an address, and everybody would be refused",
        "run 'systemctl start tailscaled'; [tailscaled] socket in agent.toml says where it is",
    ),
    Row("logged_out", Action.REFUSE, _logged_out, "this host is in no tailnet", "run 'tailscale up'"),
    Row(
        "tailscaled_stopped",
        Action.REFUSE,
        _not_running,
        "everybody would be refused",
        "run 'tailscale up', and see 'tailscale status'",
    ),
    Row(
        "no_tun",
        Action.REFUSE,
        _no_tun,
        "sshd sees everybody who comes in by it as 127.0.0.1, so the policy would never be asked",
        "run tailscaled without --tun=userspace-networking",
    ),
    Row(
        "shields_up",
        Action.REFUSE,
        _shields_up,
        "nobody can connect to this host over the tailnet",
        "run 'tailscale set --shields-up=false'",
    ),
    Row(
        "tailscale_ssh",
        Action.REFUSE,
        _run_ssh,
        "connections to port 22 never reach sshd, and both would answer for the same policy",
        "run 'tailscale set --ssh=false'; sessions over it end",
    ),
    Row(
        "operator",
        Action.REFUSE,
        _operator,
        "without being root they can log this host in to a tailnet whose policy lets them be root",
        "run 'tailscale set --operator=' and restart tailscaled, or set trust_operator in agent.toml if that account "
        "may be root",
    ),
    Row("operator_trusted", Action.HANDLE, _operator_trusted, "that account counts as root's equal"),
    Row(
        "no_interface",
        Action.REFUSE,
        _no_interface,
        "it could not be told which connections come from the tailnet",
        "see 'ip address' and 'tailscale status': the addresses have to be on one interface, and only there",
    ),
    Row(
        "range_elsewhere",
        Action.REFUSE,
        _elsewhere,
        "who comes in by that interface has an address as from the tailnet, and would be asked about there",
        "take the address off that interface, or number that network otherwise",
    ),
    Row(
        "agent_down",
        Action.REFUSE,
        _agent_down,
        "everybody would be refused",
        "see 'systemctl status pam-tailscale-agent'",
    ),
    Row(
        "cannot_decide",
        Action.REFUSE,
        _cannot_decide,
        "everybody would be refused",
        "see 'pam-tailscale status'",
    ),
    Row("agent_warns", Action.HANDLE, _warnings, "logins are decided all the same"),
    Row(
        "observes",
        Action.REFUSE,
        _observes,
        "sshd would be told nothing, and everybody would be refused",
        f"set mode = \"enforce\" in {paths.CONFIG}, or remove it, then run 'systemctl reload pam-tailscale-agent'",
    ),
    Row(
        "agent_config_damaged",
        Action.REFUSE,
        _config,
        "the agent does not start with it",
        "mend the line that is named",
    ),
    Row("first_pin", Action.HANDLE, _first_pin, "it is pinned to that: anywhere else everybody is refused"),
    Row(
        "other_pin",
        Action.ASK,
        _other_pin,
        "whoever led tailscaled there decides who may log in to this host",
        "if it was you, say '--repin'; if not, see 'tailscale status'",
        "--repin",
        _repinned,
    ),
    Row(
        "damaged_pin",
        Action.ASK,
        _damaged_pin,
        "nobody can say any more what this host was pinned to",
        "see 'tailscale status' that this is the tailnet you mean, then say '--repin'",
        "--repin",
        _repinned,
    ),
)
