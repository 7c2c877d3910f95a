"""Runs a piece of Python in a process of its own that is the first of a pid namespace, as the proof's play is."""

import json
import subprocess
import sys
from typing import Any

_BEFORE = """
import json, os, sys
from pam_tailscale.host.proving import namespaces
namespaces.unshare(namespaces.CLONE_NEWPID | namespaces.CLONE_NEWIPC)
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
namespaces.die_with_parent()
found = {}
"""
_AFTER = """
print(json.dumps(found))
"""


def run(script: str, *arguments: str) -> dict[str, Any]:
    """What `script` leaves in `found`."""
    argv = [sys.executable, "-c", f"{_BEFORE}{script}{_AFTER}", *arguments]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
