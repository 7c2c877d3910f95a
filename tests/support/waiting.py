"""Waiting for something to become true: the only way tests wait."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T], deadline_seconds: float, what: str, *, pause_seconds: float = 0.02) -> T:
    """Calls `predicate` until its answer is true and returns that answer.

    Raises AssertionError with `what` and the last answer once `deadline_seconds` have passed. An AssertionError or
    OSError of the predicate itself counts as "not yet".
    """
    end = time.monotonic() + deadline_seconds
    while True:
        last: object
        try:
            answer = predicate()
            if answer:
                return answer
            last = answer
        except (AssertionError, OSError) as err:
            last = err
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline_seconds} s: {what}; last seen: {last!r}")
        time.sleep(pause_seconds)


def wait_for_end(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a process has written by its end, which has to come within 30 seconds: else it is killed."""
    try:
        return process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        # Its end lets the agent it waits for come to an end too.
        process.kill()
        process.communicate()
        raise
