"""What the administrator has answered: one field for each question that `enable` may ask. Asks nothing itself."""

import enum
from dataclasses import dataclass


class Methods(enum.Enum):
    """What comes of an `AuthenticationMethods` that asks for several, on tailnet addresses."""

    REPLACE = "replace"
    """The policy alone decides."""
    WITH_KEY = "with-key"
    """The policy, and then a key of the account's own."""


@dataclass(frozen=True, slots=True)
class Answers:
    """False and None: not answered, which is never taken for a yes."""

    repin: bool = False
    """The host belongs to another control plane, tailnet or node than it was pinned to."""
    allow_root: bool = False
    """The policy may let root in although sshd_config says `PermitRootLogin no`."""
    methods: Methods | None = None
    no_other_way: bool = False
    """Switch on although nobody could log in from anywhere but the tailnet."""
    cut_me_off: bool = False
    """Switch on although the policy refuses the connection that this runs from."""
    confined_sshd: bool = False
    """Switch on although SELinux or AppArmor confines sshd, with which this was not tried."""
    replace_edits: bool = False
    """Write our files anew although somebody has altered them."""
