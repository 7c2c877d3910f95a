"""Debian's openssh-server as package files, for a machine that has none: downloaded, never installed on the machine."""

import os
import subprocess
from pathlib import Path

from tests.support.roots import CACHE

PACKAGE = "openssh-server"


def openssh_server() -> Path:
    """A directory with openssh-server and whatever it needs that this machine lacks.

    Raises subprocess.CalledProcessError where apt cannot get them.
    """
    directory = CACHE / f"debs-{_candidate()}"
    (directory / "partial").mkdir(parents=True, exist_ok=True)
    # What is there already is not fetched again.
    options = ["-qq", "-o", f"Dir::Cache::archives={directory}"]
    command = ["apt-get", *options, "install", "--download-only", "--yes", "--no-install-recommends", PACKAGE]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return directory


def _candidate() -> str:
    """The version apt would install; its package lists are fetched if there are none."""
    version = _known_candidate()
    if version is None:
        subprocess.run(["apt-get", "-qq", "update"], check=True, stdin=subprocess.DEVNULL)
        version = _known_candidate()
    if version is not None:
        return version.replace(":", "_")
    raise FileNotFoundError(f"apt knows no {PACKAGE}: look at /etc/apt/sources.list")


def _known_candidate() -> str | None:
    done = subprocess.run(
        ["apt-cache", "policy", PACKAGE], check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    for line in done.stdout.splitlines():
        name, _, version = line.strip().partition(": ")
        if name == "Candidate":
            return None if version == "(none)" else version
    return None
