"""What has to be so before `enable` does anything: one table, whose rows are judged by what was found out. Pure."""

from pam_tailscale.host.preconditions.row import Action, Finding, Row
from pam_tailscale.host.preconditions.table import ROWS, judge, wanted

__all__ = ["ROWS", "Action", "Finding", "Row", "judge", "wanted"]
