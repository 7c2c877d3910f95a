"""Times what is done with a policy file, in a process of its own: `python3 -m bench.policy_times SIZE`, JSON comes out.

A process for each size, because its most memory is one of the figures.
"""

import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench import policies, processes
from pam_tailscale.policy import document
from pam_tailscale.policy.compile import Compiler
from pam_tailscale.policy.diff import diff
from pam_tailscale.policy.evaluate import Query, evaluate
from pam_tailscale.policy.matrix import matrix
from pam_tailscale.policy.roster import Node, Tailnet
from pam_tailscale.policy.rules import Policy
from pam_tailscale.policy.validate import validate

ONE_NODE, EVALUATIONS, REPEATS = 10, 20_000, 3
CHANGED = 0.05
"""Of the entries, in a policy that was edited."""


def compiler(data: bytes, tailnet: Tailnet) -> Compiler:
    """All from the file's content."""
    policy = document.read(data, "policy.hujson")
    validate(policy, tailnet.domains)
    return Compiler(policy, tailnet)


def main() -> None:
    """Measures and prints; progress goes to standard error."""
    size = policies.Size(float(sys.argv[1]))
    tailnet = policies.tailnet(size)
    data = policies.policy(size, 1)
    times: dict[str, Any] = {"read_s": _seconds(lambda: compiler(data, tailnet)), "bytes": len(data)}
    nodes = random.Random(2).sample(tailnet.nodes, ONE_NODE)  # noqa: S311 (the same each time)
    times["one_s"] = [_seconds(partial(_one, data, tailnet, node)) for node in nodes]
    compiled = compiler(data, tailnet)
    times["rules"] = sum(len(compiled.rules_for(node)) for node in tailnet.nodes)
    times["all_s"] = statistics.median(_all(compiler(data, tailnet)) for _ in range(REPEATS))
    times["evaluate_s"] = _evaluate(compiled)
    times["matrix_s"] = _seconds(partial(matrix, compiled))
    for name, text in (("edited", policies.changed(data, 3, CHANGED)), ("other", policies.policy(size, 2))):
        other = compiler(text, tailnet)
        times[f"changes_{name}"] = len(diff(compiled, other))
        times[f"diff_{name}_s"] = statistics.median(_seconds(partial(diff, compiled, other)) for _ in range(REPEATS))
    times["peak_mib"] = processes.memory_mib(os.getpid(), "VmHWM")
    print(json.dumps(times))


def _one(data: bytes, tailnet: Tailnet, node: Node) -> Policy:
    return compiler(data, tailnet).policy_for(node)


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _all(compiled: Compiler) -> float:
    """Seconds for the rules of all nodes, one after the other, by a compiler that has made none before."""
    began = time.perf_counter()
    nodes = compiled.tailnet.nodes
    for number, node in enumerate(nodes, 1):
        compiled.rules_for(node)
        if number % (len(nodes) // 4) == 0:
            print(f"compiled for {number} of {len(nodes)} nodes", file=sys.stderr)
    return time.perf_counter() - began


def _evaluate(compiled: Compiler) -> float:
    """Seconds for one evaluation, of many by different peers on the node with the most rules."""
    chance = random.Random(3)  # noqa: S311
    nodes = compiled.tailnet.nodes
    target = max(nodes, key=lambda node: len(compiled.rules_for(node)))
    policy = [compiled.policy_for(target)]
    queries = [
        Query(node.addresses[0], node.stable_id, node.owner, user, 1000, tagged=bool(node.tags))
        for node in chance.choices(nodes, k=EVALUATIONS)
        for user in (chance.choice(("root", "alice", "service7")),)
    ]
    began = time.perf_counter()
    for query in queries:
        evaluate(policy, query, 0.0)
    return (time.perf_counter() - began) / EVALUATIONS


if __name__ == "__main__":
    main()
