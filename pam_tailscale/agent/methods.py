"""One connection is granted by one method, within one set of limits. A pure table; times are monotonic seconds.

sshd can be set up to require several methods (`AuthenticationMethods none,publickey`). The agent answers for PAM and
for the key helper, so one identity would satisfy two required methods. What is granted first keeps the connection.

What a rule withholds, sshd withholds by the options of the key that the helper has printed. Account and session are
asked about without a word of the method: which options this connection was granted, for which keys, is remembered here.
Where sshd is set up to take keys from elsewhere, too, it may let in another one than the helper was asked about: the
session, which knows the key, is then refused.
"""

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace

from pam_tailscale.model import Connection, IPAddress, Method, Phase, Request, Withheld

KEEP = 150.0
"""Seconds: sshd's default LoginGraceTime of 120 s and some more, after which a connection is authenticated or gone."""
ENTRIES_MAX = 16384
CLIENT_MAX = 256
"""Connections of one address: a device that asks with a key and hangs up, again and again, keeps only itself out."""
KEYS_MAX = 16
"""Keys of one connection; sshd ends it after MaxAuthTries, by default 6."""

_BY_PAM = frozenset({"none", "password", "keyboard-interactive"})
"""Methods, as sshd names them, that our PAM module answers."""


@dataclass(frozen=True, slots=True)
class _Grant:
    method: Method
    withheld: Withheld
    since: float
    user: str
    keys: frozenset[bytes]
    """Digests of the keys that the helper was let print."""


class MethodTable:
    """Remembers what was granted to which connection that is still being authenticated. Not locked."""

    def __init__(self) -> None:
        self._granted: OrderedDict[Connection, _Grant] = OrderedDict()
        self._of_client: Counter[IPAddress] = Counter()

    def limits(self, request: Request, withheld: Withheld, now: float) -> bool:
        """Whether sshd enforces, or is about to be told to enforce, what is to be withheld from this connection.

        Two keys of one connection with different options are refused: the account phase does not know which of them
        sshd has taken. Ask before `admits`, which ends what is remembered at the session.
        """
        held = self._granted.get(request.connection)
        if held is not None and now - held.since > KEEP:
            held = None
        if request.phase is Phase.AUTH:
            if held is not None and held.method is Method.PUBLICKEY and held.withheld != withheld:
                return False
            return withheld.nothing or (request.method is Method.PUBLICKEY and _fits(request, held))
        if withheld.nothing:
            return True
        if held is None or (held.user, held.withheld) != (request.user, withheld):
            return False
        return request.phase is Phase.ACCOUNT or _digest(request.key) in held.keys

    def admits(self, request: Request, withheld: Withheld, now: float) -> bool:
        """Whether what the policy allows is the only method of this connection that the policy answers."""
        if request.phase is Phase.AUTH:
            keys = frozenset({_digest(request.key)} if request.key else ())
            return self._claim(request.connection, _Grant(request.method, withheld, now, request.user, keys))
        if request.phase is Phase.ACCOUNT:
            return self._alone(request.connection, request.earlier)
        self._forget(request.connection)  # authentication is over
        return True

    def _claim(self, connection: Connection, grant: _Grant) -> bool:
        self._forget_old(grant.since)
        held = self._granted.get(connection)
        if held is not None:
            # sshd asks the key helper twice for one key, once before and once with the signature. PAM it asks once a
            # method; `password` looks to PAM like `none`.
            if held.method is not Method.PUBLICKEY or grant.method is not Method.PUBLICKEY:
                return False
            self._granted[connection] = replace(held, keys=held.keys | grant.keys)
            return True
        if len(self._granted) >= ENTRIES_MAX or self._of_client[connection.client] >= CLIENT_MAX:
            return False
        self._granted[connection] = grant
        self._of_client[connection.client] += 1
        return True

    def _alone(self, connection: Connection, earlier: tuple[str, ...]) -> bool:
        """Where sshd counted several methods, at most one of them may have been ours.

        Two keys that our helper let pass look to it like one. Where PAM was granted, the other may be a key that the
        administrator demands in addition and sshd itself has checked.
        """
        if not earlier:
            return True
        held = self._granted.get(connection)
        if held is None or held.method is Method.PUBLICKEY:
            return False
        return sum(name in _BY_PAM for name in earlier) <= 1

    def _forget_old(self, now: float) -> None:
        while self._granted:
            connection, oldest = next(iter(self._granted.items()))
            if now - oldest.since <= KEEP:
                return
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        if self._granted.pop(connection, None) is None:
            return
        self._of_client[connection.client] -= 1
        if not self._of_client[connection.client]:
            del self._of_client[connection.client]


def _fits(request: Request, held: _Grant | None) -> bool:
    """Whether the session will be recognised by this key."""
    if not request.key:
        return False
    return held is None or (held.user == request.user and len(held.keys | {_digest(request.key)}) <= KEYS_MAX)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
