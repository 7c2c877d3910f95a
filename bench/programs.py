"""The C programs of the benchmark: built with the compiler of the sandbox in which they run."""

from dataclasses import dataclass

from tests.support.sandbox import Sandbox

_SOURCES = "/opt/pam-tailscale/bench"
_NATIVE = "/opt/pam-tailscale/pam_tailscale/native"
_COMPILE = ["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror", f"-I{_NATIVE}"]

DECIDE = "/run/bench/decide"
FLOOR = "/run/bench/floor.so"
MODULE_IGNORE = "/run/bench/module_ignore"


@dataclass(frozen=True, slots=True)
class Asked:
    """What `decide` measured."""

    seconds: float
    """How long all of it took."""
    samples: tuple[tuple[float, float], ...]
    """When each answer was asked for (seconds of the monotonic clock) and how long it took (milliseconds)."""

    @property
    def milliseconds(self) -> list[float]:
        """How long each answer took."""
        return [took for _, took in self.samples]


def build_decide(box: Sandbox) -> None:
    """Makes the program that asks the agent."""
    _compile(box, DECIDE, "-o", DECIDE, f"{_SOURCES}/decide.c", f"{_NATIVE}/agent_client.c")


def build_floor(box: Sandbox) -> None:
    """Makes the PAM module that lets everybody in."""
    sources = [f"{_SOURCES}/floor.c", f"{_NATIVE}/sockets.c", f"{_NATIVE}/connection.c"]
    _compile(box, FLOOR, "-shared", "-fPIC", "-o", FLOOR, *sources, "-lpam")


def build_module_ignore(box: Sandbox) -> None:
    """Makes the program that calls the module as sshd does for a login from elsewhere."""
    _compile(box, MODULE_IGNORE, "-o", MODULE_IGNORE, f"{_SOURCES}/module_ignore.c", "-lpam", "-ldl")


def _compile(box: Sandbox, target: str, *arguments: str) -> None:
    box.run(["mkdir", "-p", target.rpartition("/")[0]])
    box.run([*_COMPILE, *arguments])


def parse_asked(output: str) -> Asked:
    """Reads what `decide` printed."""
    seconds, *lines = output.splitlines()
    pairs = (line.split() for line in lines)
    return Asked(float(seconds), tuple((float(began), float(took) / 1000) for began, took in pairs))
