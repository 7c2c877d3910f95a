"""More agents on one host, each of which is a host of its own as far as checks go: configuration, store, socket."""

import itertools
import subprocess
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pam_tailscale import client, wire
from pam_tailscale.errors import PamTailscaleError
from tests.support.host import Host
from tests.support.waiting import wait_until


class MoreAgents:
    """Agents beside the host's own, called by numbers. Use as a context manager, inside that of the host.

    Args:
        host: where they run, with its pin and its reader.
        count: how many.
        configuration: makes an agent's configuration from the paths of its store and its socket.
    """

    def __init__(self, host: Host, count: int, configuration: Callable[[str, str], str]) -> None:
        self.numbers = range(count)
        self._host = host
        self._configuration = configuration
        self._ports = itertools.count(40_000)  # one connection is let in once
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._host.box.run(["mkdir", "-p", "/run/more", "/var/lib/more"])
        for number in self.numbers:
            path = f"/etc/pam-tailscale/agent-{number}.toml"
            self._host.box.write(path, self._configuration(f"/var/lib/more/{number}/checks.db", _socket(number)))
            self._processes.append(self._host.popen_agent(path, f"/var/log/agent-{number}.log"))
        for number in self.numbers:
            wait_until(lambda number=number: self._knows_the_policy(number), 60, f"agent {number}")  # type: ignore[misc]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(30)

    def decide(self, number: int, user: str, source: str, server: str) -> str:
        """What an agent says to a login by the method `none`: the verdict that sshd's module would hear."""
        question = {
            wire.KEY_REQUEST: wire.REQUEST_DECIDE,
            wire.KEY_USER: user,
            wire.KEY_CLIENT: source,
            wire.KEY_CLIENT_PORT: str(next(self._ports)),
            wire.KEY_SERVER: server,
            wire.KEY_SERVER_PORT: "22",
            wire.KEY_METHOD: "none",
            wire.KEY_PHASE: "auth",
            wire.KEY_MODE: "enforce",
        }
        return client.ask(self._host.box.path(_socket(number)), question)[wire.KEY_VERDICT]

    def _knows_the_policy(self, number: int) -> bool:
        question = {wire.KEY_REQUEST: wire.REQUEST_STATUS}
        try:
            return bool(client.ask_document(self._host.box.path(_socket(number)), question)["ready"])
        except PamTailscaleError:
            return False


def _socket(number: int) -> str:
    return f"/run/more/{number}.sock"
