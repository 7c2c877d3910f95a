"""A host's doors: who asks to be let in, over which network, with what. Each is tried by stock ssh, as a person would."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tests.support.machine import PASSWORD, ROOT_PASSWORD, Machine, Site

Outcome = Literal["in", "refused", "unreachable"]
_NO = ("Permission denied", "Connection closed by", "Connection reset by", "Received disconnect")


@dataclass(frozen=True, slots=True)
class Door:
    """One way to ask."""

    account: str
    source: Literal["alice's laptop", "bob's laptop", "the LAN"]
    password: str | None
    """None: nothing is typed, as in a script. The empty one is typed, too."""

    def __str__(self) -> str:
        return f"{self.account} from {self.source}, {'nothing' if self.password is None else repr(self.password)} typed"


INVITED = (Door("alice", "alice's laptop", None), Door("root", "alice's laptop", None))
"""Whom the policy lets in."""
BURGLARS = (
    Door("decoy", "bob's laptop", None),
    Door("decoy", "bob's laptop", ""),
    Door("root", "bob's laptop", ROOT_PASSWORD),
    Door("alice", "bob's laptop", PASSWORD),
)
"""Whom sshd would let in over the tailnet where it hands them to PAM and nobody asks the policy."""
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
    address = machine.lan_address if door.source == "the LAN" else machine.known_ipv4
    # Once: PAM lets whoever is wrong wait for seconds.
    done = client.ssh(door.account, address, "-o", "NumberOfPasswordPrompts=1", password=door.password)
    if done.returncode == 0:
        return "in"
    return "refused" if any(words in done.stderr for words in _NO) else "unreachable"


def all_are(outcome: Outcome, doors: Iterable[Door]) -> dict[str, Outcome]:
    """What `tried` answers where all come out alike."""
    return {str(door): outcome for door in doors}


LAN_AS_ALWAYS: dict[str, Outcome] = {**all_are("refused", ON_LAN), str(ON_LAN[0]): "in"}
"""As Debian has it: alice's password opens, an empty one does not, and root's does not either."""
