"""A device from which people log in: ssh, scp and sftp in a sandbox of its own."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence

from tests.support.sandbox import Sandbox

_ASKPASS = "/root/askpass"
_ASKED = "/root/askpass.used"

# None of these is about what is tested: unknown host keys, and the slow post-quantum exchange of 9.2.
_OPTIONS = {
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "KexAlgorithms": "curve25519-sha256",
    "ConnectTimeout": "10",
}


class Client:
    """Stock ssh in a sandbox. `source` is the address it connects from when a call names no other."""

    def __init__(self, box: Sandbox) -> None:
        self.box = box
        box.write(_ASKPASS, f'#!/bin/sh\ntouch {_ASKED}\nprintf "%s\\n" "$SSH_PASSWORD"\n', 0o755)

    def make_key(self, name: str) -> str:
        """Makes a key and answers its private file; the public one is beside it, with `.pub`."""
        path = f"/root/keys/{name}"
        if not self.box.exists(path):
            self.box.run(["sh", "-c", 'mkdir -p /root/keys && ssh-keygen -q -t ed25519 -N "" -C test -f "$0"', path])
        return path

    def public_key(self, name: str) -> str:
        """The line for authorized_keys of a key made by `make_key`."""
        return self.box.read(self.make_key(name) + ".pub")

    def ssh(
        self,
        user: str,
        address: str,
        *args: str,
        command: str | Sequence[str] | None = "true",
        source: str | None = None,
        batch: bool = True,
        key: str | None = None,
        password: str | None = None,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `ssh ARGS USER@ADDRESS COMMAND` and waits; status 255 means that ssh itself failed.

        `source`: the local address to connect from. `batch`: BatchMode, in which nothing is asked or shown.
        `key`: only this key is offered; None: none at all. `password`: typed at every prompt for one, and batch is off.
        """
        options = self.options(source=source, batch=batch and password is None, key=key)
        argv = ["ssh", *options, *args, f"{user}@{address}"]
        self.box.run(["rm", "-f", _ASKED])
        if command is not None:
            argv += [command] if isinstance(command, str) else list(command)
        return self.box.run(argv, env=self.environment(password), check=False, timeout=timeout)

    def options(self, *, source: str | None = None, batch: bool = True, key: str | None = None) -> list[str]:
        """The options for ssh, scp and sftp alike."""
        options = {**_OPTIONS, "BatchMode": "yes" if batch else "no"}
        if source is not None:
            options["BindAddress"] = source
        if key is None:
            options["PubkeyAuthentication"] = "no"
        else:
            options |= {"IdentityFile": key, "IdentitiesOnly": "yes"}
        return _as_arguments(options)

    def environment(self, password: str | None) -> dict[str, str]:
        """The environment in which ssh gets the password from a program instead of a terminal."""
        if password is None:
            return {}
        return {"SSH_ASKPASS": _ASKPASS, "SSH_ASKPASS_REQUIRE": "force", "SSH_PASSWORD": password}

    def was_asked(self) -> bool:
        """Whether the last `ssh` asked for a password."""
        return self.box.exists(_ASKED)

    def command(self, user: str, address: str, source: str) -> list[str]:
        """An ssh that offers whatever its agent has and may show and ask things."""
        options = {**_OPTIONS, "BatchMode": "no", "BindAddress": source}
        return ["ssh", *_as_arguments(options), f"{user}@{address}", "true"]

    def with_agent(self, keys: int, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs a command with an ssh-agent that holds so many keys."""
        files = [self.make_key(f"agent-{number}") for number in range(keys)]
        script = f"ssh-add -q {' '.join(files)} && exec {shlex.join(argv)}"
        return self.box.run(["ssh-agent", "sh", "-c", script], check=False)


def _as_arguments(options: Mapping[str, str]) -> list[str]:
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
