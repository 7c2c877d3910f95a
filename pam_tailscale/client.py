"""The agent's client, for the command line and the tests: one request, its answer, one deadline.

No policy and no printing.
"""

import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pam_tailscale import wire
from pam_tailscale.errors import AgentUnavailableError, NotPermittedError, WireError
from pam_tailscale.model import IPAddress

_HINT = "see 'systemctl status pam-tailscale-agent'"


def ask(
    path: Path,
    pairs: Mapping[str, str],
    timeout: float = wire.TIMEOUT_MS / 1000,
    on_info: Callable[[str], None] | None = None,
) -> wire.Message:
    """Send one request and return the verdict's pairs; `on_info` gets each text that comes before.

    `timeout` is in seconds, for the whole exchange.

    Raises AgentUnavailableError or WireError.
    """
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        try:
            _connect(connection, path, timeout)
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            connection.send(wire.encode(pairs))
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError  # noqa: TRY301 (one place says what a timeout means)
                connection.settimeout(left)
                answer = wire.decode(connection.recv(wire.MESSAGE_MAX + 1))
                kind = answer.get(wire.KEY_ANSWER)
                if kind == wire.ANSWER_VERDICT:
                    return answer
                if kind != wire.ANSWER_INFO:
                    raise WireError(f"the agent answered {kind!r}: restart it after an upgrade")
                if on_info is not None:
                    on_info(answer.get(wire.KEY_TEXT, ""))
        except TimeoutError as err:
            raise AgentUnavailableError(f"the agent did not answer within {timeout:g} s: {_HINT}") from err
        except OSError as err:
            raise AgentUnavailableError(
                f"the agent cannot be reached at {path} ({err.strerror or err}): {_HINT}"
            ) from err


def _connect(connection: socket.socket, path: Path, timeout: float) -> None:
    """Connect, waiting while the queue of those who connect is full: any local user can fill it for a moment.

    With a timeout of Python's the socket would not wait but fail (unix(7), EAGAIN), so the kernel keeps the time.
    """
    microseconds = max(1, int(timeout * 1_000_000))
    limit = struct.pack("@ll", *divmod(microseconds, 1_000_000))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    try:
        connection.connect(str(path))
    except BlockingIOError as err:
        raise TimeoutError from err


def ask_document(path: Path, pairs: Mapping[str, str], timeout: float = wire.TIMEOUT_MS / 1000) -> dict[str, Any]:
    """Ask for one of the command line's documents, which comes in pieces.

    Raises NotPermittedError where the agent does not tell this user, else as `ask`.
    """
    pieces: list[str] = []
    verdict = ask(path, pairs, timeout, pieces.append)
    if verdict.get(wire.KEY_VERDICT) != wire.VERDICT_ALLOW:
        text = verdict.get(wire.KEY_TEXT, "the agent refused without saying why")
        raise NotPermittedError(text)
    try:
        document = json.loads("".join(pieces))
    except ValueError as err:
        raise WireError(f"the agent's answer is no JSON: {_HINT}") from err
    if not isinstance(document, dict):
        raise WireError(f"the agent's answer is no JSON object: {_HINT}")
    return document


def ask_explanation(path: Path, account: str, client: IPAddress, port: int, *, as_of: str = "") -> dict[str, Any]:
    """Ask what a login would come to, and why; nothing is logged in and nothing is remembered.

    `port`: the client's; 0: any. `as_of`: the ISO 8601 time, with its zone, to decide for; empty is the agent's now.
    Raises as `ask_document`.
    """
    request = {
        wire.KEY_REQUEST: wire.REQUEST_EXPLAIN,
        wire.KEY_USER: account,
        wire.KEY_CLIENT: str(client),
        wire.KEY_CLIENT_PORT: str(port),
        wire.KEY_AS_OF: as_of,
    }
    return ask_document(path, request)
