"""One connection is granted by one method. A pure table; times are passed in (monotonic seconds).

sshd can be set up to require several methods (`AuthenticationMethods none,publickey`). The agent answers for both, for
`none` and for the key helper, so one identity would satisfy two required methods. What is granted first keeps the
connection.
"""

from collections import OrderedDict

from pam_tailscale.model import Connection, Method

KEEP = 150.0
"""Seconds: sshd's default LoginGraceTime of 120 s and some more, after which a connection is authenticated or gone."""
ENTRIES_MAX = 4096


class MethodTable:
    """Remembers which method was granted to which connection that is still being authenticated. Not locked."""

    def __init__(self) -> None:
        self._granted: OrderedDict[Connection, tuple[Method, float]] = OrderedDict()

    def claim(self, connection: Connection, method: Method, now: float) -> bool:
        """Grant the connection by this method; False where another method has it, or no more can be remembered."""
        self._forget_old(now)
        held = self._granted.get(connection)
        if held is not None:
            return held[0] is method
        if len(self._granted) >= ENTRIES_MAX:
            return False
        self._granted[connection] = (method, now)
        return True

    def done(self, connection: Connection) -> None:
        """Authentication is over: its session begins."""
        self._granted.pop(connection, None)

    def _forget_old(self, now: float) -> None:
        while self._granted:
            connection, (_, since) = next(iter(self._granted.items()))
            if now - since <= KEEP:
                return
            del self._granted[connection]
