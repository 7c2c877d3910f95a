"""Logins with paramiko, which asks with the method it is told and not with `none` first."""

import json
from typing import Any

from contrib.demo.tailnet import Node
from tests.support.scene import Scene, tailnet_address

_PROGRAM = "/opt/pam-tailscale/tests/support/paramiko_login.py"


def paramiko(scene: Scene, user: str, method: str, node: Node | None = None) -> dict[str, Any]:
    """One login over the tailnet with one method; see tests/support/paramiko_login.py for what is answered."""
    source = (node or scene.nodes.alice).addresses[0]
    argv = ["/usr/bin/python3", "-W", "ignore", _PROGRAM, tailnet_address(1, 4), source, json.dumps(user), method]
    result: dict[str, Any] = json.loads(scene.client.box.run(argv).stdout)
    return result
