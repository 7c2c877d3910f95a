"""The program `pam-tailscale`: its commands, and what every error becomes."""

import sys

import click

from pam_tailscale import __version__
from pam_tailscale.cli import check, disable, doctor, enable, explain, status, whois
from pam_tailscale.cli.output import ExitCode, begin, complain, end, give_up
from pam_tailscale.cli.policy import group as policy
from pam_tailscale.errors import PamTailscaleError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pam-tailscale")
def cli() -> None:
    r"""Who may log in to this host over its tailnet, and why.

    \b
    Exit status of all commands:
      0  yes: allowed, in order, done
      1  no: denied, not in order
      2  wrong usage
      3  cannot tell: the agent or tailscaled could not be asked
      4  a check is needed
    """


for command in (
    enable.enable,
    disable.disable,
    doctor.doctor,
    status.status,
    whois.whois,
    explain.explain,
    check.check,
    policy.policy,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit."""
    try:
        begin()
        try:
            cli(prog_name="pam-tailscale")
        finally:
            end()
    except PamTailscaleError as err:
        complain(str(err))
        give_up()
        sys.exit(ExitCode.CANNOT_TELL)
    except BrokenPipeError:  # as click and rich do: quietly, and not as if all was well
        give_up()
        sys.exit(ExitCode.DENY)
    except OSError as err:  # of what click prints, as --help
        complain(f"cannot go on: {err}")
        give_up()
        sys.exit(ExitCode.CANNOT_TELL)


if __name__ == "__main__":
    main()
