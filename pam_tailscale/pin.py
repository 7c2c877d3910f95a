"""The pin: which control plane, tailnet and node root has bound this host to. Reads its file; `enable` writes it.

tailscale's operator may log the node in elsewhere without being root; the pin is what makes that a refusal.
"""

import functools
import json
import os
import stat
from pathlib import Path

from pam_tailscale.errors import ConfigError
from pam_tailscale.model import Pin
from pam_tailscale.rootfile import only_root_writes

FORMAT = 1
_SIZE_MAX = 4096


def load(path: Path) -> Pin | None:
    """The pin, or None where there is none.

    Raises ConfigError for a file that is damaged or that others than root may write.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as err:
        raise ConfigError(
            f"{path}: cannot be read ({err.strerror}): run 'pam-tailscale enable --repin' as root"
        ) from err
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not only_root_writes(status):
            raise ConfigError(f"{path}: must be a file of root that nobody else may write: chown root, chmod 0644")
        return _parse(os.read(descriptor, _SIZE_MAX + 1), path)
    finally:
        os.close(descriptor)


@functools.lru_cache(maxsize=2)  # every decision reads the file; what it says hardly ever changes
def _parse(content: bytes, path: Path) -> Pin:
    damaged = ConfigError(f"{path}: is damaged: run 'pam-tailscale enable --repin' as root")
    if len(content) > _SIZE_MAX:
        raise damaged
    try:
        raw = json.loads(content)
    except (ValueError, RecursionError) as err:
        raise damaged from err
    if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
        raise damaged
    values = [raw.pop(name, None) for name in ("control_url", "node_id", "tailnet_id")]
    control_url, node_id, tailnet_id = (value if isinstance(value, str) else None for value in values)
    if raw or not control_url or not node_id or tailnet_id is None:
        raise damaged
    return Pin(control_url, node_id, tailnet_id)


def encode(pin: Pin) -> bytes:
    """The content of the pin's file."""
    content = {
        "format": FORMAT,
        "control_url": pin.control_url,
        "node_id": pin.node_id,
        "tailnet_id": pin.tailnet_id,
    }
    return json.dumps(content, indent=1).encode() + b"\n"
