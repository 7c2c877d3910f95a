"""The shared store as an organisation has it: Debian's own Redis (bookworm) or Valkey (trixie), in a sandbox."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.certificates import Certificate
from tests.support.sandbox import Sandbox
from tests.support.waiting import wait_until

PORT, TLS_PORT = 6379, 6380
SOCKET = "/run/store/store.sock"
"""Inside the sandbox. It is plain; TLS is at TLS_PORT."""


class RedisServer:
    """A running server. Nothing of what it holds outlives it. Use as a context manager.

    Args:
        box: where it runs.
        password: what its clients have to say; empty: nothing.
        certificate: with it, it listens at TLS_PORT as well.
        options: more of its configuration, as `{"maxmemory": "2mb"}`.
        port: where it listens without TLS, on the sandbox's loopback.
        path: its socket, inside.
    """

    def __init__(
        self,
        box: Sandbox,
        *,
        password: str = "",
        certificate: Certificate | None = None,
        options: Mapping[str, str] | None = None,
        port: int = PORT,
        path: str = SOCKET,
    ) -> None:
        self.box = box
        self.password = password
        self._path = path
        self._program = next(name for name in ("redis-server", "valkey-server") if box.exists(f"/usr/bin/{name}"))
        self._options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "unixsocket": path,
            "unixsocketperm": "700",
            "save": '""',
            "dir": str(Path(path).parent),
            **({"requirepass": password} if password else {}),
            **(options or {}),
        }
        if certificate is not None:
            directory = Path(path).parent
            box.write(str(directory / "cert.pem"), certificate.certificate)
            box.write(str(directory / "key.pem"), certificate.private_key, 0o600)
            self._options |= {
                "tls-port": str(TLS_PORT),
                "tls-cert-file": str(directory / "cert.pem"),
                "tls-key-file": str(directory / "key.pem"),
                "tls-ca-cert-file": str(directory / "cert.pem"),
                "tls-auth-clients": "no",
            }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def socket(self) -> Path:
        """Its socket, as the test process sees it."""
        return self.box.path(str(Path(self._path).parent)) / Path(self._path).name

    def start(self) -> None:
        """Starts it with nothing in it, and waits until it answers."""
        configuration = "".join(f"{key} {value}\n" for key, value in self._options.items())
        self.box.write(f"{self._path}.conf", configuration)
        argv = [f"/usr/bin/{self._program}", f"{self._path}.conf"]
        self._process = self.box.popen(argv, f"{self._path}.log")
        wait_until(lambda: self._cli(["PING"], check=False).stdout == "PONG\n", 20, "the store answers")

    def kill(self) -> None:
        """Ends it at once, as a crash does. Safe to call twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def stop(self) -> None:
        """Stops it where it is: it accepts and answers nothing, until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def cli(self, *command: str) -> str:
        """What an administrator does with redis-cli; answers what it prints, without the last newline."""
        return self._cli(command, check=True).stdout.removesuffix("\n")

    def put(self, key: str, value: bytes) -> None:
        """Put any bytes under a key."""
        self.box.write(f"{self._path}.value", value)
        command = f"{self._client} -s {self._path} -x SET {key}"
        self.box.run(["sh", "-c", f"exec {command} < {self._path}.value"], env=self._env)

    @property
    def _client(self) -> str:
        return f"/usr/bin/{self._program.replace('server', 'cli')}"

    @property
    def _env(self) -> dict[str, str]:
        return {"REDISCLI_AUTH": self.password, "VALKEYCLI_AUTH": self.password} if self.password else {}

    def _cli(self, command: Sequence[str], *, check: bool) -> subprocess.CompletedProcess[str]:
        return self.box.run([self._client, "-s", self._path, *command], env=self._env, check=check)
