"""The root reader: a program that reads what only root may, and hands on what a decision needs of it.

It serves one request, on descriptor 0, which is a connected stream socket, and ends. From 1.103 tailscaled gives the
netmap to uid 0 alone, so the reader runs as root, with no capability and nothing writable. With --bus it reads from the
bus instead, as tailscaled up to 1.102 lets anyone do, and needs no privilege.

Request: the line `netmap`. Answer, as lines: an object with `format`, `cached`, `self`, `bytes` and the number of
`rules` (or null), then each rule's JSON as received, then `{"end":true}`.

Request: the line `machine-key`. Answer: an object with `format` and `machine_key`, from tailscaled's state file.

Where it fails, the answer to both is one object with `error`, which says what to do, and `policy_shape` where it is the
policy that is not understood.

Options: --bus; --socket PATH, tailscaled's socket; --state PATH, its state file.
"""

import contextlib
import json
import resource
import signal
import socket as sockets
import sys
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from pam_tailscale.errors import PamTailscaleError, PolicyShapeError, TailscaledError
from pam_tailscale.tailnet import scan, state, stream
from pam_tailscale.tailnet.trouble import refused, unreachable

FORMAT: Final = 1
BODY_MAX: Final = 48 << 20
"""Bytes of the largest netmap that is read; one of 10,000 nodes and 1,000 rules has about 20 MiB."""
SECONDS: Final = 20
"""For the whole request. tailscaled needs about a second for the largest."""
MEMORY_MAX: Final = 256 << 20
"""Bytes of address space: the netmap twice, once as text, and Python."""

_SOCKET = "/run/tailscale/tailscaled.sock"
_REQUEST_MAX = 64
_OK = 200
_CHUNK = 1 << 18


def main() -> int:
    """Run the program; the answer says how it went, and so does the exit status."""
    arguments = sys.argv[1:]
    path, state_path = _option(arguments, "--socket", _SOCKET), _option(arguments, "--state", state.PATH)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(SECONDS)
    with sockets.socket(fileno=0) as connection:
        try:
            lines = answer(connection, path, state_path, bus="--bus" in arguments)
        except PamTailscaleError as err:
            return _fail(connection, str(err), shape=isinstance(err, PolicyShapeError))
        except MemoryError:
            text = f"the netmap does not fit into {MEMORY_MAX >> 20} MiB: this tailnet is larger than is supported"
            return _fail(connection, text)
        try:
            for line in lines:
                connection.sendall(line)
        except (OSError, TailscaledError):
            return 1  # whoever asked has gone, or does not read
    return 0


def answer(connection: sockets.socket, path: str, state_path: str, *, bus: bool) -> list[bytes]:
    """Read the request and make the answer's lines. Raises TailscaledError and PolicyShapeError."""
    request = b""
    while not request.endswith(b"\n") and len(request) < _REQUEST_MAX:
        part = connection.recv(_REQUEST_MAX)
        if not part:
            break
        request += part
    if request == b"machine-key\n":
        return [_line({"format": FORMAT, "machine_key": state.machine_key(state_path)})]
    if request != b"netmap\n":
        raise TailscaledError(
            f"the root reader was asked {request[:_REQUEST_MAX]!r}: upgrade agent and reader together"
        )
    body = read_bus(path) if bus else read_netmap(path)
    reduced = scan.first_notify(body) if bus else scan.netmap(body)
    return list(_lines(reduced, len(body)))


def _option(arguments: list[str], name: str, default: str) -> str:
    return arguments[arguments.index(name) + 1] if name in arguments else default


def read_netmap(path: str) -> bytes:
    """The whole netmap, as uid 0 may ask for it. Raises TailscaledError."""
    return _ask(path, "POST", "debug?action=current-netmap")


def read_bus(path: str) -> bytes:
    """The first message of the bus, which has the netmap in it up to 1.102. Raises TailscaledError."""
    # 8 asks for the netmap; 16 for it without private keys, which up to 1.90 must be said by who is not root.
    return _ask(path, "GET", "watch-ipn-bus?mask=24", one_line=True)


def _ask(path: str, method: str, target: str, *, one_line: bool = False) -> bytes:
    try:
        with stream.connect(path, SECONDS) as connection:
            stream.send_request(connection, method, target)
            code, part = stream.read_head(connection.recv)
            content = bytearray(part)
            while not (one_line and b"\n" in part):
                part = connection.recv(_CHUNK)
                if not part:
                    break
                content += part
                if len(content) > BODY_MAX:
                    raise TailscaledError(
                        f"the netmap is larger than {BODY_MAX >> 20} MiB: this tailnet is larger than is supported"
                    )
    except OSError as err:
        raise unreachable(path, err) from err
    if code != _OK:
        raise refused(target.partition("?")[0], code, bytes(content[:1000]))
    return bytes(content.partition(b"\n")[0] if one_line else content)


def _lines(reduced: scan.Reduced, size: int) -> Iterator[bytes]:
    own = {"stable_id": reduced.stable_id, "addresses": reduced.addresses}
    rules = None if reduced.rules is None else len(reduced.rules)
    yield _line({"format": FORMAT, "cached": reduced.cached, "self": own, "rules": rules, "bytes": size})
    for rule in reduced.rules or ():
        yield rule + b"\n"
    yield _line({"end": True})


def _line(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode("ascii") + b"\n"


def _fail(connection: sockets.socket, text: str, *, shape: bool = False) -> int:
    with contextlib.suppress(OSError):  # whoever asked has gone
        connection.sendall(_line({"error": text, "policy_shape": shape}))
    return 1


def _too_late(*_: object) -> NoReturn:
    raise TailscaledError(f"the netmap could not be read within {SECONDS} s: is tailscaled or this host overloaded?")


if __name__ == "__main__":
    sys.exit(main())
