"""Clients of the proof: stock ssh, one process for each login, all of them side by side.

No secret stands in an argument list or an environment: ssh gets what is typed from a program that lies on the stage.
"""

import os
import secrets
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pam_tailscale.host.proving import namespaces, stage
from pam_tailscale.host.proving.inetd import Inetd
from pam_tailscale.host.proving.trial import NO_ANSWER, REFUSED, Attempt, Ending, Key, Typed, is_refused, read_ending

SECONDS: Final = 30.0
"""For all logins. They take one on a quiet machine, and pam_unix waits two after a wrong password."""
_PAUSE: Final = 0.02
_KEYS: Final = stage.ROOM / "keys"
_ANSWERS: Final = stage.ROOM / "answers"
_KEY_TYPES: Final = {
    "ssh-ed25519": ("-t", "ed25519"),
    "ecdsa-sha2-nistp256": ("-t", "ecdsa"),
    "rsa-sha2-512": ("-t", "rsa", "-b", "2048"),
    "rsa-sha2-256": ("-t", "rsa", "-b", "2048"),
}
"""By sshd's name what ssh-keygen has to be told, the fastest first."""
_SETTINGS: Final = {
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "GlobalKnownHostsFile": "/dev/null",
    # Much cheaper than what OpenSSH 9 begins with, and whatever the host allows is still there.
    "KexAlgorithms": "^curve25519-sha256",
    "IdentityAgent": "none",
    "IdentitiesOnly": "yes",
    "GSSAPIAuthentication": "no",
    "NumberOfPasswordPrompts": "1",
    "ConnectTimeout": f"{SECONDS:.0f}",
    "LogLevel": "VERBOSE",
}


def make_answers(password: str) -> None:
    """Lay out the programs that ssh runs in place of a person who types."""
    _ANSWERS.mkdir(mode=0o700)
    texts = {Typed.RIGHT: password, Typed.WRONG: secrets.token_urlsafe(), Typed.EMPTY: ""}
    for typed, text in texts.items():
        program = _ANSWERS / typed.value
        program.write_text(f"#!/bin/sh\necho '{text}'\n")
        program.chmod(0o700)


def make_key(key: Key, accepted: str) -> str:
    """Make a key of a type that sshd accepts (PubkeyAcceptedAlgorithms), and answer its public line.

    Empty where none of the types that can be made is accepted. Raises OSError.
    """
    names = accepted.split(",")
    kind = next((made for name, made in _KEY_TYPES.items() if name in names), ())
    if not kind:
        return ""
    _KEYS.mkdir(mode=0o700, exist_ok=True)
    path = _KEYS / key.value
    command = ["ssh-keygen", "-q", *kind, "-N", "", "-C", "", "-f", str(path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ssh-keygen: {done.stderr.decode(errors='replace').strip()}")
    return path.with_suffix(".pub").read_text().strip()


def command(attempt: Attempt) -> list[str]:
    """The ssh of an attempt."""
    settings = {
        **_SETTINGS,
        "BindAddress": str(attempt.source),
        "Port": str(attempt.port),
        "PreferredAuthentications": ",".join(attempt.methods),
        "BatchMode": "yes" if attempt.typed is Typed.NOTHING else "no",
        "PubkeyAuthentication": "no" if attempt.key is Key.NONE else "yes",
    }
    if attempt.key is not Key.NONE:
        settings["IdentityFile"] = str(_KEYS / attempt.key.value)
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", "-n", "-T", *options, "-l", attempt.account, str(attempt.target), "true"]


@dataclass(frozen=True, slots=True)
class _Client:
    attempt: Attempt
    process: subprocess.Popen[bytes]
    output: Path


def run(attempts: Sequence[Attempt], inetd: Inetd, network: int) -> Mapping[Attempt, Ending]:
    """Try everything side by side, and answer how each login ended. `network`: the clients' namespace."""
    clients: dict[Attempt, _Client] = {}
    # Those first that PAM makes wait.
    for attempt in sorted(attempts, key=lambda attempt: attempt.typed is not Typed.WRONG):
        clients[attempt] = _start(attempt, len(clients), network)
        _serve(inetd, 0)
    deadline = time.monotonic() + SECONDS
    while any(_goes_on(client, inetd) for client in clients.values()) and time.monotonic() < deadline:
        _serve(inetd, _PAUSE)
    return {attempt: _ending(clients[attempt], inetd) for attempt in attempts}


def _serve(inetd: Inetd, seconds: float) -> None:
    for ready in select.select(inetd.sockets, [], [], seconds)[0]:
        inetd.serve(ready)


def _goes_on(client: _Client, inetd: Inetd) -> bool:
    return client.process.poll() is None and not is_refused(client.attempt, inetd.logged(client.attempt))


def _start(attempt: Attempt, number: int, network: int) -> _Client:
    output = stage.LOGS / f"client-{number}"
    environment = {"PATH": os.defpath, "HOME": str(stage.ROOM)}
    if attempt.typed is not Typed.NOTHING:
        program = str(_ANSWERS / attempt.typed.value)
        environment |= {"SSH_ASKPASS": program, "SSH_ASKPASS_REQUIRE": "force"}
    with output.open("wb") as file:
        process = subprocess.Popen(
            command(attempt),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=file,
            env=environment,
            cwd="/",
            preexec_fn=lambda: namespaces.enter(network, namespaces.CLONE_NEWNET),  # noqa: PLW1509 (one thread)
        )
    return _Client(attempt, process, output)


def _ending(client: _Client, inetd: Inetd) -> Ending:
    attempt, status = client.attempt, client.process.poll()
    if status is None:
        client.process.kill()
        client.process.wait()
    logged = inetd.logged(attempt)
    ending = read_ending(attempt, status, client.output.read_text(errors="replace"))
    if ending.text == NO_ANSWER and is_refused(attempt, logged):
        ending = replace(ending, text=REFUSED)
    return replace(ending, said=(*ending.said, *logged, *inetd.said(attempt)))
