"""Reading a secret from a file that nobody else may read: a client's secret, a store's password."""

import os
import stat
from pathlib import Path
from typing import Final

from pam_tailscale.errors import CheckError
from pam_tailscale.secret import Secret

SECRET_MAX: Final = 4096
"""Bytes of the file."""


def read_secret(path: Path, what: str) -> Secret:
    """The first line of a file; `what` names the secret in errors. Raises CheckError, whose text has nothing of it."""
    try:
        # Not blocking: a FIFO would hold whoever asks for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as err:
        raise CheckError(f"{path}: {what} cannot be read ({err.strerror}): let the agent's user read it") from err
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise CheckError(f"{path}: is not a file: put {what} into one")
        if status.st_mode & stat.S_IRWXO:
            raise CheckError(f"{path}: others may read {what}: chmod 0640, chgrp to the agent's group")
        content = os.read(descriptor, SECRET_MAX + 1)
    finally:
        os.close(descriptor)
    line = content.partition(b"\n")[0].rstrip(b"\r")
    if not line.strip() or len(content) > SECRET_MAX or not line.isascii():
        raise CheckError(f"{path}: {what} must be in ASCII on its first line: write it anew")
    return Secret(line.decode("ascii"))
