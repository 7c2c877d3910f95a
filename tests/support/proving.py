"""The proof of `enable`, run in a sandbox for the files that are there, and changes to what it is to prove."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pam_tailscale.host.answers import Methods
from pam_tailscale.host.arrangement import PATHS, File, without
from pam_tailscale.host.proving.trial import Outcome
from tests.support.host import Host
from tests.support.scene import Family, tailnet_address

_RUN = """
import json, sys
from ipaddress import ip_address
from pam_tailscale.errors import ProofError
from pam_tailscale.host.proving.proof import prove
from pam_tailscale.host.proving.trial import Plan
given = json.load(sys.stdin)
for name in ("before", "after"):
    given[name] = {path: None if text is None else text.encode() for path, text in given[name].items()}
for name in ("accept", "deny"):
    given[name] = given[name] and (given[name][0], ip_address(given[name][1]))
given["own"] = tuple(map(ip_address, given["own"]))
said = []
try:
    outcomes = prove(Plan(**given), said.append)
except ProofError as err:
    print(json.dumps({"error": str(err), "said": said}))
else:
    found = [[one.name, one.expected, one.found, one.detail] for one in outcomes]
    print(json.dumps({"outcomes": found, "said": said}))
"""


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of it."""

    outcomes: tuple[Outcome, ...] = ()
    error: str = ""
    said: tuple[str, ...] = field(default=())

    @property
    def failed(self) -> dict[str, str]:
        """By name what was found in place of what was expected."""
        return {one.name: one.found for one in self.outcomes if not one.ok}

    def about(self, part: str) -> Outcome:
        """The first outcome whose name has this part."""
        return next(one for one in self.outcomes if part in one.name)


def plan(
    host: Host,
    changes: Mapping[str, str | None] | None = None,
    *,
    methods: Methods | None = None,
    family: Family = 4,
    accept: bool = True,
    deny: bool = True,
) -> dict[str, Any]:
    """A plan for a scene's host, as JSON: alice's node may be alice, and not bob.

    `changes`: path to text, in what shall be there.
    """
    files = host.arrangement(methods)
    present = {path: host.box.path(path).read_bytes() for path in PATHS if host.box.exists(path)}
    base = {path: content.decode() for path, content in without(present).items()}
    peer = tailnet_address(2, family)
    return {
        "before": {path: base.get(path) for path in PATHS},
        "after": {path: base.get(path) for path in PATHS} | dict(map(_item, files)) | dict(changes or {}),
        "interface": "tailscale0",
        "ifindex": int(host.box.read("/sys/class/net/tailscale0/ifindex")),
        "own": [tailnet_address(1, 4), tailnet_address(1, 6)],
        "accept": ["alice", peer] if accept else None,
        "deny": ["bob", peer] if deny else None,
        "ports": [22],
        "key_in_addition": methods is Methods.WITH_KEY,
    }


def _item(file: File) -> tuple[str, str | None]:
    return file.path, None if file.content is None else file.content.decode()


def command(host: Host) -> list[str]:
    """The command that proves the plan on its standard input, and prints what came of it."""
    return [host.python, "-W", "error", "-c", _RUN]


def prove(host: Host, given: Mapping[str, Any]) -> Proof:
    """Prove a plan on a host."""
    told = json.loads(host.box.run(command(host), env=host._env, input=json.dumps(given)).stdout)
    outcomes = tuple(Outcome(*one) for one in told.get("outcomes", ()))
    return Proof(outcomes, told.get("error", ""), tuple(told["said"]))
