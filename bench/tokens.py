"""What the verification of an ID token costs, with the libraries of Debian 12."""

import json
import statistics

from bench.figures import Figure, spread
from bench.real import project
from tests.support.roots import debian_root
from tests.support.sandbox import Sandbox


def verify(_: None, *, quick: bool) -> list[Figure]:  # noqa: ARG001 (as every part)
    """Of the algorithms that are allowed, the slowest."""
    with Sandbox(debian_root("bookworm"), "server") as box:
        done = box.run(["/usr/bin/python3", project("bench/token_times.py")], env={"PYTHONPATH": project("")})
    times: dict[str, dict[str, list[float]]] = json.loads(done.stdout)
    medians = {name: statistics.median(one["first"]) for name, one in times.items()}
    slowest = max(medians, key=medians.__getitem__)
    first, again = times[slowest]["first"], [value * 1000 for value in times[slowest]["again"]]
    all_of_them = ", ".join(f"{name} {value:.2g}" for name, value in medians.items())
    note = f"an ID token judged for the first time, by the slowest algorithm ({all_of_them}); {len(first)} tokens"
    return [
        Figure("token_verify_ms", medians[slowest], spread(first), note),
        Figure("token_verify_cached_us", statistics.median(again), spread(again), "the same tokens judged again"),
    ]
