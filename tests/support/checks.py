"""A provider of checks that does as a test says, and logins that wait for it, as values and sockets."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from pam_tailscale import wire
from pam_tailscale.check.flow import Asked, Hold, Passed, Polled, Refused, Trouble, Unanswered
from pam_tailscale.model import Demand
from pam_tailscale.secret import Secret

PAGE = "https://login.example.com/device?user_code=ABCD"


def hold(name: str = "ticket", *, text: str = f"open {PAGE}", interval: float = 0.0, lifetime: float = 600.0) -> Hold:
    """A page that a person is sent to."""
    return Hold(text, PAGE, Secret(name), interval, lifetime, begun=0.0)


@dataclass
class ScriptedProvider:
    """Answers what its fields say; a poll waits until `approve` or `refuse`, or for its patience."""

    name: str = "oidc"
    recalled: Passed | None = None
    asked: Asked = None
    begun: Hold | Passed | Refused | Trouble = field(default_factory=hold)
    trouble: str = ""
    questions: list[str] = field(default_factory=list)
    """What was asked, as `recall`, `ask`, `begin`, `poll`, `prepare`."""
    _verdict: Polled = field(default_factory=Unanswered)
    _acted: threading.Event = field(default_factory=threading.Event)

    def approve(self, answer: Polled | None = None) -> None:
        """The person approves, or what `answer` says."""
        self._verdict = answer or Passed()
        self._acted.set()

    def recall(self, demand: Demand, now: float) -> Passed | None:
        """As told."""
        del demand, now
        self.questions.append("recall")
        return self.recalled

    def ask(self, demand: Demand) -> Asked:
        """As told."""
        del demand
        self.questions.append("ask")
        return self.asked

    def begin(self, demand: Demand) -> Hold | Passed | Refused | Trouble:
        """As told."""
        del demand
        self.questions.append("begin")
        return self.begun

    def poll(self, demand: Demand, hold: Hold, patience: float, cancelled: Callable[[], bool]) -> Polled:
        """Waits for the person as a control plane does; once they have acted, each poll has the same answer."""
        del demand, hold
        self.questions.append("poll")
        for _ in range(max(1, int(patience / 0.05))):
            if self._acted.wait(0.05) or cancelled():
                break
        return self._verdict if self._acted.is_set() else Unanswered()

    def prepare(self) -> None:
        """Nothing to do."""
        self.questions.append("prepare")

    def close(self) -> None:
        """Nothing is open."""
        self.questions.append("close")

    def problem(self) -> str:
        """As told."""
        return self.trouble


class Shim:
    """The module's end of a request that waits."""

    def __init__(self) -> None:
        self.ours, self.agents = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours.settimeout(10)

    def hear(self) -> wire.Message:
        """The next message; empty where the agent has closed."""
        message = self.ours.recv(wire.MESSAGE_MAX + 1)
        return wire.decode(message) if message else {}

    def press_enter(self) -> None:
        """What the module says when the person has."""
        self.ours.send(wire.encode({wire.KEY_REQUEST: wire.REQUEST_CONTINUE}))

    def close(self) -> None:
        """The module is gone."""
        self.ours.close()
