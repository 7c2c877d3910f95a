"""The embedded control plane as a process of its own, so that nothing of the benchmark's own delays its answers.

Imports only what it needs itself, and listens on loopback, at the host that asks it. SIGUSR1 approves all checks that
are pending, SIGTERM ends it.

    python3 -m bench.control MILLISECONDS
"""

import signal
import sys

from tests.support.control_plane import Checks, ControlPlane

SIGNALS = {signal.SIGUSR1, signal.SIGTERM}


def main() -> None:
    """Serve until SIGTERM; each answer is late by MILLISECONDS. Prints the control URL and the rules' delegate."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    with ControlPlane() as plane:
        plane.delay = float(sys.argv[1]) / 1000
        checks = Checks(plane)
        print("ready", plane.base_url, checks.delegate, flush=True)
        while signal.sigwait(SIGNALS) == signal.SIGUSR1:
            for auth_id in checks.pending:
                checks.approve(auth_id)


if __name__ == "__main__":
    main()
