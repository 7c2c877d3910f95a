"""What a row of the table of preconditions is, and what comes of it."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from pam_tailscale.host.answers import Answers
from pam_tailscale.host.facts import Facts


class Action(enum.Enum):
    """What `enable` does about something it found."""

    REFUSE = "refuse"
    """It changes nothing."""
    ASK = "ask"
    """It changes nothing unless the administrator says so, on the terminal or by an option."""
    HANDLE = "handle"
    """It goes on, has seen to it, and says so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found, for the administrator."""

    row: str
    """The row's name."""
    action: Action
    what: str
    """What was seen, with names and places."""
    means: str
    """What comes of it."""
    mend: str
    """What to do; may be empty where nothing has to be done."""
    flag: str
    """The option that answers it; empty where there is nothing to answer."""


def _unanswered(_: Answers) -> str:
    return ""


def _whatever(_: Answers) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Row:
    """One precondition."""

    name: str
    action: Action
    seen: Callable[[Facts], str]
    """What was seen; empty where the row does not apply."""
    means: str
    mend: str = ""
    flag: str = ""
    answer: Callable[[Answers], str] = _unanswered
    """What the administrator's answer makes of it; empty where they have given none."""
    only: Callable[[Answers], bool] = _whatever
    """The answers with which it applies."""

    def judge(self, facts: Facts, answers: Answers) -> Finding | None:
        """What was found; None where the row does not apply. An ASK that is answered becomes a HANDLE."""
        what = self.seen(facts) if self.only(answers) else ""
        if not what:
            return None
        answered = self.answer(answers)
        if answered:
            return Finding(self.name, Action.HANDLE, what, answered, "", self.flag)
        return Finding(self.name, self.action, what, self.means, self.mend, self.flag)


def joined(texts: "list[str]") -> str:
    """Several things that were seen, as one text."""
    return "; ".join(texts)
