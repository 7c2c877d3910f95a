"""What the PAM module costs a login that does not come over the tailnet."""

import select
import socket
from contextlib import closing
from pathlib import Path

from bench import programs
from bench.figures import Figure
from tests.support.roots import debian_root
from tests.support.sandbox import Sandbox
from tests.support.shims import build_shims


def ignore(_: None, *, quick: bool) -> list[Figure]:  # noqa: ARG001 (as every part)
    """The time of the module's calls, in a sandbox where an agent's socket listens and must not be connected to."""
    with Sandbox(debian_root("bookworm"), "server") as box, closing(_listen(box)) as agent:
        module = "/run/pam_tailscale.so"
        box.write(module, build_shims("bookworm").module.read_bytes())
        programs.build_module_ignore(box)
        output = box.run([programs.MODULE_IGNORE, module]).stdout
        if select.select([agent], [], [], 0)[0]:
            raise RuntimeError("the module called the agent about a connection that is not the tailnet's")
    (calls, calls_spread), (load, load_spread) = (map(float, line.split()) for line in output.splitlines())
    return [
        Figure(
            "module_ignore_us", calls, calls_spread, "all calls of one login from elsewhere; the agent is not called"
        ),
        Figure("module_load_us", load, load_spread, "loading and unloading the module, once a login"),
    ]


def _listen(box: Sandbox) -> socket.socket:
    box.run(["mkdir", "-p", "/run/pam-tailscale"])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(Path(box.path("/run/pam-tailscale"), "agent.sock")))
    listener.listen(1)
    return listener
