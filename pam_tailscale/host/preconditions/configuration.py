"""Preconditions about sshd_config: whether ours would be in force, and what the rest of it makes of it."""

from collections.abc import Iterable

from pam_tailscale import paths
from pam_tailscale.host import dropin, effective
from pam_tailscale.host.answers import Answers, Methods
from pam_tailscale.host.dropin import Wanted
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.preconditions.row import Action, Row, joined
from pam_tailscale.host.sshdconfig import (
    COMMAND_LINE,
    DIRECTORY,
    MAIN,
    Connections,
    Fit,
    Setting,
    fits,
    is_global,
    who_set,
)
from pam_tailscale.model import TAILNET_NETWORKS

INCLUDE = f"Include {DIRECTORY}/sshd_config.d/*.conf"
GRACE_MAX = 150
"""Seconds. Debian's default is 120; a prompt of ours waits for as long as sshd waits for the person."""
_GLOBAL = ("usepam", "persourcepenaltyexemptlist")
"""Of our drop-in's keywords those that stand outside its Match block, because sshd takes them nowhere else."""
_LISTS = ("allowusers", "denyusers", "allowgroups", "denygroups", "refuseconnection")
_ROOT_KEPT_OUT = ("no", "forced-commands-only")


def tailnet(facts: Facts, user: str = "") -> Connections:
    """The connections that our Match block is about."""
    own = tuple(network for network in TAILNET_NETWORKS if _has(facts, network.version))
    return Connections(TAILNET_NETWORKS, own or TAILNET_NETWORKS, facts.sshd.ports or (22,), user)


def _has(facts: Facts, version: int) -> bool:
    return any(address.version == version for address in facts.tailscaled.addresses)


def set_for_tailnet(facts: Facts, keyword: str, user: str = "") -> tuple[Setting, ...]:
    """What the administrator has set, of which one is in force for each tailnet connection, without our drop-in."""
    return who_set(facts.sshd.config, keyword, tailnet(facts, user))


def _value(setting: Setting) -> str:
    """The first argument, of whose case sshd makes nothing where it is a word of its own."""
    return setting.arguments[0].lower() if setting.arguments else ""


def is_before_98(facts: Facts) -> bool:
    """Whether sshd knows no service names yet, so that our PAM half stands in /etc/pam.d/sshd."""
    return facts.sshd.openssh is not None and not facts.sshd.openssh.has_service_names


# Where our drop-in would be read, and what is read before it


def _include_absent(facts: Facts) -> str:
    if facts.sshd.config.drop_in is not None or facts.sshd.complaint:
        return ""
    return f"{MAIN} does not include {paths.DROP_IN}"


def _include_in_match(facts: Facts) -> str:
    place = facts.sshd.config.drop_in
    blocks = [str(match) for match in place.inside if match.criteria != (("all", ""),)] if place else []
    return f"the Include of {DIRECTORY}/sshd_config.d stands inside {joined(blocks)}" if blocks else ""


def _wins_over_ours(facts: Facts) -> list[Setting]:
    """Settings that sshd reads before ours and that are in force for some tailnet connection instead of ours."""
    ours = _ours(facts)
    return [
        setting
        for setting in facts.sshd.config.before_drop_in()
        if setting.keyword in ours
        and " ".join(setting.arguments).lower() != ours[setting.keyword].lower()
        and _is_in_force(setting, facts)
    ]


def _is_in_force(setting: Setting, facts: Facts) -> bool:
    if setting.keyword in _GLOBAL:
        return is_global(setting)
    return bool(setting.inside) and fits(setting.inside, tailnet(facts)) is not Fit.NEVER


def _ours(facts: Facts) -> dict[str, str]:
    """Our drop-in's keywords, with what they have to be."""
    keys = facts.host.keys_user
    if facts.sshd.openssh is None or keys is None:
        return {}
    methods = Methods.REPLACE if _blocking(facts) else None
    return dict(dropin.settings(Wanted(facts.sshd.openssh, keys.uid, keys.gid, methods=methods)))


def _earlier(facts: Facts) -> str:
    return joined([str(one) for one in _wins_over_ours(facts) if one.place.path != COMMAND_LINE])


def _command_line(facts: Facts) -> str:
    return joined([str(one) for one in _wins_over_ours(facts) if one.place.path == COMMAND_LINE])


# What the rest of the configuration says


def _no_pam(facts: Facts) -> str:
    found = [one for one in facts.sshd.config.settings if one.keyword == "usepam" and is_global(one)][:1]
    if facts.sshd.complaint or any(_value(one) == "yes" for one in found):
        return ""
    return str(found[0]) if found else "nothing says UsePAM yes, and sshd's own default is no"


def _use_dns(facts: Facts) -> str:
    if not is_before_98(facts) or not facts.sshd.effective.says("usedns"):
        return ""
    return joined([str(one) for one in set_for_tailnet(facts, "usedns")]) or "UseDNS yes"


def _keys_command(facts: Facts) -> str:
    found = set_for_tailnet(facts, "authorizedkeyscommand")
    return joined([str(one) for one in found if _value(one) != "none"])


def _blocking(facts: Facts) -> list[Setting]:
    """Settings of AuthenticationMethods with which the policy alone would not, or could not, let anybody in."""
    return [one for one in set_for_tailnet(facts, "authenticationmethods") if not _is_free(one.arguments)]


def _is_free(lists: tuple[str, ...]) -> bool:
    """Whether `none` alone is enough, and no list asks for more than one method."""
    return lists == ("any",) or ("none" in lists and not any("," in one for one in lists))


def _several_methods(facts: Facts) -> str:
    return joined([str(one) for one in _blocking(facts) if any("," in methods for methods in one.arguments)])


def _one_method(facts: Facts) -> str:
    return joined([str(one) for one in _blocking(facts) if not any("," in methods for methods in one.arguments)])


def methods_matter(facts: Facts) -> bool:
    """Whether the administrator has to say what comes of AuthenticationMethods."""
    return bool(_blocking(facts))


def _methods_answered(answers: Answers) -> str:
    if answers.methods is Methods.WITH_KEY:
        return "over the tailnet the policy lets in together with a key of the account's own, as you said"
    return "over the tailnet the policy alone lets in, as you said" if answers.methods else ""


def _no_keys(facts: Facts) -> str:
    found = set_for_tailnet(facts, "pubkeyauthentication")
    return joined([str(one) for one in found if _value(one) == "no"])


def _stays(facts: Facts, keywords: Iterable[str]) -> str:
    found = [one for keyword in keywords for one in set_for_tailnet(facts, keyword)]
    return joined([str(one) for one in found if _value(one) != "none"])


def _force_command(facts: Facts) -> str:
    return _stays(facts, ["forcecommand"])


def _chroot(facts: Facts) -> str:
    return _stays(facts, ["chrootdirectory"])


def _user_lists(facts: Facts) -> str:
    named = [one for one in facts.sshd.config.settings if one.keyword in _LISTS]
    return joined([str(one) for one in named if fits(one.inside, tailnet(facts)) is not Fit.NEVER])


def root_is_kept_out(facts: Facts) -> list[Setting]:
    """What the administrator has said against root's logins over the tailnet, whatever the method."""
    found = set_for_tailnet(facts, "permitrootlogin", "root")
    return [one for one in found if _value(one) in _ROOT_KEPT_OUT]


def _root_kept_out(facts: Facts) -> str:
    return joined(list(map(str, root_is_kept_out(facts)))) if facts.allow_root is None else ""


def _root_by_agent(facts: Facts) -> str:
    if facts.allow_root is None or not root_is_kept_out(facts):
        return ""
    return f"{joined(list(map(str, root_is_kept_out(facts))))}, and allow_root in {paths.CONFIG}"


def own_exempt(facts: Facts) -> tuple[str, ...]:
    """The administrator's own PerSourcePenaltyExemptList."""
    found = [one for one in facts.sshd.config.settings if one.keyword == "persourcepenaltyexemptlist"][:1]
    lists = [one.arguments[0] for one in found if is_global(one) and _value(one) not in ("", "none")]
    return tuple(entry for one in lists for entry in one.split(",") if entry)


def _exempt(facts: Facts) -> str:
    return f"PerSourcePenaltyExemptList {','.join(own_exempt(facts))}" if own_exempt(facts) else ""


def _grace(facts: Facts) -> str:
    text = facts.sshd.effective.one("logingracetime")
    number = effective.seconds(text)
    return f"LoginGraceTime {text}" if text and (number is None or not 0 < number <= GRACE_MAX) else ""


def _startups(facts: Facts) -> str:
    text, waiting = facts.sshd.effective.one("maxstartups"), facts.config.check.waiting
    first = effective.first_startups(text)
    if not text or (first is not None and first > 2 * waiting):
        return ""
    return f"MaxStartups {text}, and {waiting} connections may wait for a check ([check] waiting)"


ROWS = (
    Row(
        "include_absent",
        Action.REFUSE,
        _include_absent,
        "sshd would never read the drop-in",
        f"put this line at the top of {MAIN}: {INCLUDE}",
    ),
    Row(
        "include_in_match",
        Action.REFUSE,
        _include_in_match,
        "sshd would read the drop-in for some connections only",
        f"put '{INCLUDE}' above every Match",
    ),
    Row(
        "earlier_setting",
        Action.REFUSE,
        _earlier,
        f"sshd reads it before {paths.DROP_IN} and takes the first value, so ours would not be in force",
        "move it below the Include, or into a file whose name comes after 10-pam-tailscale.conf, or out of the "
        "tailnet's way with 'Address *,!100.64.0.0/10,!fd7a:115c:a1e0::/48'",
    ),
    Row(
        "command_line",
        Action.REFUSE,
        _command_line,
        "what sshd is started with counts before every file, so ours would not be in force",
        "take it out of SSHD_OPTS in /etc/default/ssh (or out of the unit), then restart sshd",
    ),
    Row(
        "no_pam",
        Action.REFUSE,
        _no_pam,
        "the policy is asked through PAM, and switching PAM on changes every login, those of the LAN too",
        "decide that for yourself: set UsePAM yes in sshd_config, see that logins work as they should, then run this "
        "again",
    ),
    Row(
        "use_dns",
        Action.REFUSE,
        _use_dns,
        "before OpenSSH 9.8 the lines that keep the tailnet out when our module is missing then see names, "
        "not addresses",
        "set UseDNS no",
    ),
    Row(
        "keys_command",
        Action.HANDLE,
        _keys_command,
        "over the tailnet ours takes its place; from elsewhere it stays what it was",
    ),
    Row(
        "several_methods",
        Action.ASK,
        _several_methods,
        "it asks for several methods, and the policy is only one: it could replace them, or come on top of a key",
        "say which: '--methods replace' or '--methods with-key'",
        "--methods",
        _methods_answered,
    ),
    Row(
        "one_method",
        Action.ASK,
        _one_method,
        "it asks for a method of its own, and with it the method by which clients ask the policy is never tried",
        "say whether the policy replaces it over the tailnet or comes on top of a key: '--methods replace' or "
        "'--methods with-key'",
        "--methods",
        _methods_answered,
    ),
    Row(
        "no_keys_allowed",
        Action.REFUSE,
        _no_keys,
        "a key cannot be asked for on top of the policy",
        "set PubkeyAuthentication yes, or choose '--methods replace'",
        only=lambda answers: answers.methods is Methods.WITH_KEY,
    ),
    Row(
        "no_keys",
        Action.HANDLE,
        _no_keys,
        "over the tailnet a key is taken all the same, for the question that comes with it: the policy alone decides",
        only=lambda answers: answers.methods is not Methods.WITH_KEY,
    ),
    Row("force_command", Action.HANDLE, _force_command, "it stays in force over the tailnet, too"),
    Row("chroot", Action.HANDLE, _chroot, "it stays in force over the tailnet, too"),
    Row(
        "user_lists",
        Action.HANDLE,
        _user_lists,
        "they stay in force: whom they keep out does not get in, whatever the policy says",
    ),
    Row(
        "root_kept_out",
        Action.HANDLE,
        _root_kept_out,
        "the agent keeps root out over the tailnet in its place (allow_root = false)",
        "with --allow-root the policy decides about root",
        "--allow-root",
        lambda answers: "over the tailnet the policy decides about root, as you said" if answers.allow_root else "",
    ),
    Row("root_by_agent", Action.HANDLE, _root_by_agent, "over the tailnet the agent's configuration holds"),
    Row(
        "own_exempt_list",
        Action.HANDLE,
        _exempt,
        "the drop-in's list holds these and the tailnet's addresses",
    ),
    Row(
        "login_grace",
        Action.REFUSE,
        _grace,
        f"it bounds how long a login may wait for a person who is asked for a check; 1 to {GRACE_MAX} s are supported",
        "set LoginGraceTime 120",
    ),
    Row(
        "max_startups",
        Action.REFUSE,
        _startups,
        "people who are asked for a check could take up the places of everybody else's logins",
        f"raise the first number of MaxStartups above twice that, or lower waiting in {paths.CONFIG}",
    ),
)
