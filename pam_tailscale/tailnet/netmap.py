"""The netmap as the agent gets it: from the root reader, or from the same program as a child of its own.

Megabytes are read and reduced in that other process. Here the rules come line by line and are decoded one by one, with
a pause whenever others may have waited for the interpreter: a login must not wait for a policy to be read.
"""

import contextlib
import enum
import json
import socket as sockets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pam_tailscale
from pam_tailscale.errors import PolicyShapeError, TailscaledError
from pam_tailscale.model import IPAddress, parse_address
from pam_tailscale.policy.rules import Policy, Rule, parse_rule
from pam_tailscale.tailnet.records import Netmap
from pam_tailscale.tailnet.stream import require_root
from pam_tailscale.tailnet.trouble import shown

READER_FROM: Final = (1, 103, 0)
"""From this version on tailscaled gives the netmap to uid 0 alone."""
LINE_MAX: Final = 4 << 20
"""Bytes of one rule. One that names all of 10,000 nodes has about 700 KiB."""
LINES_MAX: Final = 100_000
TOTAL_MAX: Final = 48 << 20
"""Bytes of the whole answer; the reader refuses a larger netmap too."""

_REQUEST = b"netmap\n"
_FORMAT = 1
_SLICE = 0.0005  # seconds of work between two pauses
_PAUSE = 0.0001
_CHUNK = 1 << 16

T = TypeVar("T")


class Way(enum.Enum):
    """Who reads the netmap."""

    ROOT_READER = "root-reader"
    AS_SELF = "as-self"


def choose(version: tuple[int, int, int]) -> Way:
    """How the netmap of this version of tailscaled can be had."""
    return Way.ROOT_READER if version >= READER_FROM else Way.AS_SELF


def reader_command(*arguments: str) -> list[str]:
    """The reader's command line: isolated from environment and working directory, and without site, which is slow."""
    root = str(Path(pam_tailscale.__file__).resolve().parents[1])
    program = (
        f"import sys; sys.path.insert(0, {root!r}); from pam_tailscale.tailnet.reader import main; sys.exit(main())"
    )
    return [sys.executable, "-I", "-S", "-c", program, *arguments]


def fetch_from_reader(socket: Path, timeout: float) -> Netmap:
    """Ask the root reader at its socket; `timeout` in seconds is for the whole.

    Raises TailscaledError, TailscaledNotRootError and PolicyShapeError.
    """
    return ask_reader(socket, timeout, _REQUEST, _parse)


def ask_reader(socket: Path, timeout: float, request: bytes, parse: Callable[[Iterator[bytes]], T]) -> T:
    """What `parse` makes of the lines that the root reader answers a request with; `timeout` is for the whole.

    Raises TailscaledError, TailscaledNotRootError and what `parse` raises.
    """
    deadline = time.monotonic() + timeout
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(socket))
        except OSError as err:
            raise TailscaledError(
                f"cannot reach the root reader at {socket} ({type(err).__name__}: {err}): "
                "is it enabled (`systemctl status pam-tailscale-reader.socket`)?"
            ) from err
        require_root(connection, str(socket))
        return _fetch(connection, deadline, request, parse)


def fetch_as_self(tailscaled_socket: Path, timeout: float) -> Netmap:
    """Run the reader as a child, with our own uid, for a tailscaled up to 1.102; `timeout` in seconds is for the whole.

    Raises TailscaledError, TailscaledNotRootError and PolicyShapeError.
    """
    deadline = time.monotonic() + timeout
    ours, theirs = sockets.socketpair()
    with ours, theirs:
        command = reader_command("--bus", "--socket", str(tailscaled_socket))
        try:
            child = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env={}, cwd="/")
        except OSError as err:
            raise TailscaledError(f"cannot start the netmap reader ({err}): is Python installed whole?") from err
        theirs.close()
        try:
            return _fetch(ours, deadline, _REQUEST, _parse)
        finally:
            child.kill()
            child.wait()


def read_header(lines: Iterator[bytes]) -> dict[str, Any]:
    """The first line of an answer. Raises the error that the reader reports, or TailscaledError."""
    header = _object(next(lines))
    if "error" in header:
        kind = PolicyShapeError if header.get("policy_shape") is True else TailscaledError
        raise kind(str(header["error"])[:1000])
    if header.get("format") != _FORMAT:
        raise odd("another format")
    return header


def odd(what: str) -> TailscaledError:
    """The error for an answer of the reader that is not understood."""
    return TailscaledError(f"the root reader sent {what}: upgrade agent and reader together, then restart the agent")


def _fetch(connection: sockets.socket, deadline: float, request: bytes, parse: Callable[[Iterator[bytes]], T]) -> T:
    try:
        connection.sendall(request)
        return parse(_lines(connection, deadline))
    except OSError as err:
        raise TailscaledError(
            f"the reader's answer could not be read to its end ({type(err).__name__}: {err}): "
            "see `journalctl -u 'pam-tailscale-reader*'`, and whether tailscaled or this host is overloaded"
        ) from err


def _lines(connection: sockets.socket, deadline: float) -> Iterator[bytes]:
    """The lines of the answer, without their ends. Raises OSError and TailscaledError."""
    rest, total = bytearray(), 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("too late")
        connection.settimeout(left)
        part = connection.recv(_CHUNK)
        if not part:
            raise ConnectionResetError("the reader ended early")
        total += len(part)
        *whole, last = part.split(b"\n")
        for piece in whole:
            yield bytes(rest + piece)
            rest.clear()
        rest += last
        if len(rest) > LINE_MAX or total > TOTAL_MAX:
            raise TailscaledError("the SSH policy is too large: see whether its rules can name groups or tags")


def _parse(lines: Iterator[bytes]) -> Netmap:
    header = read_header(lines)
    stable_id, addresses = _own(header.get("self"))
    cached, size, count = header.get("cached"), header.get("bytes"), header.get("rules")
    if type(cached) is not bool or type(size) is not int or not (count is None or type(count) is int):
        raise odd("a header that is not understood")
    if count is not None and not 0 <= count <= LINES_MAX:
        raise TailscaledError(f"the SSH policy has {count} rules, of which {LINES_MAX} are read: make it smaller")
    rules = tuple(_rules(lines, count or 0))
    if _object(next(lines)) != {"end": True}:
        raise odd("no end")
    return Netmap(cached, stable_id, addresses, None if count is None else Policy("netmap", rules), size)


def _rules(lines: Iterator[bytes], count: int) -> Iterator[Rule]:
    resumed = time.monotonic()
    for number in range(1, count + 1):
        yield parse_rule(_decode(next(lines)), number)
        if time.monotonic() - resumed > _SLICE:
            time.sleep(_PAUSE)  # lets go of the interpreter lock, which a loop does every 5 ms only
            resumed = time.monotonic()


def _own(this: object) -> tuple[str, tuple[IPAddress, ...]]:
    if isinstance(this, dict):
        stable_id, prefixes = this.get("stable_id"), this.get("addresses")
        if isinstance(stable_id, str) and isinstance(prefixes, list):
            with contextlib.suppress(ValueError):
                return stable_id, tuple(parse_address(str(prefix).partition("/")[0]) for prefix in prefixes)
    raise odd("no node that is understood")


def _object(line: bytes) -> dict[str, Any]:
    value = _decode(line)
    if not isinstance(value, dict):
        raise odd("something else than an object")
    return value


def _decode(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as err:
        raise odd(f"something that is not JSON ({shown(str(err))})") from err
