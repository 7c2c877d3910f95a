"""A host's doors: who asks to be let in, over which network, with what. Each is tried by stock ssh."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tests.support.machine import PASSWORD, PRETENDED, PRETENDER, ROOT_PASSWORD, Machine, Site

Outcome = Literal["in", "refused", "unreachable"]
_NO = ("Permission denied", "Connection closed by", "Connection reset by", "Received disconnect")


@dataclass(frozen=True, slots=True)
class Door:
    """One way to ask."""

    account: str
    source: Literal["alice's laptop", "bob's laptop", "the LAN", "a pretender"]
    password: str | None
    """None: nothing is typed, as in a script. The empty one is typed, too."""

    def __str__(self) -> str:
        return f"{self.account} from {self.source}, {'nothing' if self.password is None else repr(self.password)} typed"


INVITED = (Door("alice", "alice's laptop", None), Door("root", "alice's laptop", None))
"""Whom the policy lets in."""


def burglars(source: Literal["bob's laptop", "a pretender"]) -> tuple[Door, ...]:
    """Whom sshd would let in where the drop-in hands them to PAM, and PAM asks nobody: refused, always."""
    return Door("decoy", source, None), Door("decoy", source, ""), Door("root", source, ROOT_PASSWORD)


BURGLARS = burglars("bob's laptop")
PRETENDERS = burglars("a pretender")
"""The same from the LAN with an address of the tailnet, for a machine whose tailscaled does not keep such away."""
UNINVITED = Door("alice", "bob's laptop", PASSWORD)
"""Over the tailnet her password is not asked for; the policy lets bob's laptop in as bob. Without us it opens."""
ON_LAN = (
    Door("alice", "the LAN", PASSWORD),
    Door("alice", "the LAN", None),
    Door("decoy", "the LAN", ""),
    Door("root", "the LAN", ROOT_PASSWORD),
)


def tried(site: Site, machine: Machine, *doors: Door) -> dict[str, Outcome]:
    """What comes of each door; all are tried side by side."""
    with ThreadPoolExecutor(len(doors)) as pool:
        return dict(zip(map(str, doors), pool.map(lambda door: _outcome(site, machine, door), doors), strict=True))


def _outcome(site: Site, machine: Machine, door: Door) -> Outcome:
    client = site.clients[door.source]
    address = {"the LAN": machine.lan_address, "a pretender": PRETENDED}.get(door.source, machine.known_ipv4)
    # Once: PAM lets whoever is wrong wait for seconds.
    source = PRETENDER if door.source == "a pretender" else None
    options = ("-o", "NumberOfPasswordPrompts=1")
    done = client.ssh(door.account, address, *options, source=source, password=door.password)
    if done.returncode == 0:
        return "in"
    return "refused" if any(words in done.stderr for words in _NO) else "unreachable"


def all_are(outcome: Outcome, doors: Iterable[Door]) -> dict[str, Outcome]:
    """What `tried` answers where all come out alike."""
    return {str(door): outcome for door in doors}


LAN_AS_ALWAYS: dict[str, Outcome] = {**all_are("refused", ON_LAN), str(ON_LAN[0]): "in"}
"""As Debian has it: alice's password opens, an empty one does not, and root's does not either."""
