"""What tailscaled is at now, as a pin would have it. Asks tailscaled; writes nothing."""

from pam_tailscale.errors import TailscaledError
from pam_tailscale.model import Pin
from pam_tailscale.tailnet.localapi import LocalAPI
from pam_tailscale.tailnet.records import DEFAULT_CONTROL_URL, Prefs, Status

_RUNNING = "Running"


def current(api: LocalAPI) -> Pin:
    """The control plane, tailnet and node. Raises TailscaledError, also where tailscaled is not running."""
    status, prefs = api.status(), api.prefs()
    found = pin_of(status, prefs)
    if found is None:
        raise TailscaledError(f"tailscaled is in state {status.backend_state!r}: run 'tailscale up' first")
    return found


def pin_of(status: Status, prefs: Prefs) -> Pin | None:
    """The same from answers that are there already; None where tailscaled is not running."""
    if status.backend_state != _RUNNING or not status.self_stable_id:
        return None
    return Pin(prefs.control_url or DEFAULT_CONTROL_URL, status.self_stable_id, status.tailnet_id)
