"""The command that the others of this folder belong to."""

import click

from pam_tailscale.cli.policy import check, diff, explain, matrix, test


@click.group()
def policy() -> None:
    """Read, test, explain and compare the ssh section of a tailnet's policy file.

    Nothing here needs an agent, root or a tailnet. FILE is the policy as HuJSON; `-` reads standard input.
    """


for command in (check.check, test.test, explain.explain, matrix.matrix, diff.diff):
    policy.add_command(command)
