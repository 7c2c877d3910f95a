"""Preconditions about PAM, the package's own parts, and the files that are written."""

from pam_tailscale import paths
from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Facts, HostFile, Written
from pam_tailscale.host.preconditions.configuration import is_before_98
from pam_tailscale.host.preconditions.row import Action, Row, joined

_REINSTALL = "run 'apt-get install --reinstall pam-tailscale libpam-tailscale'"


def _unknown(facts: Facts) -> str:
    return joined([f"{one.what}: {one.why}" for one in facts.unknown])


def _read_only(facts: Facts) -> str:
    return joined([f"{path} is read-only" for path in facts.host.read_only])


def _service_missing(facts: Facts) -> str:
    return "" if facts.pam.service else f"{paths.PAM_SSHD} is missing"


def _service_trouble(facts: Facts) -> str:
    service = facts.pam.service
    return f"{service.path} {service.trouble}" if service and service.trouble else ""


def _service_edited(facts: Facts) -> str:
    return f"{paths.PAM_SSHD} is not as openssh-server brought it" if facts.pam.is_edited else ""


def _module(facts: Facts) -> str:
    return facts.pam.module_error


def _programs(facts: Facts) -> str:
    return joined([f"{one.path} {one.error}" for one in facts.programs if one.error])


def _users(facts: Facts) -> str:
    agent = facts.config.agent
    known = {agent.keys_user: facts.host.keys_user, agent.user: facts.host.agent_user}
    return joined([f"there is no account {name}" for name, user in known.items() if user is None])


def _of_ours(facts: Facts) -> list[HostFile]:
    """The files that we write, and /etc/pam.d/sshd where our lines stand in it."""
    service = facts.pam.service
    return [*facts.files, *([service] if service and is_before_98(facts) else [])]


def _trouble(facts: Facts) -> str:
    return joined([f"{one.path} {one.trouble}" for one in facts.files if one.trouble])


def _altered(facts: Facts) -> str:
    return joined([f"{one.path} was altered" for one in _of_ours(facts) if one.written is Written.ALTERED])


def _by_others(facts: Facts) -> str:
    found = [one.path for one in _of_ours(facts) if one.written is Written.BY_OTHERS]
    service = str(paths.PAM_SSHD)
    return joined([f"{path} {'names pam_tailscale' if path == service else 'is there'} already" for path in found])


def _disabled(facts: Facts) -> str:
    return f"{paths.DROP_IN_DISABLED} is there" if facts.is_guarded_off else ""


def _replaced(answers: Answers) -> str:
    return "it is written anew, as you said" if answers.replace_edits else ""


ROWS = (
    Row(
        "unknown",
        Action.REFUSE,
        _unknown,
        "what could not be found out is not guessed",
        "see to that, then run this again",
    ),
    Row(
        "read_only",
        Action.REFUSE,
        _read_only,
        "what is to be written there could not be written, or not be taken back",
        "make it writable ('mount -o remount,rw'), or put these files into the image that the host is made from",
    ),
    Row(
        "pam_service_missing",
        Action.REFUSE,
        _service_missing,
        "PAM would take the service 'other' for sshd, and so would ours",
        "run 'apt-get install --reinstall -o Dpkg::Options::=--force-confmiss openssh-server'",
    ),
    Row(
        "pam_service_trouble",
        Action.REFUSE,
        _service_trouble,
        "our lines would be somebody else's to change, or would end up in another file",
        f"make {paths.PAM_SSHD} a file of root's own: chown root:root, chmod 0644",
    ),
    Row(
        "pam_service_edited",
        Action.HANDLE,
        _service_edited,
        "everything in it stays as it is, and holds below ours",
    ),
    Row("module_broken", Action.REFUSE, _module, "sshd could not ask the policy", _REINSTALL),
    Row("program_broken", Action.REFUSE, _programs, "sshd would not start it", _REINSTALL),
    Row("user_missing", Action.REFUSE, _users, "the agent and the key helper need accounts of their own", _REINSTALL),
    Row(
        "own_file_trouble",
        Action.REFUSE,
        _trouble,
        "what is written there would be somebody else's to change, or would end up elsewhere",
        "move it away, then run this again",
    ),
    Row(
        "own_file_by_others",
        Action.REFUSE,
        _by_others,
        "nothing says that enable wrote it, and it would be gone after 'disable'",
        "if that is from an earlier installation of pam-tailscale, remove it and reload sshd; else rename it",
    ),
    Row(
        "own_file_altered",
        Action.ASK,
        _altered,
        "what was changed there is lost when it is written anew",
        "keep what you need of it somewhere else, then say '--replace-edits'",
        "--replace-edits",
        _replaced,
    ),
    Row(
        "guarded_off",
        Action.HANDLE,
        _disabled,
        "check-halves has taken the drop-in out of force because its other half was gone; both are written anew",
    ),
)
