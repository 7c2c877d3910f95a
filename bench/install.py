"""What it takes to install and switch on: the packages' size, and the time of `enable` in a booted machine."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from bench.figures import Figure, middle
from tests.support import debs
from tests.support.machine import ENABLE, INSTALL, Machine, Site
from tests.support.roots import Suite

SUITES: Sequence[Suite] = ("bookworm", "trixie")
_FIGURES: Sequence[tuple[Suite, str, str]] = (
    ("bookworm", "enable_s", "`pam-tailscale enable` with its proof, in a booted Debian 12"),
    ("trixie", "debian13_enable_s", "the same in a booted Debian 13"),
)
_RUNS, _RUNS_QUICK = 5, 2
_KIB = 1024


class Installed:
    """A machine of each Debian release in a real tailnet, with our packages, switched off. A context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.machines: dict[Suite, Machine] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            site = stack.enter_context(Site())
            for suite in SUITES:
                machine = site.machine(suite, suite)
                machine.bring(debs.build(suite))
                machine.run(INSTALL)
                self.machines[suite] = machine
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def enabling(installed: Installed, *, quick: bool) -> list[Figure]:
    """The whole command, its proof included, as an administrator waits for it."""
    return [
        middle(name, [_once(installed.machines[suite]) for _ in range(_RUNS_QUICK if quick else _RUNS)], note)
        for suite, name, note in _FIGURES
    ]


def _once(machine: Machine) -> float:
    began = time.monotonic()
    machine.run(ENABLE)
    took = time.monotonic() - began
    machine.run("pam-tailscale disable --yes")
    return took


def sizes(_: None, *, quick: bool) -> list[Figure]:
    """All packages of a release together; the larger one counts."""
    del quick
    largest = max(sum(package.stat().st_size for package in debs.build(suite)) for suite in SUITES)
    return [Figure("deb_kib", largest / _KIB, 0, "all packages of one release")]
