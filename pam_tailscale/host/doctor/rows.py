"""What `enable` would find in its way, as checks: the table of preconditions, read by somebody who only looks. Pure."""

from collections.abc import Iterable

from pam_tailscale.host.doctor.check import Check, ok, problem, unknown, warning
from pam_tailscale.host.preconditions import Action, Finding

SEEN_ELSEWHERE = frozenset(
    {
        "own_file_altered",
        "own_file_by_others",
        "guarded_off",
        "module_broken",
        "not_running",
        "unit_not_guarded",
        "observes",
        "asked_after_pinning",
        "check_ahead",
        "cut_off",
        "cut_off_unknown",
    }
)
"""Rows that other checks say more exactly about a host that is on, or that are about whoever runs this."""
ABOUT_LINES = frozenset({"earlier-setting", "command-line"})
"""Checks about lines of sshd_config that win over ours."""
_NO_DANGER = frozenset({"no_other_way", "selinux", "apparmor"})
"""Questions that nobody has answered and that nobody gets in or stays out by."""
_CANNOT_TELL = frozenset({"unknown"})
_WITHOUT_PIN = frozenset({"first_pin"})
_ABOUT_ROOT = frozenset({"root_kept_out"})
_TO_KNOW = frozenset({"agent_warns", "operator_trusted", "no_keys"})


def when_on(findings: Iterable[Finding], *, root_allowed: bool) -> list[Check]:
    """For a host that is on: what enable would refuse or ask today was not so when it was switched on.

    `root_allowed`: by the agent's configuration.
    """
    here = [finding for finding in findings if finding.row not in SEEN_ELSEWHERE]
    checks = [check for finding in here if (check := _of_on(finding, root_allowed=root_allowed))]
    return checks or [ok("preconditions", "everything that 'enable' asks for is as it was")]


def _of_on(finding: Finding, *, root_allowed: bool) -> Check | None:
    name, mend = _name(finding), finding.mend
    if finding.row in _ABOUT_ROOT:
        # Where nobody has answered it, the agent has to be told what sshd_config says.
        means = "the agent was not told of it: over the tailnet the policy may let in root"
        return problem(name, finding.what, means, "pam-tailscale enable") if root_allowed and mend else None
    if finding.row in _CANNOT_TELL:
        return unknown(name, finding.what, mend)
    if finding.row in _WITHOUT_PIN:
        means = "the agent believes no tailscaled on a host without a pin: every login over the tailnet is refused"
        return problem(name, f"there is no pin; {finding.what}", means, "pam-tailscale enable")
    if finding.action is Action.HANDLE:
        return warning(name, finding.what, finding.means, mend) if mend or finding.row in _TO_KNOW else None
    if finding.row in _NO_DANGER:
        return warning(name, finding.what, finding.means, mend)
    return problem(name, finding.what, finding.means, mend or "pam-tailscale enable")


def when_off(findings: Iterable[Finding]) -> list[Check]:
    """For a host that is off: what enable would say."""
    checks = []
    for finding in findings:
        if finding.row in _CANNOT_TELL:
            checks.append(unknown(_name(finding), finding.what, finding.mend))
        elif finding.action is Action.REFUSE:
            checks.append(problem(_name(finding), finding.what, f"enable refuses: {finding.means}", finding.mend))
        elif finding.action is Action.ASK:
            checks.append(warning(_name(finding), finding.what, f"enable asks: {finding.means}", finding.mend))
    return checks or [ok("preconditions", "nothing is in the way of 'pam-tailscale enable'")]


def _name(finding: Finding) -> str:
    return finding.row.replace("_", "-")
