"""What reading, compiling, asking and comparing policies takes at the size of a large tailnet, and how that grows."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from bench import policies
from bench.figures import Figure, middle, spread
from tests.support.roots import PROJECT

RUNS = 3
_GROWING = ("all_s", "diff_other_s")


def policy(_: None, *, quick: bool) -> list[Figure]:
    """Each run in a process of its own, one at half the size after one at the whole."""
    whole, half = [], []
    for _run in range(1 if quick else RUNS):
        whole.append(_times(1))
        half.append(_times(0.5))
    return [
        middle("policy_compile_node_ms", [1000 * one for run in whole for one in run["one_s"]], _one_note(whole)),
        middle("policy_compile_all_s", [run["all_s"] for run in whole], f"of all nodes, {whole[0]['rules']} rules"),
        middle("policy_diff_s", [run["diff_other_s"] for run in whole], _diff_note(whole)),
        middle("policy_evaluate_us", [1e6 * run["evaluate_s"] for run in whole], "on the node with the most rules"),
        middle("policy_peak_mib", [run["peak_mib"] for run in whole], "of the process that did all of it"),
        growth(whole, half),
    ]


def _times(factor: float) -> dict[str, Any]:
    argv = [sys.executable, "-m", "bench.policy_times", str(factor)]
    done = subprocess.run(argv, cwd=PROJECT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def growth(whole: Sequence[dict[str, Any]], half: Sequence[dict[str, Any]]) -> Figure:
    """By how much the one takes longer that grows the most."""
    ratios = {name: [large[name] / small[name] for large, small in zip(whole, half, strict=True)] for name in _GROWING}
    medians = {name: statistics.median(values) for name, values in ratios.items()}
    worst = max(medians, key=medians.__getitem__)
    text = ", ".join(f"{name.removesuffix('_s')} {value:.3g}" for name, value in medians.items())
    return Figure("policy_growth", medians[worst], spread(ratios[worst]), f"twice the size against once: {text}")


def _one_note(whole: Sequence[dict[str, Any]]) -> str:
    read = statistics.median(run["read_s"] for run in whole)
    size = f"{policies.NODES} nodes, {policies.PEOPLE} people, {policies.ENTRIES} rules, {policies.GROUPS} groups"
    return f"{size}: from the file, {whole[0]['bytes'] >> 10} KiB (read in {1000 * read:.3g} ms), to one node's rules"


def _diff_note(whole: Sequence[dict[str, Any]]) -> str:
    edited = statistics.median(run["diff_edited_s"] for run in whole)
    return (
        f"two unrelated policies, {whole[0]['changes_other']} changes; with one of twenty entries edited "
        f"{edited:.3g} s, {whole[0]['changes_edited']} changes"
    )
