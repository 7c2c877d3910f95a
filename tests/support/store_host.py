"""Hosts that use the shared store, in a sandbox, with Debian's own Python and redis library."""

import json
import socket
from types import TracebackType
from typing import Any, Self

from pam_tailscale.errors import CheckError
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

_SOCKET = "/run/store-hosts.sock"
_SECONDS = 30


class StoreHosts:
    """The program behind all hosts of one sandbox; it ends with the sandbox."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        env = {"PYTHONPATH": "/opt/pam-tailscale", "PYTHONDONTWRITEBYTECODE": "1"}
        box.popen(["/usr/bin/python3", "-m", "tests.support.store_host_main", _SOCKET], "/var/log/hosts", env=env)
        wait_until(lambda: box.exists(_SOCKET), 20, "the hosts run")

    def host(self, **place: Any) -> "StoreHost":
        """A host whose store is at this `Place`; paths are inside."""
        return StoreHost(self.box, place)

    def log(self) -> str:
        """What the program has logged."""
        return self.box.read("/var/log/hosts")


class StoreHost:
    """One host: methods as of RedisStore, with tokens as plain text. Use as a context manager."""

    def __init__(self, box: Sandbox, place: dict[str, Any]) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_SECONDS)
        wait_until(lambda: self._connected(str(box.path(_SOCKET))), 20, "a host")
        self._answers = self._socket.makefile("rb")
        self._say(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answers.close()
        self._socket.close()

    def tokens(self, key: str) -> list[str]:
        tokens: list[str] = self.call("tokens", key)
        return tokens

    def keep(self, key: str, token: str, authenticated: float, until: float) -> None:
        self.call("keep", key, token, authenticated, until)

    def announce_not_before(self, key: str, moment: float) -> None:
        self.call("announce_not_before", key, moment)

    def not_befores(self) -> dict[str, float]:
        announced: dict[str, float] = self.call("not_befores")
        return announced

    def problem(self) -> str:
        return str(self.call("problem"))

    def peak_kib(self) -> int:
        """The most memory that all hosts of the sandbox together ever had."""
        return int(self.call("peak"))

    def error(self, name: str, *arguments: object) -> CheckError:
        """The error of a call that must fail."""
        try:
            answer = self.call(name, *arguments)
        except CheckError as err:
            return err
        raise AssertionError(f"{name} answered {answer!r}")

    def call(self, name: str, *arguments: object) -> Any:
        """Raises CheckError as the store did."""
        self.begin(name, *arguments)
        return self.finish()

    def begin(self, name: str, *arguments: object) -> None:
        """A call whose answer `finish` waits for."""
        self._say([name, *arguments])

    def finish(self) -> Any:
        """As `call`."""
        result = json.loads(self._answers.readline())
        assert "bug" not in result, result
        if "error" in result:
            raise CheckError(result["error"], result["retry_after"])
        return result["answer"]

    def _connected(self, path: str) -> bool:
        self._socket.connect(path)
        return True

    def _say(self, value: object) -> None:
        self._socket.sendall(json.dumps(value).encode() + b"\n")
