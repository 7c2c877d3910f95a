"""One connection is granted by one method. A pure table; times are passed in (monotonic seconds).

sshd can be set up to require several methods (`AuthenticationMethods none,publickey`). The agent answers for PAM and
for the key helper, so one identity would satisfy two required methods. What is granted first keeps the connection.
"""

from collections import Counter, OrderedDict

from pam_tailscale.model import Connection, IPAddress, Method, Phase, Request

KEEP = 150.0
"""Seconds: sshd's default LoginGraceTime of 120 s and some more, after which a connection is authenticated or gone."""
ENTRIES_MAX = 16384
CLIENT_MAX = 256
"""Connections of one address: a device that asks with a key and hangs up, again and again, keeps only itself out."""

_BY_PAM = frozenset({"none", "password", "keyboard-interactive"})
"""Methods, as sshd names them, that our PAM module answers."""


class MethodTable:
    """Remembers which method was granted to which connection that is still being authenticated. Not locked."""

    def __init__(self) -> None:
        self._granted: OrderedDict[Connection, tuple[Method, float]] = OrderedDict()
        self._of_client: Counter[IPAddress] = Counter()

    def admits(self, request: Request, now: float) -> bool:
        """Whether what the policy allows is the only method of this connection that the policy answers."""
        if request.phase is Phase.AUTH:
            return self._claim(request.connection, request.method, now)
        if request.phase is Phase.ACCOUNT:
            return self._alone(request.connection, request.earlier)
        self._forget(request.connection)  # authentication is over
        return True

    def _claim(self, connection: Connection, method: Method, now: float) -> bool:
        self._forget_old(now)
        held = self._granted.get(connection)
        if held is not None:
            # sshd asks the key helper twice for one key, once before and once with the signature. PAM it asks once a
            # method; `password` looks to PAM like `none`.
            return held[0] is method is Method.PUBLICKEY
        if len(self._granted) >= ENTRIES_MAX or self._of_client[connection.client] >= CLIENT_MAX:
            return False
        self._granted[connection] = (method, now)
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
        if held is None or held[0] is Method.PUBLICKEY:
            return False
        return sum(name in _BY_PAM for name in earlier) <= 1

    def _forget_old(self, now: float) -> None:
        while self._granted:
            connection, (_, since) = next(iter(self._granted.items()))
            if now - since <= KEEP:
                return
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        if self._granted.pop(connection, None) is None:
            return
        self._of_client[connection.client] -= 1
        if not self._of_client[connection.client]:
            del self._of_client[connection.client]
