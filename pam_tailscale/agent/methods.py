"""One connection is granted by one method. A pure table; times are passed in (monotonic seconds).

sshd can be set up to require several methods (`AuthenticationMethods none,publickey`). The agent answers for PAM and
for the key helper, so one identity would satisfy two required methods. What is granted first keeps the connection.
"""

from collections import OrderedDict

from pam_tailscale.model import Connection, Method, Phase, Request

KEEP = 150.0
"""Seconds: sshd's default LoginGraceTime of 120 s and some more, after which a connection is authenticated or gone."""
ENTRIES_MAX = 4096


_BY_PAM = frozenset({"none", "password", "keyboard-interactive"})
"""Methods, as sshd names them, that our PAM module answers."""


class MethodTable:
    """Remembers which method was granted to which connection that is still being authenticated. Not locked."""

    def __init__(self) -> None:
        self._granted: OrderedDict[Connection, tuple[Method, float]] = OrderedDict()

    def admits(self, request: Request, now: float) -> bool:
        """Whether what the policy allows is the only method of this connection that the policy answers."""
        if request.phase is Phase.AUTH:
            return self._claim(request.connection, request.method, now)
        if request.phase is Phase.ACCOUNT:
            return self._alone(request.connection, request.earlier)
        self._granted.pop(request.connection, None)  # authentication is over
        return True

    def _claim(self, connection: Connection, method: Method, now: float) -> bool:
        self._forget_old(now)
        held = self._granted.get(connection)
        if held is not None:
            # sshd asks the key helper twice for one key, once before and once with the signature. PAM it asks once a
            # method; `password` looks to PAM like `none`.
            return held[0] is method is Method.PUBLICKEY
        if len(self._granted) >= ENTRIES_MAX:
            return False
        self._granted[connection] = (method, now)
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
            del self._granted[connection]
