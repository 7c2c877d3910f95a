"""tailscaled's state file, of which one thing is read: the node's machine key (ipn/store, FileStore).

Imports little, because the root reader needs it. The file holds every secret of the node: nothing else leaves here.
"""

import binascii
import json
import os
import re
import stat
from typing import Any, Final

from pam_tailscale.errors import TailscaledError
from pam_tailscale.rootfile import only_root_writes

PATH: Final = "/var/lib/tailscale/tailscaled.state"
"""Where Tailscale's packages have it."""
FILE_MAX: Final = 1 << 20
"""Bytes of the largest state file that is read. One of a few profiles has less than 16 KiB."""
MACHINE_KEY: Final = re.compile(r"privkey:[0-9a-f]{64}")
"""A machine key as text (types/key, MachinePrivate.MarshalText)."""

_ENTRY = "_machinekey"  # ipn.MachineKeyStateKey
_SEALED = {"key", "nonce", "data"}  # exactly these, where a TPM has sealed it (feature/tpm, encryptedData)
_OTHERWISE = 'or check people by another provider (by = "oidc" in [check])'


def machine_key(path: str) -> str:
    """The machine key in the state file. Raises TailscaledError, whose text has nothing of the file in it."""
    try:
        state = _parse(_read(path), path)
    except OSError as err:
        raise TailscaledError(
            f"cannot read tailscaled's state {path} ({err.strerror}): give the root reader the path that tailscaled "
            f"has, by --state in the reader's unit, {_OTHERWISE}"
        ) from err
    if state.keys() == _SEALED:
        raise TailscaledError(
            f"tailscaled's state {path} is sealed by the TPM, so that nobody else can read the node's machine key: "
            f"run tailscaled with --encrypt-state=false, {_OTHERWISE}"
        )
    encoded = state.get(_ENTRY)
    if encoded is None:
        raise TailscaledError(
            f"tailscaled's state {path} has no machine key in it: log the node in, "
            f"{_OTHERWISE} if tailscaled keeps its state elsewhere"
        )
    try:
        text = binascii.a2b_base64(encoded, strict_mode=True).decode("ascii")
    except (TypeError, ValueError):
        text = ""
    if not MACHINE_KEY.fullmatch(text):
        raise TailscaledError(
            f"the machine key in tailscaled's state {path} has a form that this version does not know: "
            "upgrade pam-tailscale"
        )
    return text


def _read(path: str) -> bytes:
    """All of the file, if it is one that root alone can have written. Raises OSError and TailscaledError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would keep us waiting
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not only_root_writes(status):
            raise TailscaledError(
                f"tailscaled's state {path} is not a file that root alone can write: find out who made it so"
            )
        content = b""
        while len(content) <= FILE_MAX and (part := os.read(descriptor, FILE_MAX)):
            content += part
    finally:
        os.close(descriptor)
    if len(content) > FILE_MAX:
        raise TailscaledError(f"tailscaled's state {path} is larger than {FILE_MAX >> 20} MiB: is it the right file?")
    return content


def _parse(content: bytes, path: str) -> dict[str, Any]:
    try:
        state = json.loads(content or b"{}")  # tailscaled takes an empty file for a new one
    except (ValueError, RecursionError):
        state = None
    if not isinstance(state, dict):
        raise TailscaledError(f"tailscaled's state {path} is not understood: is it the right file?")
    return state
