"""Times logins on the device itself, so that nothing but ssh is in between. Imports nothing of ours.

Standard input: {"runs": N, "ways": {"name": ["ssh", ...], ...}}; standard output: {"name": [milliseconds, ...], ...}.
"""

import json
import subprocess
import sys
import time


def one(argv: list[str]) -> float:
    """Milliseconds of one login. Ends the program where it fails."""
    began = time.perf_counter()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    took = (time.perf_counter() - began) * 1000
    if done.returncode != 0:
        sys.exit(f"{' '.join(argv)}: status {done.returncode}: {done.stderr.decode(errors='replace')}")
    return took


def main() -> None:
    """Interleaved: each round logs in once in every way, and begins with another one."""
    wanted = json.load(sys.stdin)
    ways = list(wanted["ways"].items())
    times: dict[str, list[float]] = {name: [] for name, _ in ways}
    for _, argv in ways:
        one(argv)
    for number in range(wanted["runs"]):
        turn = number % len(ways)
        for name, argv in [*ways[turn:], *ways[:turn]]:
            times[name].append(one(argv))
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main()
