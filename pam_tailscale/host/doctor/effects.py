"""Judges what sshd's files come to for connections from the tailnet. Pure: the output of `sshd -T` in.

The drop-in says what has to be; a line that is read before it, or that counts more, makes it something else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pam_tailscale import paths
from pam_tailscale.host.doctor.check import Check, ok, problem, unknown
from pam_tailscale.host.effective import Effective, differing
from pam_tailscale.host.sshdconfig import Connections, SshdConfig, who_set

_BY_PAM = frozenset({"none", "password", "keyboard-interactive"})
"""Methods that our module answers."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One connection, and what sshd would do with it."""

    user: str
    address: str
    """The node's own, at which it comes in."""
    found: Effective


def judge(asked: Sequence[Asked], settings: Mapping[str, str], config: SshdConfig, why_not: str) -> list[Check]:
    """Whether the drop-in's settings are those in force. `why_not`: why sshd could not be asked; empty where it was."""
    name = "effective"
    if not asked:
        seen = f"sshd does not say what its files come to: {why_not or 'the node has no address'}"
        return [unknown(name, seen, "sshd -t")]
    for one in asked:
        wrong = differing(one.found, settings)
        if wrong:
            return [_differs(name, one, wrong, settings, config), _methods(asked)]
    return [ok(name, "for connections from the tailnet sshd's files come to what the drop-in says"), _methods(asked)]


def _differs(name: str, one: Asked, wrong: Sequence[str], settings: Mapping[str, str], config: SshdConfig) -> Check:
    by = [
        str(line)
        for keyword in wrong
        for line in who_set(config, keyword, Connections(user=one.user))
        if " ".join(line.arguments).lower() != settings[keyword].lower()
    ]
    words = "; ".join(f"{keyword} is {one.found.one(keyword)}, not {settings[keyword]}" for keyword in wrong)
    means = "sshd does not do on the tailnet what was proved: it may take keys or passwords, or ask another PAM service"
    mend = f"move it below the Include of {paths.DROP_IN.parent}, or take it out" if by else "sshd -T"
    return problem(name, f"for {one.user} at {one.address} {words}", means, mend, by)


def _methods(asked: Sequence[Asked]) -> Check:
    """Two methods of one list that the policy would both answer."""
    name = "two-methods"
    for one in asked:
        by_helper = str(paths.KEY_HELPER) in one.found.one("authorizedkeyscommand")
        answered = _BY_PAM | ({"publickey"} if by_helper else set())
        for methods in one.found.one("authenticationmethods").split():
            ours = [method for method in methods.split(",") if method.partition(":")[0] in answered]
            if len(ours) > 1:
                seen = f"for {one.user} sshd asks for {methods}, and the policy answers {' and '.join(ours)}"
                means = "the agent gives a connection one method, so nobody gets in; one identity must not count twice"
                return problem(name, seen, means, "pam-tailscale enable --methods replace")
    return ok(name, "no list of methods asks the policy twice")
