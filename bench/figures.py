"""Figures of the benchmark: their names, units and targets, and the few statistics they are made with. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to reach."""

    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.bound:g}"


TARGETS = {
    "login_vs_floor": Target(1.05),
    "login_vs_publickey": Target(0.75),
    "login_vs_tailscale_ssh": Target(1.05),
    "decision_p50_ms": Target(1.2),
    "decision_p99_ms": Target(3),
    "decisions_per_s": Target(1500, at_least=True),
    "decision_stall_ms": Target(50),
    "module_ignore_us": Target(50),
    "agent_rss_mib": Target(60),
    "idle_cpu_percent": Target(0.1),
    "policy_effect_s": Target(1),
    "checked_login_vs_accept": Target(1.05),
    "control_login_vs_accept": Target(1.15),
    "approval_to_shell_s": Target(1),
    "pending_mib": Target(30),
    "pending_decisions_slower": Target(1.2),
    "token_verify_ms": Target(1),
    "enable_s": Target(5),
    "deb_kib": Target(1024),
    "policy_compile_node_ms": Target(300),
    "policy_compile_all_s": Target(20),
    "policy_diff_s": Target(40),
    "policy_evaluate_us": Target(50),
    "policy_peak_mib": Target(500),
    "policy_growth": Target(2.2),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure.

    Args:
        name: its key in build/bench.json; the unit is its ending.
        value: the figure.
        spread: half the interquartile range of the values that it is the middle of, in the same unit.
        note: what was measured, for the table.
    """

    name: str
    value: float
    spread: float
    note: str

    @property
    def target(self) -> Target | None:
        """What it has to reach, if anything."""
        return TARGETS.get(self.name)


def spread(values: Sequence[float]) -> float:
    """Half the interquartile range; 0 for fewer than two values."""
    if len(values) < 2:  # noqa: PLR2004 (what quantiles() needs)
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2


def middle(name: str, values: Sequence[float], note: str) -> Figure:
    """The median of values as a figure."""
    return Figure(name, statistics.median(values), spread(values), note)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
