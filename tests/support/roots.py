"""Where the Debian roots and the tailnet's binaries are; they are made on first use, into the cache of the tests."""

import functools
import os
import subprocess
from pathlib import Path
from typing import Literal

Suite = Literal["bookworm", "trixie"]

PROJECT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("PAM_TAILSCALE_CACHE", "/var/cache/pam-tailscale-tests"))
TAILSCALE_VERSIONS = ("1.102.5", "1.104.5")


@functools.cache
def debian_root(suite: Suite) -> Path:
    """A Debian root with stock sshd, the package's libraries and a compiler: the lower layer of sandboxes."""
    command = [str(PROJECT / "tests/lab/build-root"), str(CACHE), suite]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


@functools.cache
def binaries() -> Path:
    """The directory with tailscale-VERSION/ and headscale-VERSION/."""
    subprocess.run([str(PROJECT / "tests/lab/build-binaries"), str(CACHE)], check=True, stdout=subprocess.DEVNULL)
    return CACHE
