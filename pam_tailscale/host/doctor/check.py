"""What a check has found: the record, and what several of them come to. Pure."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class State(enum.Enum):
    """How it stands. The order is that of the report."""

    PROBLEM = "problem"
    """Somebody could get in whom the policy does not let in, or nobody can whom it does."""
    UNKNOWN = "unknown"
    """It could not be looked at."""
    WARNING = "warning"
    """In order, but the administrator should know it."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. Names are an interface (`--json`)."""

    name: str
    state: State
    what: str
    """What was seen."""
    means: str = ""
    """What follows from it; empty where it is in order."""
    mend: str = ""
    """The command that mends it, or what to do where no command does."""
    items: tuple[str, ...] = ()
    """Where it is about several things: each of them."""


def ok(name: str, what: str, items: Iterable[str] = ()) -> Check:
    """It is in order."""
    return Check(name, State.OK, what, items=tuple(items))


def problem(name: str, what: str, means: str, mend: str, items: Iterable[str] = ()) -> Check:
    """It is wrong."""
    return Check(name, State.PROBLEM, what, means, mend, tuple(items))


def warning(name: str, what: str, means: str, mend: str, items: Iterable[str] = ()) -> Check:
    """It should be known."""
    return Check(name, State.WARNING, what, means, mend, tuple(items))


def unknown(name: str, what: str, mend: str) -> Check:
    """It could not be looked at, so whether it is in order is not known."""
    return Check(name, State.UNKNOWN, what, mend=mend)


def worst(checks: Iterable[Check]) -> State:
    """PROBLEM where there is one, else UNKNOWN where something was not seen, else OK: warnings are in order."""
    states = {check.state for check in checks}
    return next((state for state in (State.PROBLEM, State.UNKNOWN) if state in states), State.OK)


def in_order_of_report(checks: Sequence[Check]) -> list[Check]:
    """Problems first; among themselves as they were found."""
    order = list(State)
    return sorted(checks, key=lambda check: order.index(check.state))


def document(check: Check) -> dict[str, Any]:
    """The check as JSON has it."""
    return {
        "name": check.name,
        "state": check.state.value,
        "what": check.what,
        "means": check.means,
        "mend": check.mend,
        "items": list(check.items),
    }
