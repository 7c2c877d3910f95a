"""The control plane's part of a check, as values: the URL that is asked, and what its answer says. Pure.

Sources: Tailscale tailcfg.SSHAction; ssh/tailssh, expandDelegateURLLocked and clientAuth.
"""

import json
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_plus

from pam_tailscale.check.flow import Passed, Refused
from pam_tailscale.check.trouble import shown
from pam_tailscale.errors import CheckError, PolicyShapeError
from pam_tailscale.model import Demand, Reason
from pam_tailscale.policy.limits import unenforced
from pam_tailscale.policy.rules import parse_action
from pam_tailscale.policy.withholding import names, withheld

TARGET_MAX: Final = 4096
"""Characters of a path and query."""
TEXT_MAX: Final = 4096
"""Characters of a message that are passed on."""
OWN_ID: Final = "$DST_NODE_ID"

_VARIABLES = re.compile(r"\$(?:SRC|DST)_NODE_I[PD]|\$SSH_USER|\$LOCAL_USER")
_TARGET = re.compile(r"/[\x21-\x7e]*")
_PAGE = re.compile(r"https?://[\x21\x23-\x26\x28-\x3b\x3d\x3f-\x7e]{1,2048}")  # no quotes, no angle brackets


@dataclass(frozen=True, slots=True)
class Next:
    """The person has to act, and what comes of it will be said elsewhere."""

    delegate: str
    """The URL to ask next, with its variables."""
    text: str
    """For the person; empty where there is nothing to tell."""

    @property
    def page(self) -> str:
        """The first address in the text; empty where there is none."""
        found = _PAGE.search(self.text)
        return found[0].rstrip(".,;:!?)") if found else ""


def expand(delegate: str, demand: Demand, own_id: int) -> str:
    """Path and query of a delegate's URL, filled in. The host does not count (Tailscale's is `unused`).

    A value never becomes a variable, nor adds a part to the URL. Raises PolicyShapeError where it is no such URL.
    """
    user = quote_plus(demand.user.encode("utf-8", "surrogateescape"))
    values = {
        "$SRC_NODE_IP": quote_plus(str(demand.connection.client)),
        "$SRC_NODE_ID": str(demand.peer.node_id),
        "$DST_NODE_IP": quote_plus(str(demand.connection.server)),
        OWN_ID: str(own_id),
        "$SSH_USER": user,
        "$LOCAL_USER": user,
    }
    filled = _VARIABLES.sub(lambda found: values[found[0]], delegate)
    scheme, end, rest = filled.partition("://")
    target = "/" + rest.partition("/")[2]
    usable = end and scheme in ("http", "https") and len(target) <= TARGET_MAX and _TARGET.fullmatch(target)
    if not usable or "/" not in rest or "#" in rest or "?" in rest.partition("/")[0]:
        raise PolicyShapeError(
            f"the check is delegated to {shown(delegate)}, which is no URL with a path: "
            "see the control plane's version, and upgrade pam-tailscale"
        )
    return target


def judge(content: bytes) -> Passed | Refused | Next:
    """What an SSHAction says. In order: reject, what is not known, hold, accept. Raises CheckError where it is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise CheckError(f"the control plane's answer is not JSON ({shown(str(err))}): see its log") from err
    action = parse_action(document)
    message = action.message[:TEXT_MAX]
    if action.reject:
        return Refused(Reason.CHECK_REJECTED, "the control plane rejects the check", message)
    if action.unknown:
        return Refused(
            Reason.POLICY_SHAPE,
            f"the control plane's answer to the check has what this version does not know "
            f"({shown(', '.join(action.unknown))}): upgrade pam-tailscale",
        )
    if action.hold_and_delegate:
        return Next(action.hold_and_delegate, message)
    if not action.accept:
        return Refused(Reason.RULE_MALFORMED, "the control plane's answer to the check says neither yes nor no")
    # A check is passed by keyboard-interactive, and what is decided only there no other method can carry.
    if attributes := (*unenforced(action), *names(withheld(action))):
        return Refused(
            Reason.ATTRIBUTE_NOT_ENFORCED,
            f"the control plane's answer to the check demands what this version cannot enforce "
            f"({', '.join(attributes)}): remove that from the rule, or upgrade pam-tailscale",
        )
    return Passed(message)
