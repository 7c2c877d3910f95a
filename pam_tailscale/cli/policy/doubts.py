"""What a policy file depends on and nobody here knows: it is said, so that no answer looks more certain than it is."""

from collections.abc import Iterable, Iterator

from pam_tailscale.cli.output import complain
from pam_tailscale.policy.document import PolicyFile, SSHEntry
from pam_tailscale.policy.newcomers import unknown_roles
from pam_tailscale.policy.roster import Tailnet
from pam_tailscale.policy.selectors import ROLES


def say_doubts(policy: PolicyFile, tailnet: Tailnet) -> None:
    """A line on standard error for each."""
    for line in doubts(policy, tailnet):
        complain(f"{policy.document.name}: {line}")


def doubts(policy: PolicyFile, tailnet: Tailnet) -> Iterator[str]:
    """Roles that nobody is known to have, and postures, each with the entries that name them."""
    for text in unknown_roles(tailnet, policy):
        entries = [entry for entry in policy.ssh if text in {source.text for source in entry.sources}]
        line = f"{text} ({_numbers(entries)}) counts for nobody who is known: say who has the role, with "
        line += f"--role {ROLES[text]}=LOGIN"
        if checks := [entry for entry in entries if entry.action == "check"]:
            line += f"; whoever has it may have to pass a check ({_numbers(checks)}) before anything that is told here"
        yield line
    if conditional := [entry for entry in policy.ssh if entry.conditional]:
        yield f"{_numbers(conditional)} counts only for devices with a posture: here it is taken to count for all"


def _numbers(entries: Iterable[SSHEntry]) -> str:
    return f"ssh {', '.join(str(entry.number) for entry in entries)}"
