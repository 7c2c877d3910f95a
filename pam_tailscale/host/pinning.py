"""What tailscaled is at, as a pin would have it, from its answers. Asks and writes nothing."""

from pam_tailscale.model import Pin
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL, Prefs, Status

_RUNNING = "Running"


def pin_of(status: Status, prefs: Prefs) -> Pin | None:
    """The control plane, tailnet and node; None where tailscaled is not running."""
    if status.backend_state != _RUNNING or not status.self_stable_id:
        return None
    return Pin(prefs.control_url or DEFAULT_CONTROL_URL, status.self_stable_id, status.tailnet_id)
