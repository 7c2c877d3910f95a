"""The one table of everything that can be in the way of switching on, and what comes of it."""

from pam_tailscale.host.answers import Answers
from pam_tailscale.host.dropin import Wanted
from pam_tailscale.host.facts import Facts
from pam_tailscale.host.preconditions import configuration, files, people, sshd, tailnet
from pam_tailscale.host.preconditions.row import Finding, Row

ROWS: tuple[Row, ...] = (*files.ROWS, *sshd.ROWS, *configuration.ROWS, *tailnet.ROWS, *people.ROWS)


def judge(facts: Facts, answers: Answers) -> tuple[Finding, ...]:
    """What applies to this host, in the table's order."""
    return tuple(finding for row in ROWS if (finding := row.judge(facts, answers)) is not None)


def wanted(facts: Facts, answers: Answers) -> Wanted:
    """What the files are made of. Raises ValueError for facts that preconditions refuse."""
    if facts.sshd.openssh is None or facts.host.keys_user is None:
        raise ValueError("facts that preconditions refuse")
    kept_out = configuration.root_is_kept_out(facts) and facts.allow_root is None
    return Wanted(
        openssh=facts.sshd.openssh,
        keys_uid=facts.host.keys_user.uid,
        keys_gid=facts.host.keys_user.gid,
        exempt=configuration.own_exempt(facts),
        methods=answers.methods if configuration.methods_matter(facts) else None,
        allow_root=answers.allow_root or not kept_out,
    )
