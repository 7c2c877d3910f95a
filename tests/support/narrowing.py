"""A host's narrowing policy as a value, from its JSON."""

import json
from typing import Any

from pam_tailscale.policy.narrow import Narrowing, read


def narrow(**document: Any) -> Narrowing:
    """A file with these members."""
    return read(json.dumps(document).encode(), "narrow.hujson")
