"""Which connection has passed its check: what sshd asks again in the account and session phases. A pure table.

A pass is one connection's, for the demand it was given for, and only until its login is complete. It is what lets a
check count that nothing else remembers (`always`, and whatever only the control plane knows).
"""

from collections import OrderedDict

from pam_tailscale.model import Connection, Demand, folded

KEEP = 150.0
"""Seconds from the method that succeeded to the session: LoginGraceTime is 120, the account comes at once."""
ENTRIES_MAX = 16384


class PassTable:
    """Remembers passes; times are monotonic seconds. Not locked."""

    def __init__(self) -> None:
        self._passes: OrderedDict[Connection, tuple[Demand, float]] = OrderedDict()

    def grant(self, demand: Demand, now: float) -> None:
        """The demand's connection has passed."""
        self._passes.pop(demand.connection, None)
        self._passes[demand.connection] = (demand, now)
        while len(self._passes) > ENTRIES_MAX:
            self._passes.popitem(last=False)

    def holds(self, demand: Demand, now: float) -> bool:
        """Whether this connection has passed just this demand, a moment ago."""
        found = self._passes.get(demand.connection)
        return found is not None and found[0].like(demand) and now - found[1] <= KEEP

    def forget(self, connection: Connection) -> None:
        """The login is complete: if the numbers of its connection come again, that is another."""
        self._passes.pop(connection, None)

    def forget_person(self, person: str) -> None:
        """Nothing of this person counts any more."""
        for connection in [at for at, (demand, _) in self._passes.items() if folded(demand.person) == folded(person)]:
            del self._passes[connection]
