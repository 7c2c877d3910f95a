"""The command line as a person runs it, with an agent that answers what a test tells it."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pam_tailscale import wire
from pam_tailscale.cli.main import main
from pam_tailscale.host import wiring
from pam_tailscale.host.report import Report
from tests.support.scripted_agent import ALLOW, Script, ScriptedAgent, info, say, scripted_agent


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `pam-tailscale` with arguments."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr("sys.argv", ["pam-tailscale", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return run


class Agents:
    """Starts agents that play scripts; all end with the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def playing(self, *scripts: Script) -> ScriptedAgent:
        """An agent that plays these."""
        return self._stack.enter_context(scripted_agent(*scripts))

    def telling(self, document: object) -> ScriptedAgent:
        """An agent that tells this document, in pieces."""
        text = json.dumps(document)
        return self.playing(say(*(info(text[start : start + 900]) for start in range(0, len(text), 900)), ALLOW))


@pytest.fixture
def agents() -> Iterator[Agents]:
    """Agents of this test."""
    with ExitStack() as stack:
        yield Agents(stack)


@pytest.fixture
def nobody(tmp_path: Path) -> Path:
    """A socket that is not there."""
    return tmp_path / "nobody.sock"


def asked(agent: ScriptedAgent) -> wire.Message:
    """The only request it got."""
    (one,) = agent.asked
    return one.pairs


class Switched:
    """Stands in for both; notes how it was run and answers what a test says."""

    def __init__(self, answer: Report | Exception) -> None:
        self.answer = answer
        self.ran: list[tuple[Any, ...]] = []
        self.person: Any = None

    def __call__(self, person: object) -> "Switched":
        self.person = person
        return self

    def run(self, *args: object, **options: object) -> Report:
        self.ran.append((*args, options))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def coming_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[Report | Exception], Switched]:
    """Has both commands come to this."""

    def prepare(answer: Report | Exception) -> Switched:
        switched = Switched(answer)
        monkeypatch.setattr(wiring, "enabler", switched)
        monkeypatch.setattr(wiring, "disabler", switched)
        return switched

    return prepare


Coming = Callable[[Report | Exception], Switched]
