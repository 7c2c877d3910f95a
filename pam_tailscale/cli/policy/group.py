"""The command that the others of this folder belong to."""

import click

from pam_tailscale.cli.policy import check, compiled, diff, explain, matrix, test


@click.group()
def policy() -> None:
    """Read, test, explain and compare the ssh section of a tailnet's policy file.

    Nothing here needs an agent or root. FILE is the policy as HuJSON; `-` reads standard input.

    Exits 0 in order, tests passed, nothing changed, accepted; 1 refused (check), a test failed, something changes or
    cannot be compared, denied; 3 refused (all others), cannot be read; 4 a check is needed.
    """


for command in (check.check, test.test, explain.explain, matrix.matrix, diff.diff, compiled.compiled):
    policy.add_command(command)
